"""PatchPipeline: slides in, an endless or finite stream of patches out; what most people import."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from itertools import count, takewhile
from pathlib import Path
from typing import TypedDict

from eosin.backends.base import SlideBackend
from eosin.backends.files import file_fingerprint, find_slides
from eosin.errors import CheckpointError, ConfigError, StreamStalledError
from eosin.filters.base import PatchFilter
from eosin.plain import fingerprint
from eosin.sampling.base import PatchSampler
from eosin.sampling.grid import GridSampler
from eosin.sampling.random import RandomSampler
from eosin.stream.ahead import map_ahead
from eosin.stream.draw import PatchRecipe, draw_sample
from eosin.stream.grid import GridOrder
from eosin.stream.order import LaneOrder, SlideSampling
from eosin.stream.result import PatchResult, Rejection
from eosin.stream.slides import SlideStore
from eosin.stream.stats import StreamStats, summarize
from eosin.tissue.base import TissueDetector
from eosin.tissue.otsu import OtsuTissueDetector
from eosin.transforms.base import Transform
from eosin.views import ViewConfig, check_views

_AHEAD_PER_THREAD = 8


class StreamState(TypedDict):
    """Where a stream is: everything else follows from its settings."""

    next_index: int
    settings: str
    slides: str


@dataclass(kw_only=True, eq=False)
class PatchPipeline:
    """Stream patches from slides.

    Sample i is a pure function of (seed, i, slide list, settings): nothing that came before changes
    it, so a stream stopped anywhere goes on exactly, and `read(i)` gives any patch again. The
    object is a frozen plan and a cursor; `iter()` starts at the cursor. A copy, also one that was
    pickled for another process, has the plan and the cursor, and opens slides of its own.
    """

    slide_paths: str | Path | Sequence[str | Path]
    """A folder, a slide, or a list of them."""
    backend: SlideBackend
    tissue_detector: TissueDetector = field(default_factory=OtsuTissueDetector)
    sampler: PatchSampler | GridSampler = field(default_factory=RandomSampler)
    patch_filter: PatchFilter | None = None
    transforms: Transform | None = None
    """Applied to each patch; not together with `views`."""
    shared_transforms: Transform | None = None
    """Applied once to the patch that all `views` are cut from."""
    views: Sequence[ViewConfig] | None = None
    slide_sampling: SlideSampling = "sequential"
    """Order of the slides in each pass: as listed, or permuted anew."""
    pool_size: int = 8
    """Slides that take turns."""
    patches_per_slide: int = 100
    """Samples of one visit to a slide (a sampler's `num_patches` may lower it)."""
    patches_per_visit: int = 1
    """Samples in a row from one slide before the next has its turn."""
    cycle: bool = False
    """Whether to begin anew when every slide has had its visit."""
    seed: int = 0
    num_lanes: int = 1
    """Independent walks over the slides; sample i belongs to lane i % num_lanes."""
    max_candidates: int = 32
    """Places tried on one slide before another takes over."""
    max_open_slides: int | None = None
    """Slides held open; the pools of all lanes when None."""
    max_quarantined_fraction: float = 0.5
    """Share of slides that may turn out unusable before the stream stops."""
    num_threads: int = 0
    """Threads that read ahead; with 0 each patch is read when it is asked for."""

    def __post_init__(self) -> None:
        self._check()
        paths = find_slides(self.slide_paths)
        per_slide = self.patches_per_slide
        if isinstance(self.sampler, PatchSampler) and self.sampler.max_per_slide is not None:
            per_slide = min(per_slide, self.sampler.max_per_slide)
        self.order = LaneOrder(
            num_slides=len(paths),
            seed=self.seed,
            slide_sampling=self.slide_sampling,
            cycle=self.cycle,
            num_lanes=self.num_lanes,
            pool_size=self.pool_size,
            patches_per_slide=per_slide,
            patches_per_visit=self.patches_per_visit,
        )
        self._store = SlideStore(
            paths,
            self.backend,
            self.tissue_detector,
            max_open_slides=self.max_open_slides or self.num_lanes * self.pool_size,
            max_quarantined_fraction=self.max_quarantined_fraction,
        )
        self._recipe = PatchRecipe(
            seed=self.seed,
            patch_filter=self.patch_filter,
            transforms=self.transforms,
            shared_transforms=self.shared_transforms,
            views=None if self.views is None else tuple(self.views),
        )
        self.stats = StreamStats()
        self._grid = (
            GridOrder(self._store, self.sampler, self.order, self.stats.count_rejections)
            if isinstance(self.sampler, GridSampler)
            else None
        )
        self._slides_fingerprint: str | None = None
        self.next_index = 0

    def _check(self) -> None:
        if self.views is not None:
            check_views(self.views)
            if self.transforms is not None:
                raise ConfigError(
                    "transforms and views exclude each other; put what all views share into "
                    "shared_transforms and the rest into each ViewConfig"
                )
        elif self.shared_transforms is not None:
            raise ConfigError("shared_transforms needs views; without them use transforms")
        if isinstance(self.sampler, GridSampler) and self.num_lanes > 1:
            raise ConfigError(f"num_lanes={self.num_lanes} needs a random sampler; a grid has one")
        for name, least in (
            ("seed", 0),
            ("max_candidates", 1),
            ("max_open_slides", 1),
            ("num_threads", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name}={value} must be at least {least}")
        if not 0 <= self.max_quarantined_fraction <= 1:
            raise ConfigError(
                f"max_quarantined_fraction={self.max_quarantined_fraction} must be a share"
            )

    @property
    def slides(self) -> tuple[str, ...]:
        """Paths of the slides, in the order of the list."""
        return self._store.paths

    @property
    def quarantined(self) -> dict[str, str]:
        """Slides that turned out unusable, each with the reason."""
        return self._store.quarantined

    def __iter__(self) -> Iterator[PatchResult]:
        """Go on at the cursor; the cursor moves when a sample is delivered."""
        for result in self.samples(takewhile(self._has, count(self.next_index))):
            self.next_index = result.index + 1
            yield result

    def samples(self, indices: Iterable[int]) -> Generator[PatchResult]:
        """Yield samples by their numbers, in the order given; the cursor stays where it is.

        A grid's cells that are turned away are left out.

        Raises:
            IndexError: If the stream has no such sample.
            StreamStalledError: If no slide gives a sample, or no cell of a whole grid is accepted.
        """
        turned_away: list[Rejection] = []
        drawn = map_ahead(
            self._draw,
            indices,
            num_threads=self.num_threads,
            depth=self.num_threads * _AHEAD_PER_THREAD,
        )
        for index, result in drawn:
            if isinstance(result, PatchResult):
                turned_away.clear()
                self.stats.count(result)
                yield result
                continue
            self.stats.count_rejections(result)
            turned_away.extend(result)
            if self._grid is None or not self._grid.first_pass_has(len(turned_away)):
                raise self._stalled(index, tuple(turned_away))

    def read(self, index: int) -> PatchResult:
        """Return sample `index` again, or before its time; the cursor stays where it is.

        Raises:
            IndexError: If the stream has no such sample, or a grid's cell was turned away.
            StreamStalledError: If no slide gives it.
        """
        _, result = self._draw(index)
        if isinstance(result, PatchResult):
            return result
        if self._grid is None:
            raise self._stalled(index, result)
        raise IndexError(f"sample {index} is turned away: {summarize(result)}")

    def state_dict(self) -> StreamState:
        """Return where the stream is: what was delivered, not what was read ahead."""
        return StreamState(
            next_index=self.next_index,
            settings=self.settings_fingerprint,
            slides=self.slides_fingerprint,
        )

    def load_state_dict(self, state: StreamState) -> None:
        """Go on where another pipeline of the same settings and slides was.

        Raises:
            CheckpointError: If settings or slides differ, since the samples would.
        """
        for name, mine in (
            ("settings", self.settings_fingerprint),
            ("slides", self.slides_fingerprint),
        ):
            if state[name] != mine:  # type: ignore[literal-required]
                raise CheckpointError(
                    f"the stream's state is of other {name} (fingerprint {state[name]}, "  # type: ignore[literal-required]
                    f"here {mine}); give the same {name}, or start a new stream"
                )
        self.next_index = state["next_index"]

    @property
    def settings_fingerprint(self) -> str:
        """Changes with every setting that changes a sample."""
        return fingerprint(
            [
                self.backend,
                self.tissue_detector,
                self.sampler,
                self._recipe,
                # How many slides there are belongs to the slides.
                replace(self.order, num_slides=1),
                self.max_candidates,
            ]
        )

    @property
    def slides_fingerprint(self) -> str:
        """Changes with the content and order of the slides, not with the folder they are in."""
        if self._slides_fingerprint is None:
            with ThreadPoolExecutor(8) as executor:
                self._slides_fingerprint = fingerprint(list(executor.map(_content, self.slides)))
        return self._slides_fingerprint

    def close(self) -> None:
        """Close the slides; using the pipeline again opens them anew."""
        self._store.close()

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Copy and pickle the plan and the cursor; open files and locks stay behind."""
        plan = {f.name: getattr(self, f.name) for f in fields(self)}
        return _restored, ({**plan, "slide_paths": self.slides}, self.next_index)

    def _has(self, index: int) -> bool:
        if index < 0:
            return False
        if self._grid is not None:
            has = self._grid.has(index)
            if not has and index == 0:
                raise self._stalled(0, ())
            return has
        num_samples = self.order.num_samples
        return num_samples is None or index < num_samples

    def _draw(self, index: int) -> tuple[int, PatchResult | tuple[Rejection, ...]]:
        if not self._has(index):
            raise IndexError(f"the stream has no sample {index}: it begins at 0, or ends before")
        if self._grid is not None:
            return index, self._grid.draw(index, self._recipe)
        assert isinstance(self.sampler, PatchSampler)
        return index, draw_sample(
            index,
            self.order.slides_of(index),
            self._store,
            self.sampler,
            self._recipe,
            max_candidates=self.max_candidates,
        )

    def _stalled(self, index: int, rejections: tuple[Rejection, ...]) -> StreamStalledError:
        shares = summarize(rejections)
        causes = f"{len(rejections)} candidates were turned away ({shares})" if shares else ""
        problems = {**self.stats.problems, **self.quarantined}
        example = "; for one, {}: {}".format(*problems.popitem()) if problems else ""
        return StreamStalledError(
            f"no slide gives sample {index}: {causes or 'no slide has a place for it'}{example}; "
            "look at the slides with 'eosin preview', or loosen what turns them away"
        )


def _restored(plan: Mapping[str, object], next_index: int) -> PatchPipeline:
    pipeline = PatchPipeline(**plan)  # type: ignore[arg-type]
    pipeline.next_index = next_index
    return pipeline


def _content(path: str) -> str:
    try:
        return file_fingerprint(path)
    except OSError:
        # Unreadable now and unreadable later are the same; its name is all there is.
        return f"unreadable {path.rsplit('/', 1)[-1]}"
