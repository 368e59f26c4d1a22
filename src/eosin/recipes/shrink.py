"""Any run, so small that it is over in seconds: what a recipe's `smoke()` gives."""

from dataclasses import replace

from eosin.errors import ConfigError
from eosin.models.config import HeadConfig, vit_config
from eosin.train.config import TrainConfig
from eosin.views import GLOBAL, RandomResizedCrop, ViewConfig

_GLOBAL_PATCHES, _LOCAL_PATCHES = 4, 2
"""Model patches along a side of a crop."""


def shrunk(run: TrainConfig) -> TrainConfig:
    """Return the same run with a nano model, small crops and heads, and four steps.

    It needs no weights: a nano model that a run could start from does not exist.
    """
    patch_px = run.model.patch_size
    nano = vit_config("nano", patch_size=patch_px, image_size=_GLOBAL_PATCHES * patch_px)
    return replace(
        run,
        data=replace(
            run.data,
            views=tuple(_small(view, patch_px) for view in run.data.views),
            num_lanes=2,
            pool_size=2,
        ),
        model=replace(
            run.model,
            embed_dim=nano.embed_dim,
            depth=nano.depth,
            num_heads=nano.num_heads,
            image_size=nano.image_size,
        ),
        dino_head=_small_head(run.dino_head),
        ibot_head=None if run.ibot_head is None else _small_head(run.ibot_head),
        optim=replace(
            run.optim,
            warmup_steps=min(run.optim.warmup_steps, 1),
            freeze_last_layer_steps=min(run.optim.freeze_last_layer_steps, 1),
            freeze_backbone_steps=min(run.optim.freeze_backbone_steps, 1),
        ),
        teacher=replace(
            run.teacher,
            warmup_temperature_steps=min(run.teacher.warmup_temperature_steps, 2),
        ),
        start="random",
        steps=4,
        global_batch=4,
        accumulation_steps=min(run.accumulation_steps, 2),
        checkpoint_every_steps=2,
        keep_every_steps=min(run.keep_every_steps, 4),
    )


def _small_head(head: HeadConfig) -> HeadConfig:
    return replace(head, num_prototypes=64, hidden_dim=32, bottleneck_dim=16)


def _small(view: ViewConfig, patch_px: int) -> ViewConfig:
    if not isinstance(view.crop, RandomResizedCrop):
        raise ConfigError(f"view {view.name!r} has no RandomResizedCrop to shrink")
    num_patches = _GLOBAL_PATCHES if view.name.startswith(GLOBAL) else _LOCAL_PATCHES
    return replace(
        view, crop=replace(view.crop, size=num_patches * patch_px), count=min(view.count, 2)
    )
