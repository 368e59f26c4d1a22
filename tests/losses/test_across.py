"""Each loss on two ranks against one process that has the rows of both."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, distributed
from torch.nn import functional

from eosin.losses.across import gather_over_ranks, max_over_ranks, num_ranks, sum_over_ranks
from eosin.losses.dino import dino_loss
from eosin.losses.ibot import ibot_loss
from eosin.losses.kde import kde_loss
from eosin.losses.koleo import koleo_loss
from eosin.losses.sinkhorn import centered_softmax, score_totals, sinkhorn_knopp, updated_center
from models.deterministic import sines
from ranks import on_ranks

TOKENS = sines(12, 16, step=0.9) + 0.5
LOGITS = sines(12, 8)


def share(x: Tensor, rank: int) -> Tensor:
    return x.chunk(2)[rank]


def value_and_gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, Tensor]:
    x = x.clone().requires_grad_()
    value = loss(x)
    value.backward()
    return float(value.detach()), x.grad


def over_ranks(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, Tensor]:
    """Return the value and gradient as training takes them: means over two ranks."""
    shares = on_ranks(2, lambda rank: value_and_gradient(loss, share(x, rank)))
    gradient = torch.cat([gradient for _, gradient in shares]) / 2
    return sum(value for value, _ in shares) / 2, gradient


def test_alone_nothing_is_exchanged():
    x = sines(3, 4).requires_grad_()
    rows, first_own = gather_over_ranks(x)
    assert num_ranks() == 1
    assert rows is x
    assert first_own == 0
    assert torch.equal(sum_over_ranks(x), x)
    assert torch.equal(max_over_ranks(x), x)


def test_sums_and_maxima_are_those_of_all_ranks_and_leave_what_was_given():
    def both(rank: int) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.tensor([1.0, 5.0]) if rank else torch.tensor([3.0, -2.0])
        return sum_over_ranks(x), max_over_ranks(x), x

    for rank, (total, highest, given) in enumerate(on_ranks(2, both)):
        assert total.tolist() == [4.0, 3.0]
        assert highest.tolist() == [3.0, 5.0]
        assert given.tolist() == ([1.0, 5.0] if rank else [3.0, -2.0])


def test_gathered_rows_are_in_the_order_of_the_ranks():
    results = on_ranks(3, lambda rank: gather_over_ranks(torch.full((2, 1), float(rank))))
    assert [first_own for _, first_own in results] == [0, 2, 4]
    for rows, _ in results:
        assert rows[:, 0].tolist() == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]


def test_a_gathered_row_brings_home_what_all_ranks_say_of_it():
    def gradient(rank: int) -> Tensor:
        x = torch.zeros(2, 1, requires_grad=True)
        weights = torch.tensor([[1.0], [10.0], [100.0], [1000.0]]) * (rank + 1)
        (gather_over_ranks(x).rows * weights).sum().backward()
        return x.grad[:, 0]

    first, second = on_ranks(2, gradient)
    assert first.tolist() == [3.0, 30.0]
    assert second.tolist() == [300.0, 3000.0]


@pytest.mark.parametrize("loss", [lambda x: kde_loss(x, kappa=5.0), koleo_loss])
def test_regularizers_on_two_ranks_are_those_of_the_joined_batch(
    loss: Callable[[Tensor], Tensor],
):
    value, gradient = value_and_gradient(loss, TOKENS)
    value_over_ranks, gradient_over_ranks = over_ranks(loss, TOKENS)
    assert value_over_ranks == pytest.approx(value, abs=1e-6)
    assert torch.allclose(gradient_over_ranks, gradient, atol=1e-7, rtol=1e-5)


def test_one_token_on_each_rank_is_enough():
    tokens = TOKENS[:2]
    value, gradient = value_and_gradient(lambda x: kde_loss(x, kappa=5.0), tokens)
    value_over_ranks, gradient_over_ranks = over_ranks(lambda x: kde_loss(x, kappa=5.0), tokens)
    assert value_over_ranks == pytest.approx(value, abs=1e-6)
    assert torch.allclose(gradient_over_ranks, gradient, atol=1e-7)


def kde_with_others_held_constant(x: Tensor) -> Tensor:
    z = functional.normalize(x, dim=-1)
    parts = [torch.empty_like(z) for _ in range(2)]
    distributed.all_gather(parts, z.detach())
    rank = distributed.get_rank()
    parts[rank] = z
    log_kernel = 5.0 * z @ torch.cat(parts).T
    log_kernel.diagonal(rank * len(z)).fill_(-torch.inf)
    return torch.logsumexp(log_kernel, dim=1).mean() - math.log(2 * len(z) - 1)


def test_with_the_other_ranks_held_constant_the_gradient_would_be_shorter_and_turned():
    tokens = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    value, gradient = value_and_gradient(lambda x: kde_loss(x, kappa=5.0), tokens)
    same_value, detached = over_ranks(kde_with_others_held_constant, tokens)
    assert same_value == pytest.approx(value, abs=1e-6)
    assert float(detached.norm() / gradient.norm()) == pytest.approx(0.80, abs=0.03)
    cosine = functional.cosine_similarity(detached.ravel(), gradient.ravel(), dim=0)
    assert float(cosine) == pytest.approx(0.94, abs=0.02)


def test_assignments_on_two_ranks_are_those_of_the_joined_batch():
    shares = on_ranks(2, lambda rank: sinkhorn_knopp(share(LOGITS, rank), temperature=0.07))
    whole = sinkhorn_knopp(LOGITS, temperature=0.07)
    assert torch.allclose(torch.cat(shares), whole, atol=1e-6)
    alone = torch.cat([sinkhorn_knopp(part, temperature=0.07) for part in LOGITS.chunk(2)])
    assert not torch.allclose(alone, whole, atol=1e-3)


def test_assignments_do_not_overflow_where_one_rank_has_the_high_scores():
    logits = torch.cat([LOGITS[:6], LOGITS[6:] + 50.0])
    shares = on_ranks(2, lambda rank: sinkhorn_knopp(share(logits, rank), temperature=0.07))
    assert torch.isfinite(torch.cat(shares)).all()
    whole = sinkhorn_knopp(logits, temperature=0.07)
    assert torch.allclose(torch.cat(shares), whole, atol=1e-6)


@pytest.mark.parametrize("num_first", [12, 9, 0])
def test_assignments_and_centers_take_ranks_with_unequal_rows_or_none(num_first: int):
    center = torch.full((8,), 0.25)

    def targets(rank: int) -> tuple[Tensor, Tensor]:
        own = LOGITS[num_first:] if rank else LOGITS[:num_first]
        totals = [score_totals(own[:2]), score_totals(own[2:])]
        return sinkhorn_knopp(own, temperature=0.07), updated_center(center, totals)

    shares = on_ranks(2, targets)
    assignments = torch.cat([assignment for assignment, _ in shares])
    assert torch.allclose(assignments, sinkhorn_knopp(LOGITS, temperature=0.07), atol=1e-6)
    whole = updated_center(center, [score_totals(LOGITS)])
    for _, updated in shares:
        assert torch.allclose(updated, whole, atol=1e-6)


def test_where_no_rank_has_a_row_there_is_no_target_and_the_center_stays():
    def targets(_: int) -> tuple[Tensor, Tensor]:
        nothing = torch.zeros(0, 8)
        center = updated_center(torch.ones(8), [score_totals(nothing)])
        return sinkhorn_knopp(nothing, temperature=0.07), center

    for assignment, center in on_ranks(2, targets):
        assert assignment.shape == (0, 8)
        assert center.tolist() == [1.0] * 8


def test_the_dino_loss_on_two_ranks_is_that_of_the_joined_batch():
    locals_, globals_ = sines(3, 6, 8, step=0.53), sines(2, 6, 8, step=0.71)
    teacher = sines(2, 6, 8)

    def loss(x: Tensor, teacher: Tensor) -> Tensor:
        targets = sinkhorn_knopp(teacher.flatten(0, 1), temperature=0.07).view(2, -1, 8)
        return torch.stack(list(dino_loss(x[:2], x[2:], targets))).sum()

    student = torch.cat([globals_, locals_])
    value, gradient = value_and_gradient(lambda x: loss(x, teacher), student)

    def on_rank(rank: int) -> tuple[float, Tensor]:
        own = student.chunk(2, dim=1)[rank], teacher.chunk(2, dim=1)[rank]
        return value_and_gradient(lambda x: loss(x, own[1]), own[0])

    shares = on_ranks(2, on_rank)
    assert sum(value for value, _ in shares) / 2 == pytest.approx(value, abs=1e-6)
    joined = torch.cat([gradient for _, gradient in shares], dim=1) / 2
    assert torch.allclose(joined, gradient, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("centering", ["sinkhorn_knopp", "softmax"])
def test_the_ibot_loss_with_a_rank_without_masks_is_that_of_the_joined_batch(centering: str):
    masks = torch.zeros(8, 5, dtype=torch.bool)
    masks[0, :2] = True
    masks[2, 1:5] = True
    student, teacher = sines(6, 8, step=0.71, phase=0.2), sines(6, 8)

    def loss(x: Tensor, teacher: Tensor, masks: Tensor) -> Tensor:
        if centering == "softmax":
            center = updated_center(torch.zeros(8), [score_totals(teacher)])
            targets = centered_softmax(teacher, center=center, temperature=0.07)
        else:
            targets = sinkhorn_knopp(teacher, temperature=0.07)
        return ibot_loss(x, targets, masks)

    value, gradient = value_and_gradient(lambda x: loss(x, teacher, masks), student)

    def on_rank(rank: int) -> tuple[float, Tensor]:
        rows = slice(6, 6) if rank else slice(0, 6)
        own = teacher[rows], masks.chunk(2)[rank]
        return value_and_gradient(lambda x: loss(x, *own), student[rows])

    shares = on_ranks(2, on_rank)
    assert sum(value for value, _ in shares) / 2 == pytest.approx(value, abs=1e-6)
    joined = torch.cat([gradient for _, gradient in shares]) / 2
    assert torch.allclose(joined, gradient, atol=1e-7, rtol=1e-5)


def test_what_a_rank_raises_is_shown():
    def fail_on_one(rank: int) -> None:
        if rank:
            raise ValueError("rank one is unwell")

    with pytest.raises(AssertionError, match="rank one is unwell"):
        on_ranks(2, fail_on_one)


def test_a_rank_that_waits_in_vain_does_not_hang_the_tests():
    def wait_for_the_other(rank: int) -> None:
        if rank == 0:
            distributed.barrier()

    with pytest.raises(AssertionError, match=r"rank \d: |ranks \[.*\] said nothing"):
        on_ranks(2, wait_for_the_other, timeout_s=2.0)
