"""A run of seconds, with everything on that a real one has."""

from dataclasses import replace

from eosin.recipes import nano_cpu
from eosin.train.config import TrainConfig


def tiny_config(**changes: object) -> TrainConfig:
    config = nano_cpu.smoke()
    tiny_model = replace(
        config.model, embed_dim=24, depth=2, num_heads=2, drop_path_rate=0.2, layerscale_init=1.0
    )
    # Exact comparisons need float32, also where bfloat16 would be chosen.
    config = replace(config, model=tiny_model, precision="float32")
    return replace(config, **changes)
