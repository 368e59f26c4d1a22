"""Golden values: facebookresearch/dinov2 b8931f7, DINOLoss as in train/ssl_meta_arch.py."""

import pytest
import torch

from eosin.losses.cross_entropy import soft_cross_entropy
from eosin.losses.dino import dino_loss
from eosin.losses.sinkhorn import sinkhorn_knopp
from models.deterministic import sines

TEACHER = sines(6, 8)
STUDENT = sines(6, 8, step=0.71, phase=0.2)


def test_the_cross_entropy_is_that_of_the_reference():
    targets = sinkhorn_knopp(TEACHER, temperature=0.07)
    assert float(soft_cross_entropy(STUDENT, targets).mean()) == pytest.approx(7.459448, abs=1e-5)


def test_the_cross_entropy_is_computed_in_float32():
    targets = sinkhorn_knopp(TEACHER, temperature=0.07)
    assert soft_cross_entropy(STUDENT.bfloat16(), targets).dtype == torch.float32


def test_both_parts_are_those_of_the_reference():
    targets = sinkhorn_knopp(TEACHER, temperature=0.07).view(2, 3, 8)
    local_logits = sines(9, 8, step=0.53, phase=0.4).view(3, 3, 8)
    losses = dino_loss(STUDENT.view(2, 3, 8), local_logits, targets)
    assert float(losses.local_crops) == pytest.approx(5.314984, abs=1e-5)
    assert float(losses.global_crops) == pytest.approx(3.297300, abs=1e-5)


def test_the_sum_is_the_mean_over_all_pairs_of_different_views():
    targets = torch.softmax(sines(2, 3, 8), dim=-1)
    views = sines(5, 3, 8, step=0.53)
    pairs = [
        soft_cross_entropy(views[v], targets[t]).mean()
        for t in range(2)
        for v in range(5)
        if v != t
    ]
    losses = dino_loss(views[:2], views[2:], targets)
    assert float(sum(losses)) == pytest.approx(float(torch.stack(pairs).mean()), abs=1e-5)


def test_a_global_crop_is_not_compared_with_itself():
    targets = torch.softmax(sines(2, 3, 8), dim=-1)
    student = (0.1 * targets.flip(0).log()).requires_grad_()
    losses = dino_loss(student, torch.zeros(0, 3, 8), targets)
    entropy = -(targets * targets.log()).sum(-1).mean()
    assert float(losses.global_crops.detach()) == pytest.approx(float(entropy), abs=1e-5)


def test_without_local_crops_their_part_is_zero():
    targets = torch.softmax(sines(2, 3, 8), dim=-1)
    assert float(dino_loss(sines(2, 3, 8), torch.zeros(0, 3, 8), targets).local_crops) == 0.0
