"""Where pixels are on a slide, and which of them give a patch at an exact magnification.

Three frames: level-0 pixels (`_l0`, also `x` and `y` of a coordinate), pixels of a pyramid level,
and microns (`_um`). `mpp` is microns per pixel. No file is read here.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from eosin.errors import ConfigError, MissingMppError, NoPlaceError


class Mpp(NamedTuple):
    """Microns per pixel along each axis."""

    x: float
    y: float

    @property
    def mean(self) -> float:
        return (self.x + self.y) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """One resolution of a slide."""

    width: int
    height: int
    downsample: float
    """Level-0 pixels per pixel of this level, as the reader uses it; not rounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlideInfo:
    """What is known about a slide without reading its pixels."""

    path: str
    width_l0: int
    height_l0: int
    levels: tuple[Level, ...]
    """Finest first."""
    mpp: Mpp | None
    """Of level 0; None when the file does not say, which most samplers refuse."""
    mpp_source: str
    """Where `mpp` comes from, or why there is none."""
    vendor: str
    background: tuple[int, int, int] = (255, 255, 255)
    """RGB of pixels that were never scanned."""
    fingerprint: str
    """Of the content: the same after the file has moved."""
    reader: str
    """What reads the pixels, such as `openslide` or `tiff`."""
    codec: str
    """How the pixels of level 0 are stored, such as `jpeg`; `unknown` when the reader hides it."""
    has_icc_profile: bool = False
    """Whether a colour profile is stored. Pixels are given as they are, without applying it."""
    bounds_l0: tuple[int, int, int, int] | None = None
    """Left, top, width and height of what was scanned, in level-0 pixels; None when all was."""
    notes: tuple[str, ...] = ()
    """What a user should hear about the slide although it can be used, such as `level 3 is left
    out: it has another shape`: one line each, without a full stop or a semicolon. `eosin scan` and
    the preview show them; nothing else depends on them."""

    def mpp_at(self, level: int) -> Mpp:
        """Return the microns per pixel of a level.

        Raises:
            MissingMppError: If the slide does not say.
        """
        if self.mpp is None:
            raise MissingMppError(self.path, f"{self.mpp_source}; {MPP_ADVICE}")
        downsample = self.levels[level].downsample
        return Mpp(self.mpp.x * downsample, self.mpp.y * downsample)


MPP_ADVICE = (
    "give its microns per pixel, with --mpp-overrides NAME UM or --assume-mpp UM on the command "
    "line, with MppPolicy(overrides={NAME: UM}) in Python, or leave the slide out"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchCoordinate:
    """One patch: which pixels to read, and what they become."""

    slide_path: str
    x: int
    """Left edge in level-0 pixels."""
    y: int
    """Top edge in level-0 pixels."""
    level: int
    patch_size: int
    """Width and height of the delivered patch, in pixels."""
    mpp: float
    """Delivered microns per pixel (of both axes on average)."""
    read_width: int
    """Pixels of `level` that are read; resampled to `patch_size` when they differ."""
    read_height: int


NoLevelPolicy = Literal["skip", "upsample", "nearest"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MagnificationRule:
    """How a target magnification is made from the levels that a slide has."""

    max_upsample: float = 1.1
    """A level may be this much coarser than the target and is then enlarged."""
    mpp_tolerance: float = 0.02
    """A level this close to the target is read as it is; scanners say 0.2528 and mean 0.25."""
    no_level: NoLevelPolicy = "skip"
    """For a target finer than every level: leave it to the other targets, enlarge all the same,
    or deliver the nearest level as it is."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_upsample < math.inf:
            raise ConfigError(f"max_upsample={self.max_upsample} must be a finite number from 1 up")
        if not 0 <= self.mpp_tolerance < 1:
            raise ConfigError(f"mpp_tolerance={self.mpp_tolerance} must be in [0, 1)")
        if self.no_level not in ("skip", "upsample", "nearest"):
            raise ConfigError(
                f"no_level={self.no_level!r} is not one of 'skip', 'upsample', 'nearest'"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What to read at one level for one patch, wherever the patch is."""

    level: int
    read_width: int
    read_height: int
    patch_size: int
    mpp: float
    width_l0: float
    height_l0: float

    def at(self, info: SlideInfo, x: int, y: int) -> PatchCoordinate:
        """Return the patch whose top-left corner is at level-0 pixel (x, y)."""
        return PatchCoordinate(
            slide_path=info.path,
            x=x,
            y=y,
            level=self.level,
            patch_size=self.patch_size,
            mpp=self.mpp,
            read_width=self.read_width,
            read_height=self.read_height,
        )


def level_window(info: SlideInfo, *, level: int, patch_size: int) -> Window:
    """Return the window of a patch that is `patch_size` pixels of a level, not resampled.

    Raises:
        MissingMppError: If the slide does not say how large its pixels are.
        NoPlaceError: If the slide has no such level.
    """
    if level >= len(info.levels):
        raise NoPlaceError(
            info.path, f"has levels 0 to {len(info.levels) - 1} and level {level} was asked for"
        )
    return _window(info, level, patch_size, patch_size, patch_size)


def mpp_window(
    info: SlideInfo, *, target_mpp: float, patch_size: int, rule: MagnificationRule
) -> Window | None:
    """Return the window that gives a patch of `patch_size` pixels at `target_mpp`.

    Among the levels with mpp <= target * max_upsample the coarsest is read: as it is when it is
    within the tolerance along both axes, otherwise as many pixels of it as the patch covers (to the
    nearest pixel), which are then resampled. Returns None when the slide has no such level and the
    rule says skip.

    Raises:
        MissingMppError: If the slide does not say how large its pixels are.
    """
    level_mpps = [info.mpp_at(level).mean for level in range(len(info.levels))]
    usable = [
        level for level, mpp in enumerate(level_mpps) if mpp <= target_mpp * rule.max_upsample
    ]
    if not usable and rule.no_level == "skip":
        return None
    level = max(usable, key=lambda i: level_mpps[i]) if usable else _finest(level_mpps)
    as_is = all(abs(mpp / target_mpp - 1) <= rule.mpp_tolerance for mpp in info.mpp_at(level))
    if as_is or (not usable and rule.no_level == "nearest"):
        return _window(info, level, patch_size, patch_size, patch_size)
    mpp = info.mpp_at(level)
    read_width = max(1, round(patch_size * target_mpp / mpp.x))
    read_height = max(1, round(patch_size * target_mpp / mpp.y))
    return _window(info, level, read_width, read_height, patch_size)


def _window(
    info: SlideInfo, level: int, read_width: int, read_height: int, patch_size: int
) -> Window:
    mpp, downsample = info.mpp_at(level), info.levels[level].downsample
    return Window(
        level=level,
        read_width=read_width,
        read_height=read_height,
        patch_size=patch_size,
        mpp=(mpp.x * read_width + mpp.y * read_height) / (2 * patch_size),
        width_l0=read_width * downsample,
        height_l0=read_height * downsample,
    )


def _finest(level_mpps: list[float]) -> int:
    return min(range(len(level_mpps)), key=lambda i: level_mpps[i])
