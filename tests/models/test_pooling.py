import pytest
import torch

from eosin.models.pooling import patch_map, pooled
from eosin.models.vit import Tokens
from models.deterministic import sines

TOKENS = Tokens(cls=sines(2, 3), registers=torch.full((2, 4, 3), torch.nan), patches=sines(2, 6, 3))


def test_registers_are_in_no_embedding():
    for pooling, width in (("cls", 3), ("mean", 3), ("cls+mean", 6)):
        vectors = pooled(TOKENS, pooling)
        assert vectors.shape == (2, width)
        assert torch.isfinite(vectors).all()
    assert torch.isfinite(patch_map(TOKENS, num_rows=2)).all()


def test_the_class_token_stands_before_the_mean_of_the_patches():
    both = pooled(TOKENS)
    assert torch.equal(both[:, :3], TOKENS.cls)
    assert torch.equal(both[:, 3:], TOKENS.patches.mean(1))


def test_half_precision_is_summed_in_float32():
    half = Tokens(*(part.bfloat16() for part in TOKENS))
    assert pooled(half, "mean").dtype == torch.float32
    assert torch.equal(pooled(half, "mean"), half.patches.float().mean(1))


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="max"):
        pooled(TOKENS, "max")


def test_a_map_has_each_patch_where_it_stands():
    by_rows = patch_map(TOKENS, num_rows=2)
    assert by_rows.shape == (2, 3, 2, 3)
    assert torch.equal(by_rows[1, :, 1, 0], TOKENS.patches[1, 3])
    square = TOKENS._replace(patches=sines(2, 9, 3))
    assert torch.equal(patch_map(square)[0, :, 1, 2], square.patches[0, 5])


@pytest.mark.parametrize("num_rows", [None, 4, 0])
def test_patches_that_do_not_fill_the_rows_are_refused(num_rows: int | None):
    with pytest.raises(ValueError, match=r"6 patches.*num_rows"):
        patch_map(TOKENS, num_rows)
