"""How patch tokens change while a run learns: maps of a few fixed tiles, checkpoint by checkpoint.

bank or stream ─→ tiles ─teacher of each checkpoint→ patch tokens ─components→ colours, a map
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import final

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from torch import Tensor

from eosin.backends.base import SlideBackend
from eosin.catalog import SlideNames
from eosin.embed.encoder import ViTEncoder
from eosin.errors import CheckpointError, EosinError
from eosin.models.tensor_file import open_tensors
from eosin.names import get_logger
from eosin.report.components import aligned, colours, principal_components, signed_by
from eosin.report.page import Html, Section, figure, paragraph
from eosin.report.pictures import Tile, picture_rows
from eosin.report.stream import Sampled, patch_at
from eosin.train.checkpoint import teacher_files
from eosin.train.config import TrainConfig
from eosin.train.run_folder import RunFolder
from eosin.train.step import initial_model
from eosin.transforms.resize import resize
from eosin.watch.bank import TileBank

logger = get_logger(__name__)

BANK_FILE = "bank.npz"
MAX_CHECKPOINTS = 6
NUM_TILES = 6
MAX_S = 60.0
"""After so many seconds no further checkpoint is looked at."""

_GRID = 16
"""Patches a side of a map."""
_MAP_PX = 144
_MAX_START_WIDTH = 768
"""Width of the largest model whose random start is made again for its map."""

Image = UInt8[np.ndarray, "height width 3"]


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NamedTile:
    """A patch as it is on the slide, and what it is called."""

    image: Image
    slide: str
    mpp: float

    @property
    def caption(self) -> str:
        """Slide and magnification."""
        return f"{PurePath(self.slide).name}, {self.mpp:.2g} \u00b5m/px"


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TokenMap:
    """What the tokens of one checkpoint look like on every tile."""

    step: int
    share: float
    """Of the tokens' variance, that the three components hold."""
    maps: tuple[Image, ...]
    """One a tile, a pixel a patch."""


def map_section(
    run: RunFolder, sampled: Sampled | EosinError, backend: SlideBackend, names: SlideNames
) -> Section:
    """Return the section of the maps; it says why where there are none.

    Args:
        run: Whose teachers are looked at.
        sampled: From the run's stream, or why there is nothing.
        backend: Opens the slides.
        names: Gives the name to show of a slide that the bank names.
    """
    heading = "What patches look like to the model"
    tiles = [replace(tile, slide=names(tile.slide)) for tile in bank_tiles(run.path)]
    if not tiles and isinstance(sampled, Sampled):
        tiles = stream_tiles(sampled, backend)
    if not tiles:
        why = "none can be read" if isinstance(sampled, Sampled) else sampled
        reason = f"The run keeps no bank of tiles, and its slides cannot be shown: {why}."
        return Section(heading=heading, blocks=(paragraph(reason),))
    maps = token_maps(run, tiles)
    if not maps:
        reason = "There is no checkpoint yet, or none that can be read."
        return Section(heading=heading, blocks=(paragraph(reason),))
    return Section(heading=heading, blocks=(_drawn(tiles, maps),))


def bank_tiles(run_path: Path) -> list[NamedTile]:
    """Return some tiles of the run's bank; none where it has no bank that can be read."""
    path = run_path / BANK_FILE
    if not path.exists():
        return []
    try:
        bank = TileBank.load(path)
    except CheckpointError as error:
        logger.warning("the maps are of other tiles: %s", error)
        return []
    sources = list(zip(map(str, bank.slides), map(float, bank.mpp), strict=True))
    return [
        NamedTile(image=bank.patches[place], slide=sources[place][0], mpp=sources[place][1])
        for place in _spread(sources)
    ]


def stream_tiles(sampled: Sampled, backend: SlideBackend) -> list[NamedTile]:
    """Return patches of some of a stream's first samples, before augmentation."""
    places = [result.coordinate for result in sampled.results]
    chosen = [places[i] for i in _spread([(at.slide_path, at.mpp) for at in places])]
    images = [(at, patch_at(at, backend)) for at in chosen]
    return [
        NamedTile(image=image, slide=at.slide_path, mpp=at.mpp)
        for at, image in images
        if image is not None
    ]


