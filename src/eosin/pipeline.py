"""PatchPipeline: slides in, an endless or finite stream of patches out; what most people import."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from itertools import count, takewhile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from eosin.backends.base import SlideBackend
from eosin.backends.crash import CrashLog
from eosin.backends.guarded import guarded
from eosin.catalog import SlideEntry, SlideWeights
from eosin.errors import ConfigError, StreamStalledError
from eosin.filters.base import PatchFilter
from eosin.plain import Plain
from eosin.sampling.base import PatchSampler
from eosin.sampling.grid import GridSampler
from eosin.sampling.random import RandomSampler
from eosin.stream.ahead import ByteBound, Stop, Watch, map_ahead
from eosin.stream.checks import (
    check_at_least,
    check_augmentation,
    check_grid,
    check_replacement,
    check_share,
)
from eosin.stream.delivery import DeliveryLog
from eosin.stream.draw import PatchRecipe
from eosin.stream.grid import GridOrder
from eosin.stream.listed import ListedOrder, SlideList, entries_of
from eosin.stream.order import LaneOrder, SlideSampling
from eosin.stream.quarantine import QuarantineLog
from eosin.stream.result import PatchResult, Rejection
from eosin.stream.retry import Retry
from eosin.stream.search import Fruitless, Replacement, SampleSource
from eosin.stream.slides import SlideStore, StoreLimits
from eosin.stream.state import (
    Resolved,
    StreamState,
    check_settings,
    describe_list,
    describe_settings,
    digests_of,
    resolve_lists,
)
from eosin.stream.stats import StreamStats, stalled, summarize
from eosin.stream.turned_away import TurnedAway
from eosin.stream.watch import Patience
from eosin.tissue.base import TissueSource
from eosin.tissue.otsu import OtsuTissueDetector
from eosin.tissue.store import MaskStore
from eosin.transforms.base import Transform
from eosin.views import ViewConfig

__all__ = ["PatchPipeline", "StreamState"]

_AHEAD_PER_THREAD = 16


@dataclass(kw_only=True, eq=False)
class PatchPipeline:
    """Stream patches from slides.

    Sample i is a pure function of (seed, i, slide list, settings): nothing that came before changes
    it, so a stream stopped anywhere goes on exactly, and `read(i)` gives any patch again. The
    object is a frozen plan and a cursor; `iter()` starts at the cursor. A copy, also one that was
    pickled for another process, has the plan and the cursor, and opens slides of its own.
    """

    slide_paths: str | Path | Sequence[str | Path] | tuple[SlideEntry, ...]
    """A folder, a slide, a table or index of slides, a list of these, or what was listed before."""
    backend: SlideBackend
    tissue_detector: TissueSource = field(default_factory=OtsuTissueDetector)
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
    where: str | None = None
    """Condition on the slides' columns, such as `section == 'DX'`."""
    weights: SlideWeights | None = None
    """How often each slide has its turn; in passes, all alike, when None."""
    replacement: Replacement = "with_replacement"
    """Whether places may overlap, or each visit deals a slide's disjoint cells to its samples.
    Without, no patch comes twice until a slide's cells are used up, but for slides that stand in
    for others and slides that are drawn by weight, whose visits know nothing of each other."""
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
    prefetch_bytes: int = 2**28
    """Delivered bytes that may be ready ahead; one sample is read ahead in any case."""
    mask_store: MaskStore | None = None
    """Where tissue masks are kept; computed for every opening when None."""
    retry: Retry = field(default_factory=Retry)
    """How often errors of disks and networks are tried again."""
    patience: Patience = field(default_factory=Patience)
    """When a read that does not return is reported, and when the stream gives up."""
    quarantine_log: Path | None = None
    """File that a line of JSON is appended to for all that cannot be read."""
    manifest: Path | None = None
    """Folder that gets a table of all that was delivered."""
    anonymous: bool = False
    """Whether the manifest names slides by their content instead of their files."""
    crash_log: CrashLog | None = None
    """Notes what is being read, so that a slide that crashes the process is left out next time."""

    def __post_init__(self) -> None:
        self._check()
        self.stats = StreamStats()
        self.next_index = 0
        self.entries = entries_of(self.slide_paths, self.where)
        self._recipe = PatchRecipe(
            seed=self.seed,
            patch_filter=self.patch_filter,
            transforms=self.transforms,
            shared_transforms=self.shared_transforms,
            views=None if self.views is None else tuple(self.views),
            has_checksum=self.manifest is not None,
        )
        self._weights: Float[np.ndarray, " slides"] | None = None
        if self.weights is not None:
            # As precise as a state holds them.
            self._weights = self.weights.weights(self.entries).astype(np.float32)
        per_slide = self.patches_per_slide
        if isinstance(self.sampler, PatchSampler) and self.sampler.max_per_slide is not None:
            per_slide = min(per_slide, self.sampler.max_per_slide)
        self.order = LaneOrder(
            num_slides=len(self.entries),
            seed=self.seed,
            slide_sampling=self.slide_sampling,
            cycle=self.cycle,
            num_lanes=self.num_lanes,
            pool_size=self.pool_size,
            patches_per_slide=per_slide,
            patches_per_visit=self.patches_per_visit,
            weights=self._weights,
        )
        self._log = QuarantineLog(self.quarantine_log, self.stats.quarantined)
        self._delivered = DeliveryLog(self.stats, self.manifest, anonymous=self.anonymous)
        self._own_digests: tuple[str, ...] | None = None
        all_of_them = SlideList(
            from_index=0, numbers=tuple(range(len(self.entries))), weights=self._weights
        )
        self._take_up(Resolved((all_of_them,)))

    def _take_up(self, resolved: Resolved) -> None:
        """Draw from these lists from now on; slides are opened anew."""
        num_here = len(self.entries)
        gone = resolved.gone
        self._gone_digests = resolved.gone_digests
        self._listed = ListedOrder(self.order, resolved.lists)
        self._store = SlideStore(
            (*self.entries, *gone),
            guarded(self.backend, self.crash_log),
            self.tissue_detector,
            limits=StoreLimits(
                max_open_slides=self.max_open_slides or self.num_lanes * self.pool_size,
                max_quarantined_fraction=self.max_quarantined_fraction,
                retry=self.retry,
            ),
            masks=self.mask_store,
            log=self._log,
            gone=frozenset(range(num_here, num_here + len(gone))),
        )
        self._grid: GridOrder | None = None
        self._source: SampleSource | None = None
        if isinstance(self.sampler, GridSampler):
            self._grid = GridOrder(
                self._store, self.sampler, self.order, self.stats.count_rejections
            )
        else:
            self._source = SampleSource(
                order=self._listed,
                store=self._store,
                sampler=self.sampler,
                recipe=self._recipe,
                max_candidates=self.max_candidates,
                replacement=self.replacement,
            )

    def _check(self) -> None:
        check_augmentation(self.transforms, self.shared_transforms, self.views)
        if isinstance(self.sampler, GridSampler):
            check_grid(self.num_lanes, self.weights, self.replacement)
        check_replacement(self.replacement, self.sampler)
        check_at_least(0, seed=self.seed, num_threads=self.num_threads)
        check_at_least(
            1,
            max_candidates=self.max_candidates,
            max_open_slides=self.max_open_slides,
            prefetch_bytes=self.prefetch_bytes,
        )
        check_share(max_quarantined_fraction=self.max_quarantined_fraction)

    @property
    def slides(self) -> tuple[str, ...]:
        """Paths of the slides, in the order of the list."""
        return tuple(entry.path for entry in self.entries)

    @property
    def quarantined(self) -> dict[str, str]:
        """Slides that turned out unusable, each with the reason."""
        return self._store.quarantined

    @property
    def notes(self) -> dict[str, tuple[str, ...]]:
        """What is to be said of slides that were opened and can be used, by path."""
        return self._store.notes

    def __iter__(self) -> Iterator[PatchResult]:
        """Go on at the cursor; the cursor moves when a sample is delivered."""
        for result in self.samples(takewhile(self._has, count(self.next_index))):
            self.next_index = result.index + 1
            yield result

    def __len__(self) -> int:
        """Refuse to be a data set with a length, which a torch `DataLoader` takes it for.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "a PatchPipeline is a stream and has no length; iterate over it, or give torch's "
            "DataLoader an eosin.dataset.PatchDataset(pipeline), or take "
            "eosin.dataset.PatchLoader(pipeline, batch_size=...)"
        )

    def __bool__(self) -> bool:
        return True

    def samples(self, indices: Iterable[int]) -> Generator[PatchResult]:
        """Yield samples by their numbers, in the order given; the cursor stays where it is.

        A grid's cells that are turned away are left out.

        Raises:
            IndexError: If the stream has no such sample.
            StreamStalledError: If no slide gives a sample, or no cell of a whole grid is accepted.
        """
        # A stream that stalls must end its threads, though the error's traceback holds them.
        with closing(self.read_ahead(indices)) as results:
            for result in results:
                self.deliver(result)
                yield result

    def read_ahead(
        self, indices: Iterable[int], *, num_ahead: int = 0, stop: Stop | None = None
    ) -> Generator[PatchResult]:
        """Yield what `samples` does; none is counted, or in the manifest, before `deliver`.

        Args:
            indices: Numbers of the samples.
            num_ahead: Samples that may be ready ahead, where 16 a thread are fewer.
            stop: Ends the threads where another thread takes the samples.
        """
        turned_away = TurnedAway(self._grid, self.stats)
        drawn = map_ahead(
            self._draw,
            indices,
            num_threads=self.num_threads,
            depth=max(self.num_threads * _AHEAD_PER_THREAD, num_ahead),
            bound=ByteBound(self.prefetch_bytes, lambda drawn: drawn[1].num_bytes),
            watch=Watch(self._store.activities, self.patience),
            stop=stop,
        )
        with closing(drawn):
            for index, result in drawn:
                if isinstance(result, PatchResult):
                    turned_away.clear()
                    yield result
                elif turned_away.ends_with(result):
                    raise self._stalled(index, turned_away.rejections) from result.error

    def deliver(self, result: PatchResult) -> None:
        """Count a sample that was read ahead, and write it down."""
        self._delivered.record(result, lambda: self.settings)

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
            raise self._stalled(index, result.rejections) from result.error
        raise IndexError(f"sample {index} is turned away: {summarize(result.rejections)}")

    def state_dict(self) -> StreamState:
        """Return where the stream is: what was delivered, not what was read ahead.

        What was delivered stands in the manifest by then, where there is one.
        """
        self._delivered.flush()
        digests = (*self.identify_slides(), *self._gone_digests)
        names = [entry.name for entry in self._store.entries]
        return StreamState(
            next_index=self.next_index,
            settings=self.settings,
            lists=[describe_list(one, names, digests) for one in self._listed.lists],
        )

    def load_state_dict(self, state: StreamState, *, extend: bool = False) -> None:
        """Go on where another pipeline of the same settings and slides was.

        Args:
            state: Of the other pipeline.
            extend: Whether this pipeline's slides may be others. They take over in each lane with
                its next window; samples before that stay what they were.

        Raises:
            CheckpointError: If settings or slides differ, since the samples would; by name.
        """
        check_settings(state, self.settings)
        if extend and not self.cycle:
            raise ConfigError("extend=True needs cycle=True; a stream that ends has one list")
        digests = self.identify_slides()
        resolved = resolve_lists(state, self.entries, digests, self._weights, extend=extend)
        self._take_up(resolved)
        self.next_index = state["next_index"]

    @property
    def settings(self) -> dict[str, Plain]:
        """Every setting that changes a sample, as plain values."""
        return describe_settings(
            {
                "reader": self.backend,
                "tissue_detector": self.tissue_detector,
                "sampler": self.sampler,
                "patch_filter": self.patch_filter,
                "transforms": self.transforms,
                "shared_transforms": self.shared_transforms,
                "views": self._recipe.views,
                "seed": self.seed,
                "slide_sampling": self.slide_sampling,
                "cycle": self.cycle,
                "num_lanes": self.num_lanes,
                "pool_size": self.pool_size,
                "patches_per_slide": self.order.patches_per_slide,
                "patches_per_visit": self.patches_per_visit,
                "max_candidates": self.max_candidates,
                "replacement": self.replacement,
            }
        )

    def identify_slides(self, known: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Return what identifies each slide in a state: what another process has read, or read."""
        if self._own_digests is None:
            self._own_digests = known or digests_of(self.entries)
        return self._own_digests

    def close(self) -> None:
        """Close the slides and write out the manifest; using the pipeline again opens them anew."""
        self._delivered.flush()
        self._store.close()

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Copy and pickle the plan and the cursor; open files and locks stay behind."""
        plan = {f.name: getattr(self, f.name) for f in fields(self)}
        # What was listed stays, though the folder may have changed meanwhile.
        plan |= {"slide_paths": self.entries, "where": None}
        gone = self._store.entries[len(self.entries) :]
        return _restored, (
            plan,
            self.next_index,
            Resolved(self._listed.lists, gone, self._gone_digests),
        )

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

    def _draw(self, index: int) -> tuple[int, PatchResult | Fruitless]:
        if not self._has(index):
            raise IndexError(f"the stream has no sample {index}: it begins at 0, or ends before")
        if self._grid is not None:
            return index, self._grid.draw(index, self._recipe)
        assert self._source is not None
        return index, self._source.draw(index)

    def _stalled(self, index: int, rejections: Sequence[Rejection]) -> StreamStalledError:
        return stalled(index, rejections, {**self.stats.problems, **self.quarantined})


def _restored(plan: Mapping[str, object], next_index: int, resolved: Resolved) -> PatchPipeline:
    pipeline = PatchPipeline(**plan)  # type: ignore[arg-type]
    pipeline._take_up(resolved)
    pipeline.next_index = next_index
    return pipeline
