import pytest
import torch

from eosin.models.block import add_residual


@pytest.mark.parametrize(
    ("batch", "rate", "num_kept"), [(48, 0.4, 28), (3, 0.4, 1), (2, 0.4, 1), (1, 0.9, 1)]
)
def test_a_large_drop_rate_computes_a_fixed_number_of_images(
    batch: int, rate: float, num_kept: int
):
    seen = []

    def branch(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return torch.ones_like(x)

    added = add_residual(torch.zeros(batch, 2, 3), branch, drop_rate=rate)
    assert seen == [num_kept]
    assert int((added[:, 0, 0] > 0).sum()) == num_kept
    assert float(added.mean()) == pytest.approx(1.0)


def test_a_small_drop_rate_drops_each_image_on_its_own_and_keeps_the_mean():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        added = add_residual(torch.zeros(20_000, 1, 1), torch.ones_like, drop_rate=0.1)
    assert added.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    assert float(added.mean()) == pytest.approx(1.0, abs=0.01)
