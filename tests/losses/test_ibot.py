import pytest
import torch

from eosin.losses.cross_entropy import soft_cross_entropy
from eosin.losses.ibot import ibot_loss
from eosin.losses.sinkhorn import sinkhorn_knopp
from models.deterministic import sines

TARGETS = sinkhorn_knopp(sines(6, 8), temperature=0.07)
STUDENT = sines(6, 8, step=0.71, phase=0.2)
MASKS = torch.zeros(4, 5, dtype=torch.bool)
MASKS[0, :2] = True
MASKS[2, 1:5] = True


def test_the_value_is_that_of_the_reference():
    # Source: facebookresearch/dinov2 b8931f7, iBOTPatchLoss.forward_masked.
    assert float(ibot_loss(STUDENT, TARGETS, MASKS)) == pytest.approx(4.273732, abs=1e-5)


def test_each_masked_crop_weighs_the_same_and_unmasked_ones_count_as_zero():
    per_patch = soft_cross_entropy(STUDENT, TARGETS)
    expected = (per_patch[:2].mean() + 0.0 + per_patch[2:].mean() + 0.0) / 4
    assert float(ibot_loss(STUDENT, TARGETS, MASKS)) == pytest.approx(float(expected), abs=1e-6)


def test_without_a_masked_patch_the_loss_is_zero_and_has_a_gradient():
    nothing = torch.zeros(0, 8).requires_grad_()
    loss = ibot_loss(nothing, torch.zeros(0, 8), torch.zeros(4, 5, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
