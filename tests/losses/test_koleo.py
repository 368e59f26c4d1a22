import math

import pytest
import torch

from eosin.losses.koleo import koleo_loss
from models.deterministic import sines


def test_the_value_is_that_of_the_reference():
    # Source: facebookresearch/dinov2 b8931f7, KoLeoLoss.
    assert float(koleo_loss(sines(6, 16, step=0.9))) == pytest.approx(0.28799, abs=1e-5)


def test_only_the_nearest_neighbour_counts():
    tokens = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert float(koleo_loss(tokens)) == pytest.approx(-math.log(math.sqrt(2)), abs=1e-6)


def test_minimizing_it_spreads_the_tokens():
    tokens = (torch.ones(8, 4) + 0.3 * sines(8, 4)).requires_grad_()
    koleo_loss(tokens).backward()
    with torch.no_grad():
        moved = tokens - 0.1 * tokens.grad
    assert koleo_loss(moved) < koleo_loss(tokens.detach())


def test_it_is_computed_in_float32_also_under_autocast():
    tokens = sines(256, 3, step=1.1)  # so close that bfloat16 mistakes the nearest
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = koleo_loss(tokens)
    assert torch.equal(loss, koleo_loss(tokens))


def test_one_token_has_no_neighbour():
    with pytest.raises(ValueError, match=r"1 token.*at least two"):
        koleo_loss(torch.ones(1, 8))
