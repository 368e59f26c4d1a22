"""Golden values: facebookresearch/dinov2 b8931f7, DINOLoss as in train/ssl_meta_arch.py."""

import pytest
import torch

from eosin.losses.cross_entropy import soft_cross_entropy
from eosin.losses.dino import dino_loss
from eosin.losses.sinkhorn import (
    centered_softmax,
    score_totals,
    sinkhorn_knopp,
    updated_center,
)
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


def test_two_steps_of_dino_are_those_of_its_first_version():
    # Source: facebookresearch/dino 7c446df, main_dino.py, DINOLoss with 5 crops, 0.07 for targets.
    center = torch.zeros(8)
    expected = [
        (10.029426, 2.1461747, 0.006563, -0.008283),
        (9.7082663, 2.4864473, 0.005127, -0.011141),
    ]
    for step, (value, gradient_norm, first, last) in enumerate(expected):
        teacher = sines(8, 8, phase=1.3 + step)
        student = sines(20, 8, step=0.71, phase=0.2 + step).requires_grad_()
        views = student.view(5, 4, 8)
        targets = centered_softmax(teacher, center=center, temperature=0.07).view(2, 4, 8)
        loss = torch.stack(list(dino_loss(views[:2], views[2:], targets))).sum()
        loss.backward()
        center = updated_center(center, [score_totals(teacher)])
        assert float(loss.detach()) == pytest.approx(value, rel=1e-6)
        assert float(student.grad.norm()) == pytest.approx(gradient_norm, rel=1e-6)
        assert [float(center[0]), float(center[-1])] == pytest.approx([first, last], abs=2e-6)
