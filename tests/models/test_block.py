import pytest
import torch
from torch.nn import functional

from eosin.models.block import (
    MAX_TOKENS_WITH_SCORES,
    add_residual,
    add_residual_at,
    attend,
)


def relative_error(x: torch.Tensor, exact: torch.Tensor) -> float:
    return float((x - exact).norm() / exact.norm())


@pytest.mark.parametrize(
    ("batch", "rate", "num_kept"),
    [(48, 0.4, 28), (32, 0.1, 28), (3, 0.4, 1), (2, 0.1, 1), (1, 0.9, 1)],
)
def test_stochastic_depth_computes_a_fixed_number_of_images(batch: int, rate: float, num_kept: int):
    seen = []

    def branch(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return torch.ones_like(x)

    added = add_residual(torch.zeros(batch, 2, 3), branch, drop_rate=rate)
    assert seen == [num_kept]
    assert int((added[:, 0, 0] > 0).sum()) == num_kept
    assert float(added.mean()) == pytest.approx(1.0)


def test_every_image_is_dropped_as_often_as_any_other():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        added = sum(
            add_residual(torch.zeros(10, 1, 1), torch.ones_like, drop_rate=0.1) for _ in range(2000)
        )
    assert added.flatten().tolist() == pytest.approx([2000.0] * 10, rel=0.03)


def test_what_is_added_and_its_gradient_belong_to_the_kept_images():
    x = torch.randn(10, 3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        added = add_residual(x, torch.square, drop_rate=0.3)
        added.sum().backward()
        torch.manual_seed(1)
        kept = torch.randperm(10)[:7]
    is_kept = torch.isin(torch.arange(10), kept).float()[:, None, None]
    assert torch.allclose(added, x + is_kept * 10 / 7 * x**2)
    assert x.grad is not None
    assert torch.allclose(x.grad, 1 + is_kept * 20 / 7 * x)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_tokens_that_are_read_are_those_of_the_whole(rate: float):
    x = torch.randn(10, 3, 2, generator=torch.Generator().manual_seed(0))
    read = torch.tensor([0, 29, 3, 4, 12, 20, 21, 22])
    results = []
    for is_whole in (True, False):
        leaf = x.clone().requires_grad_()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            if is_whole:
                found = add_residual(leaf, torch.exp, drop_rate=rate).flatten(0, 1)[read]
            else:
                found = add_residual_at(read, leaf, torch.exp, drop_rate=rate)
        found.pow(2).sum().backward()
        results.append((found.detach(), leaf.grad))
    for whole, alone in zip(*results, strict=True):
        torch.testing.assert_close(alone, whole)


def test_the_branch_of_tokens_that_nobody_reads_is_not_computed():
    seen = []

    def branch(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return x

    read = torch.tensor([1, 5])
    assert add_residual_at(read, torch.zeros(4, 3, 2), branch, drop_rate=0.5).shape == (2, 2)
    assert seen == [(2, 2)]


@pytest.mark.parametrize("num_tokens", [10, 257, MAX_TOKENS_WITH_SCORES + 1])
def test_attention_in_bfloat16_on_a_cpu_is_that_of_float32_within_its_error(num_tokens: int):
    generator = torch.Generator().manual_seed(num_tokens)
    qkv = torch.randn(3, 2, 3, num_tokens, 64, generator=generator)
    back = torch.randn(2, 3, num_tokens, 64, generator=generator)
    exact, rounded = qkv.clone().requires_grad_(), qkv.bfloat16().requires_grad_()
    expected = functional.scaled_dot_product_attention(*exact)
    expected.backward(back)
    mixed = attend(*rounded)
    mixed.backward(back.bfloat16())
    assert mixed.dtype == torch.bfloat16
    assert exact.grad is not None
    assert rounded.grad is not None
    assert relative_error(mixed.detach(), expected.detach()) < 0.01
    assert relative_error(rounded.grad, exact.grad) < 0.01


def test_attention_in_float32_is_that_of_torch_to_the_last_bit():
    q, k, v = torch.randn(3, 2, 3, 17, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(attend(q, k, v), functional.scaled_dot_product_attention(q, k, v))


def test_autocast_leaves_attention_in_bfloat16():
    q, k, v = torch.randn(3, 2, 3, 17, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        inside = attend(q, k, v)
    assert inside.dtype == torch.bfloat16
    assert torch.equal(inside, attend(q, k, v))
