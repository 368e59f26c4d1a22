"""A whole run in one value: what is streamed, the model, the losses, the optimiser, for how long.

Recipes are made of this, so it must not import torch. Paths, devices and threads belong to the
machine and are not here.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Literal, final

from eosin.catalog.weights import SlideWeights
from eosin.errors import ConfigError, check_whole_number
from eosin.filters.base import PatchFilter
from eosin.masking import BlockMasking
from eosin.models.config import HeadConfig, ViTConfig
from eosin.sampling.base import PatchSampler
from eosin.tissue.base import TissueSource
from eosin.transforms.base import Transform
from eosin.views import GLOBAL, LOCAL, RandomResizedCrop, ViewConfig, check_views


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What the stream delivers."""

    sampler: PatchSampler
    tissue_detector: TissueSource
    patch_filter: PatchFilter | None
    shared_transforms: Transform | None
    """Applied once to the patch that all views are cut from."""
    views: tuple[ViewConfig, ...]
    """Two whose names begin with `global`, the others with `local`; all crops of a kind alike in
    size."""
    augment_on: Literal["cpu", "device"] = "cpu"
    """Where patches become crops. The samples and all that is drawn are the same, and pixels are
    within a few grey levels."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    num_lanes: int = 8
    """Independent walks over the slides; divides the global batch."""
    pool_size: int = 8
    """Slides that take turns in each lane."""
    patches_per_slide: int = 100
    patches_per_visit: int = 1
    max_candidates: int = 32
    weights: SlideWeights = field(default_factory=SlideWeights)
    """How often each slide has its turn, by the columns of an index; as it stands, in passes over
    all of them."""
    replacement: Literal["with_replacement", "without_replacement"] = "with_replacement"
    """Whether places may overlap, or each visit deals a slide's disjoint cells to its samples."""

    def __post_init__(self) -> None:
        check_views(self.views)
        names = [name for view in self.views for name in view.names]
        num_global = sum(name.startswith(GLOBAL) for name in names)
        if num_global != 2 or not all(name.startswith((GLOBAL, LOCAL)) for name in names):
            raise ConfigError(
                f"views are named {', '.join(names)}; training needs two that begin with "
                f"'{GLOBAL}', and all others must begin with '{LOCAL}'"
            )
        for kind in self.kinds:
            self.crop_size(kind)
        for name, most in (
            *(("num_lanes", 2**20), ("pool_size", 2**20), ("patches_per_slide", 2**40)),
            *(("patches_per_visit", 2**40), ("max_candidates", 2**20)),
        ):
            check_whole_number(f"data.{name}", getattr(self, name), 1, most)
        if not all(s > 0 for s in self.std):
            raise ConfigError(f"data.std={self.std} must be above 0; pixels are divided by it")

    def crop_size(self, kind: str) -> int:
        """Return the side of the crops whose names begin with `kind`, in pixels."""
        crops = {view.crop for view in self.views if view.name.startswith(kind)}
        sizes = {crop.size for crop in crops if isinstance(crop, RandomResizedCrop)}
        if len(sizes) != 1 or not all(isinstance(crop, RandomResizedCrop) for crop in crops):
            raise ConfigError(
                f"{kind} views need a RandomResizedCrop of one size, and have {sorted(sizes)}"
            )
        return sizes.pop()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the names of views begin with: `global`, and `local` where there are such views."""
        return (GLOBAL, LOCAL) if self.num_local else (GLOBAL,)

    @property
    def global_px(self) -> int:
        """Side of the global crops in pixels."""
        return self.crop_size(GLOBAL)

    @property
    def num_local(self) -> int:
        """Number of local crops of each patch."""
        return sum(view.count for view in self.views if view.name.startswith(LOCAL))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """What is minimised, and how targets are made; weights multiply terms as DINOv2 has them."""

    dino_weight: float = 1.0
    ibot_weight: float = 1.0
    kde_weight: float = 0.05
    """Of the density regulariser on the class tokens of each global view, summed over both."""
    kde_kappa: float = 5.0
    koleo_weight: float = 0.0
    """Of DINOv2's own regulariser, which KDE replaces."""
    student_temperature: float = 0.1
    centering: Literal["sinkhorn_knopp", "softmax"] = "sinkhorn_knopp"

    def __post_init__(self) -> None:
        # Written so that NaN is refused too: no comparison with it holds.
        for name in ("dino_weight", "ibot_weight", "kde_weight", "koleo_weight"):
            if not getattr(self, name) >= 0:
                raise ConfigError(
                    f"losses.{name}={getattr(self, name)} must not be negative; a negative weight "
                    "turns the term round"
                )
        for name in ("student_temperature", "kde_kappa"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"losses.{name}={getattr(self, name)} must be above 0")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class OptimConfig:
    """AdamW and its schedules; a step is one optimiser step."""

    base_lr: float
    """Learning rate at a global batch of 1,024; scaled by the square root of batch / 1,024."""
    final_lr: float = 1e-6
    warmup_steps: int
    weight_decay: float = 0.04
    final_weight_decay: float = 0.2
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_grad_norm: float = 3.0
    """Of the backbone and of each head on its own."""
    layer_decay: float = 1.0
    patch_embed_lr_multiplier: float = 0.2
    freeze_last_layer_steps: int = 0
    """First steps in which the prototypes stand still."""
    freeze_backbone_steps: int = 0
    """First steps in which only the heads learn, so that new heads do not spoil learnt weights."""

    def __post_init__(self) -> None:
        for name in ("base_lr", "eps", "max_grad_norm", "layer_decay"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"optim.{name}={getattr(self, name)} must be above 0")
        for name in (
            "final_lr",
            "warmup_steps",
            "weight_decay",
            "final_weight_decay",
            "patch_embed_lr_multiplier",
            "freeze_last_layer_steps",
            "freeze_backbone_steps",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"optim.{name}={getattr(self, name)} must not be negative")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optim.betas={self.betas} must be in [0, 1)")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherConfig:
    """How the teacher follows the student, and how sharp its targets are."""

    momentum: float = 0.994
    final_momentum: float = 1.0
    temperature: float = 0.07
    warmup_temperature: float = 0.04
    warmup_temperature_steps: int

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= self.final_momentum <= 1:
            raise ConfigError(
                f"teacher.momentum={self.momentum} and final_momentum={self.final_momentum} must "
                "rise within 0 to 1"
            )
        if self.warmup_temperature_steps < 0:
            raise ConfigError(
                f"teacher.warmup_temperature_steps={self.warmup_temperature_steps} must not be "
                "negative; 0 is without warm-up"
            )
        if not 0 < self.warmup_temperature <= self.temperature:
            raise ConfigError(
                f"teacher.warmup_temperature={self.warmup_temperature} must be above 0 and at most "
                f"temperature={self.temperature}"
            )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides the numbers of a run."""

    data: DataConfig
    model: ViTConfig
    dino_head: HeadConfig = field(default_factory=HeadConfig)
    ibot_head: HeadConfig | None = field(default_factory=HeadConfig)
    """None lets both losses share the DINO head."""
    losses: LossConfig = field(default_factory=LossConfig)
    masking: BlockMasking = field(default_factory=BlockMasking)
    """Which patches the student does not see, for iBOT."""
    optim: OptimConfig
    teacher: TeacherConfig
    start: Literal["random", "backbone", "run"] = "random"
    """What the weights are at step 0: drawn, a backbone from elsewhere under heads that are drawn,
    or the backbone and heads of a run's teacher."""
    steps: int
    global_batch: int
    """Patches of one optimiser step, over all devices and accumulated parts."""
    accumulation_steps: int = 1
    """Parts of the global batch that are computed one after another for one optimiser step;
    Sinkhorn-Knopp, KDE and KoLeo compare the patches of a part."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products; bfloat16 keeps weights, losses and optimiser in float32. A run that
    begins with auto takes bfloat16 where the device multiplies faster in it, and stays so."""
    seed: int = 0
    checkpoint_every_steps: int = 1000
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""
    keep_every_steps: int = 0
    """Checkpoints at multiples of this are kept as well; 0 keeps none beside the newest."""

    def __post_init__(self) -> None:
        for name, least, most in (
            *(("steps", 1, 2**40), ("checkpoint_every_steps", 1, 2**40)),
            *(("keep_checkpoints", 1, 2**20), ("global_batch", 1, 2**24)),
            *(("accumulation_steps", 1, 2**24), ("seed", 0, 2**63 - 1)),
        ):
            check_whole_number(name, getattr(self, name), least, most)
        every = self.checkpoint_every_steps
        if self.keep_every_steps < 0 or self.keep_every_steps % every:
            raise ConfigError(
                f"keep_every_steps={self.keep_every_steps} must be a multiple of "
                f"checkpoint_every_steps={every}, or 0; give --keep-every-steps "
                f"{max(1, self.keep_every_steps // every) * every} as well"
            )
        self._check_batch()
        self._check_beginnings()
        for kind in self.data.kinds:
            size = self.data.crop_size(kind)
            if size % self.model.patch_size:
                raise ConfigError(
                    f"{kind} crops of {size} px are no multiple of model.patch_size="
                    f"{self.model.patch_size}"
                )

    def _check_beginnings(self) -> None:
        """Refuse a warm-up that does not end, and parts that would never learn; all at once."""
        optim, teacher, steps = self.optim, self.teacher, self.steps
        problems, flags = [], []
        # What is proposed are DINOv2's shares of a run of 125,000 steps.
        for name, most, proposed in (
            ("warmup_steps", steps, steps // 10),
            ("freeze_last_layer_steps", steps - 1, steps // 100),
            ("freeze_backbone_steps", steps - 1, steps // 100),
        ):
            value = getattr(optim, name)
            if value > most:
                problems.append(f"optim.{name}={value} must be at most {most}")
                flags.append(f"--optim.{name.replace('_', '-')} {proposed}")
        if not problems:
            return
        if teacher.warmup_temperature_steps > steps:
            flags.append(f"--teacher.warmup-temperature-steps {3 * steps // 10}")
        raise ConfigError(
            f"{' and '.join(problems)} at steps={steps}; train longer, or shorten: "
            f"{' '.join(flags)}"
        )

    def _check_batch(self) -> None:
        parts = self.accumulation_steps
        if parts < 1 or self.global_batch % parts:
            raise ConfigError(
                f"accumulation_steps={parts} must divide global_batch={self.global_batch}"
            )
        if self.part_batch < 2:
            raise ConfigError(
                f"global_batch={self.global_batch} in accumulation_steps={parts} leaves "
                f"{self.part_batch} patch to a part and must leave at least 2: patches are compared"
            )
        if self.global_batch % self.data.num_lanes:
            raise ConfigError(
                f"data.num_lanes={self.data.num_lanes} must divide global_batch={self.global_batch}"
            )

    def with_steps(self, steps: int) -> "TrainConfig":
        """Return the run with another number of steps.

        Where its first phases (the warm-ups of the learning rate and of the teacher's temperature,
        parts that stand still at first) would not all end within the steps, they become the same
        share of the run as they were; otherwise each stays as long as it is.

        Raises:
            ConfigError: If there are no steps.
        """
        if not 1 <= steps < self.steps:
            return replace(self, steps=steps)
        optim, teacher = self.optim, self.teacher
        if (
            optim.warmup_steps <= steps
            and teacher.warmup_temperature_steps <= steps
            and max(optim.freeze_last_layer_steps, optim.freeze_backbone_steps) < steps
        ):
            return replace(self, steps=steps)

        def shortened(num: int) -> int:
            return num * steps // self.steps

        return replace(
            self,
            steps=steps,
            optim=replace(
                optim,
                warmup_steps=shortened(optim.warmup_steps),
                freeze_last_layer_steps=shortened(optim.freeze_last_layer_steps),
                freeze_backbone_steps=shortened(optim.freeze_backbone_steps),
            ),
            teacher=replace(
                teacher, warmup_temperature_steps=shortened(teacher.warmup_temperature_steps)
            ),
        )

    @property
    def part_batch(self) -> int:
        """Patches of one accumulated part, over all devices."""
        return self.global_batch // self.accumulation_steps

    @property
    def peak_lr(self) -> float:
        """Learning rate after warm-up at this global batch."""
        return self.optim.base_lr * math.sqrt(self.global_batch / 1024)
