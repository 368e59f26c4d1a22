from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from eosin.losses.kde import kde_loss
from models.deterministic import sines


def mean_cosine(tokens: Tensor) -> float:
    """Return the mean over all pairs of different tokens."""
    z = functional.normalize(tokens.detach(), dim=-1)
    n = len(z)
    return float(((z @ z.T).sum() - n) / (n * (n - 1)))


def minimized(loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return 48 vectors around a common one, before and after 200 steps down the loss."""
    generator = torch.Generator().manual_seed(1)
    common = torch.randn(1, 64, generator=generator)
    start = common + torch.randn(48, 64, generator=generator)
    tokens = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([tokens], lr=5.0)
    for _ in range(200):
        optimizer.zero_grad()
        loss(tokens).backward()
        optimizer.step()
    return start, tokens


def test_minimizing_it_spreads_the_tokens():
    start, end = minimized(lambda tokens: kde_loss(tokens, kappa=5.0))
    assert mean_cosine(start) == pytest.approx(0.490, abs=1e-3)
    # Source: the leave-one-out form of MedARC-AI/nanopath 33c9da9 on the same vectors.
    assert mean_cosine(end) == pytest.approx(0.019, abs=5e-3)


def test_with_the_sign_flipped_the_tokens_collapse():
    start, end = minimized(lambda tokens: -kde_loss(tokens, kappa=5.0))
    assert mean_cosine(end) > 0.9 > mean_cosine(start)


def test_the_value_is_the_leave_one_out_log_density():
    # Source: MedARC-AI/OpenMidnight f7d5a64, loss/kde_loss.py: minus its value is 5.26787, with
    # each token as its own neighbour and without the mean; 2.20444 is what remains without both.
    tokens = sines(6, 16, step=0.9)
    loss = kde_loss(tokens, kappa=5.0)
    assert float(loss) == pytest.approx(2.20444, abs=1e-5)
    z = functional.normalize(tokens, dim=-1)
    including_self = torch.logsumexp(5.0 * z @ z.T, dim=1).mean()
    assert float(including_self) == pytest.approx(5.26787, abs=1e-5)


def test_the_value_follows_the_formula_term_by_term():
    tokens = sines(4, 5)
    kappa = 3.0
    z = [token / token.norm() for token in tokens]
    densities = [
        sum(torch.exp(kappa * z[i] @ z[j]) for j in range(4) if j != i) / 3 for i in range(4)
    ]
    expected = sum(torch.log(density) for density in densities) / 4
    assert float(kde_loss(tokens, kappa=kappa)) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("kappa", [5.0, 10.0])
def test_its_value_is_a_gauge_of_collapse(kappa: float):
    collapsed, orthogonal = torch.ones(8, 16), 3.0 * torch.eye(8)
    assert float(kde_loss(collapsed, kappa=kappa)) == pytest.approx(kappa, abs=1e-5)
    assert float(kde_loss(orthogonal, kappa=kappa)) == pytest.approx(0.0, abs=1e-5)
    simplex = torch.eye(8) - 1 / 8
    assert float(kde_loss(simplex, kappa=kappa)) == pytest.approx(-kappa / 7, abs=1e-5)


def test_the_length_of_tokens_does_not_matter():
    tokens = sines(6, 16)
    lengths = torch.arange(1.0, 7.0)[:, None]
    assert torch.allclose(kde_loss(tokens * lengths, kappa=5.0), kde_loss(tokens, kappa=5.0))


def test_half_precision_of_a_large_collapsed_batch_stays_finite():
    tokens = torch.ones(512, 64, dtype=torch.float16).requires_grad_()
    loss = kde_loss(tokens, kappa=5.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(5.0, abs=1e-3)
    assert torch.isfinite(tokens.grad).all()


def test_it_is_computed_in_float32_also_under_autocast():
    tokens = sines(32, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = kde_loss(tokens, kappa=5.0)
    assert torch.equal(loss, kde_loss(tokens, kappa=5.0))


def test_duplicates_have_finite_gradients():
    tokens = sines(3, 8).repeat(2, 1).requires_grad_()
    kde_loss(tokens, kappa=5.0).backward()
    assert torch.isfinite(tokens.grad).all()


def test_one_token_has_no_density():
    with pytest.raises(ValueError, match=r"1 token.*at least two"):
        kde_loss(torch.ones(1, 8), kappa=5.0)
