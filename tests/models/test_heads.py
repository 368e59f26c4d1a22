from dataclasses import replace

import pytest
import torch

from eosin.models.config import HeadConfig
from eosin.models.heads import DINOHead, rename_legacy_head
from models.deterministic import digest, fill, sines

SMALL = HeadConfig(num_prototypes=20, hidden_dim=32, bottleneck_dim=16)


def test_scores_are_those_of_the_reference():
    # Source: facebookresearch/dinov2 b8931f7, DINOHead(48, 20, hidden_dim=32, bottleneck_dim=16)
    # with the weights of `fill`; on random weights the difference was exactly 0.0.
    head = DINOHead(48, SMALL)
    fill(head)
    expected = [0.00763, -0.00083, 0.00248, -0.32585]
    assert digest(head(sines(5, 48))) == pytest.approx(expected, abs=2e-5)


def test_the_head_of_midnight_has_the_parameters_of_the_reference():
    # Source: as above, DINOHead(1536, 131072, hidden_dim=2048, bottleneck_dim=384).
    with torch.device("meta"):
        head = DINOHead(1536, HeadConfig(num_prototypes=131072, bottleneck_dim=384))
    assert sum(parameter.numel() for parameter in head.parameters()) == 58_593_664


def test_names_of_old_torch_are_mapped_and_others_kept():
    head = DINOHead(48, SMALL)
    legacy = {
        **{f"mlp.{i}.{part}": torch.zeros(1) for i in (0, 2, 4) for part in ("weight", "bias")},
        "last_layer.weight_g": torch.zeros(20, 1),
        "last_layer.weight_v": torch.zeros(20, 16),
    }
    renamed = rename_legacy_head(legacy)
    assert set(renamed) == set(head.state_dict())
    length, direction = (f"last_layer.parametrizations.weight.original{i}" for i in (0, 1))
    assert renamed[length] is legacy["last_layer.weight_g"]
    assert renamed[direction] is legacy["last_layer.weight_v"]


def test_a_fresh_head_gives_cosines():
    head = DINOHead(48, SMALL)
    prototypes = head.last_layer.weight
    assert torch.allclose(prototypes.norm(dim=1), torch.ones(20))
    assert float(head(sines(64, 48)).detach().abs().max()) <= 1.0 + 1e-6


def test_the_lengths_of_prototypes_are_trained():
    head = DINOHead(48, SMALL)
    head(sines(4, 48)).pow(2).sum().backward()
    length = head.get_parameter("last_layer.parametrizations.weight.original0")
    assert length.grad is not None
    assert length.grad.abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_token_that_becomes_zero_gives_zeros_and_not_nan(dtype: torch.dtype):
    head = DINOHead(48, SMALL).to(dtype)
    assert (head(torch.zeros(1, 48, dtype=dtype)) == 0).all()


def test_lengths_that_are_not_trained_stay_one_and_prototypes_learn_their_directions():
    # Source: facebookresearch/dino, vision_transformer.py, norm_last_layer=True.
    head = DINOHead(48, replace(SMALL, trains_lengths=False))
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1, weight_decay=0.4)
    before = head.last_layer.weight.detach().clone()
    head(sines(4, 48)).pow(2).sum().backward()
    optimizer.step()
    assert torch.allclose(head.last_layer.weight.norm(dim=1), torch.ones(20), atol=1e-6)
    assert not torch.allclose(head.last_layer.weight, before, atol=1e-2)
    assert set(head.state_dict()) == set(DINOHead(48, SMALL).state_dict())
