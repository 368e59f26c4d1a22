"""Golden values: facebookresearch/dinov2 b8931f7, DINOLoss, and iBOTPatchLoss which is equal."""

import pytest
import torch

from eosin.losses.sinkhorn import (
    centered_softmax,
    score_totals,
    sinkhorn_knopp,
    updated_center,
)
from models.deterministic import sines

TEACHER = sines(6, 8)


def test_assignments_are_those_of_the_reference():
    q = sinkhorn_knopp(TEACHER, temperature=0.07)
    expected = [0.540112, 0.349791, 0.096072, 0.012604, 0.001205, 0.000203, 1.4e-05, 0.0]
    assert q[0].tolist() == pytest.approx(expected, abs=2e-6)


def test_rows_sum_to_one_and_prototypes_are_used_alike():
    q = sinkhorn_knopp(TEACHER, temperature=0.5, num_iterations=50)
    assert torch.allclose(q.sum(dim=1), torch.ones(6))
    assert torch.allclose(q.sum(dim=0), torch.full((8,), 6 / 8), atol=1e-4)


def test_a_teacher_that_gives_all_samples_one_prototype_is_evened_out():
    logits = sines(16, 4) + torch.tensor([5.0, 0.0, 0.0, 0.0])
    assert set(logits.argmax(dim=1).tolist()) == {0}
    assert len(set(sinkhorn_knopp(logits, temperature=0.5).argmax(dim=1).tolist())) > 1


def test_the_order_of_samples_does_not_matter():
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = sinkhorn_knopp(TEACHER[order], temperature=0.07)
    assert torch.allclose(shuffled, sinkhorn_knopp(TEACHER, temperature=0.07)[order], atol=1e-6)


def test_a_common_offset_of_the_scores_does_not_matter():
    shifted = sinkhorn_knopp(TEACHER + 100.0, temperature=0.07)
    assert torch.allclose(shifted, sinkhorn_knopp(TEACHER, temperature=0.07), atol=1e-4)


def test_scores_that_would_overflow_stay_finite():
    q = sinkhorn_knopp(1000.0 * TEACHER, temperature=0.04)
    assert torch.isfinite(q).all()
    assert (q.sum(dim=1) <= 1 + 1e-6).all()


def test_targets_are_float32_and_carry_no_gradient():
    logits = TEACHER.half().requires_grad_()
    q = sinkhorn_knopp(logits, temperature=0.07)
    assert q.dtype == torch.float32
    assert not q.requires_grad


def test_scores_are_left_as_they_were():
    logits = TEACHER.clone()
    sinkhorn_knopp(logits, temperature=1.0)
    assert torch.equal(logits, TEACHER)


def test_a_batch_without_masked_patches_has_no_targets():
    assert sinkhorn_knopp(torch.zeros(0, 8), temperature=0.07).shape == (0, 8)


def test_centering_takes_away_the_mean_of_earlier_batches():
    center = torch.zeros(8)
    first = centered_softmax(TEACHER, center=center, temperature=0.07)
    expected = [0.339774, 0.533063, 0.12212, 0.004987, 5.6e-05, 0.0, 0.0, 0.0]
    assert first[0].tolist() == pytest.approx(expected, abs=2e-6)

    center = updated_center(center, [score_totals(TEACHER)])
    expected = [0.00575, 0.003013, -0.000132, -0.003259, -0.005945, -0.007826, -0.008648, -0.0083]
    assert center.tolist() == pytest.approx(expected, abs=2e-6)

    student = sines(6, 8, step=0.71, phase=0.2)
    second = centered_softmax(student, center=center, temperature=0.07)
    expected = [9e-06, 0.044978, 0.935327, 0.019683, 3e-06, 0.0, 0.0, 0.0]
    assert second[0].tolist() == pytest.approx(expected, abs=2e-6)


def test_the_center_is_returned_and_not_changed_in_place():
    center = torch.zeros(8)
    updated_center(center, [score_totals(TEACHER)])
    assert (center == 0).all()


def test_a_center_of_constant_scores_approaches_them():
    center = torch.zeros(8)
    for _ in range(100):
        center = updated_center(center, [score_totals(torch.full((3, 8), 2.0))])
    assert torch.allclose(center, torch.full((8,), 2.0), atol=1e-3)


def test_a_center_follows_all_parts_of_a_step_by_their_samples():
    center = torch.full((8,), 0.5)
    parts = [score_totals(TEACHER[:1]), score_totals(TEACHER[1:4]), score_totals(TEACHER[4:])]
    whole = updated_center(center, [score_totals(TEACHER)])
    assert torch.allclose(updated_center(center, parts), whole, atol=1e-6)


def test_a_center_stays_where_nothing_was_masked():
    center = torch.full((8,), 0.5)
    assert torch.equal(updated_center(center, [score_totals(torch.zeros(0, 8))]), center)