def token_maps(run: RunFolder, tiles: Sequence[NamedTile]) -> list[TokenMap]:
    """Return the maps of the random start and of some checkpoints, oldest first.

    A checkpoint that cannot be read, is not finite, or is removed meanwhile, is left out.
    The newest is looked at first, and none after `MAX_S`.
    """
    config = run.train_config
    size_px = _GRID * config.model.patch_size
    pixels = np.stack([resize(tile.image, size_px) for tile in tiles])
    tokens: dict[int, Float[np.ndarray, "tokens dim"]] = {}
    start_s = time.monotonic()
    for step, weights in _teachers(run, config):
        try:
            encoder = ViTEncoder(
                f"step {step}",
                weights,
                config.model,
                input_size_px=size_px,
                mean=config.data.mean,
                std=config.data.std,
            )
        except CheckpointError as error:
            logger.warning("no maps of step %d: %s", step, error)
            continue
        # Tile by tile: a large model on a CPU needs the memory.
        parts = [encoder(pixels[i : i + 1]).patches[0].float().numpy() for i in range(len(pixels))]
        tokens[step] = np.concatenate(parts)
        if time.monotonic() - start_s > MAX_S:
            break
    return _coloured(tokens, pixels)


def _teachers(run: RunFolder, config: TrainConfig) -> Iterator[tuple[int, Mapping[str, Tensor]]]:
    files = teacher_files(run.checkpoints)
    spread = np.linspace(len(files) - 1, 0, min(len(files), MAX_CHECKPOINTS)).round()
    for place in map(int, spread):
        weights = _backbone(files[place])
        if weights:
            yield int(files[place].parent.name.removeprefix("step_")), weights
    if files and config.start == "random" and config.model.embed_dim <= _MAX_START_WIDTH:
        yield 0, initial_model(config).teacher["backbone"].state_dict()


def _backbone(file: Path) -> dict[str, Tensor]:
    """Return the backbone's weights; none when the file cannot be read, or is gone."""
    prefix = "backbone."
    try:
        with open_tensors(file) as stored:
            names = [name for name in stored.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name.removeprefix(prefix): stored.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        logger.warning("%s is left out of the maps: %s", file, error)
        return {}


def _coloured(
    tokens: Mapping[int, Float[np.ndarray, "tokens dim"]],
    pixels: UInt8[np.ndarray, "tiles size size 3"],
) -> list[TokenMap]:
    """Return maps whose colours go on from each checkpoint to the next."""
    maps: list[TokenMap] = []
    before: Float[np.ndarray, "tokens 3"] | None = None
    for step in sorted(tokens):
        scores, share = principal_components(tokens[step])
        before = signed_by(scores, _stain(pixels)) if before is None else aligned(scores, before)
        drawn = colours(before).reshape(len(pixels), _GRID, _GRID, 3)
        maps.append(TokenMap(step=step, share=share, maps=tuple(drawn)))
    return maps


def _stain(pixels: UInt8[np.ndarray, "tiles size size 3"]) -> Float[np.ndarray, " tokens"]:
    """Return how dark each patch is: what is stained is foreground."""
    small = [cv2.resize(one, (_GRID, _GRID), interpolation=cv2.INTER_AREA) for one in pixels]
    dark: Float[np.ndarray, " tokens"] = 255.0 - np.stack(small).mean(axis=-1).ravel()
    return dark


def _spread(sources: Sequence[tuple[str, float]]) -> list[int]:
    """Return places of tiles from different slides and magnifications, as far as there are any."""
    chosen: list[int] = []
    slides: Counter[str] = Counter()
    mpps: Counter[str] = Counter()
    while len(chosen) < min(NUM_TILES, len(sources)):
        rest = (i for i in range(len(sources)) if i not in chosen)
        best = min(rest, key=lambda i: (slides[sources[i][0]], mpps[f"{sources[i][1]:.2g}"], i))
        chosen.append(best)
        slides[sources[best][0]] += 1
        mpps[f"{sources[best][1]:.2g}"] += 1
    return chosen


def _drawn(tiles: Sequence[NamedTile], maps: Sequence[TokenMap]) -> Html:
    header = ["tile", *(f"step {one.step:,}" for one in maps)]
    rows = []
    for place, tile in enumerate(tiles):
        row = [Tile(image=resize(tile.image, _MAP_PX), caption=tile.caption)]
        for one in maps:
            large = cv2.resize(one.maps[place], (_MAP_PX, _MAP_PX), interpolation=cv2.INTER_CUBIC)
            row.append(Tile(image=np.asarray(large, np.uint8), caption=""))
        rows.append(row)
    shares = ", ".join(f"{one.share:.0%} at step {one.step:,}" for one in maps)
    caption = (
        "The first three principal components of the teacher's patch tokens, over all tiles of a "
        "checkpoint together, as red, green and blue; order and sign follow the checkpoint before. "
        "What has one colour is alike to the model: tissues should part, and edges be theirs. The "
        f"three hold {shares} of the variance; nearly all of it in three would be a collapse."
    )
    return figure(picture_rows(header, rows), caption)
