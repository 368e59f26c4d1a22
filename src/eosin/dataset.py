"""Samples for training loops of your own, from any number of ranks and worker processes.

`PatchLoader` gives global batches in order, the same for every layout; its state is what was
consumed. `PatchDataset` is what it shares out, and goes into a `torch` `DataLoader` as well.
"""

import copy
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict, final, get_args

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from eosin.children import end_with_parent
from eosin.errors import ConfigError
from eosin.names import get_logger
from eosin.pipeline import PatchPipeline, StreamState
from eosin.stream.result import PatchResult

StartMethod = Literal["spawn", "fork", "forkserver"]

_NOWHERE = -1
logger = get_logger(__name__)


class PatchItem(TypedDict):
    """One sample for a `torch.utils.data.DataLoader`, which collates its default way."""

    images: dict[str, Tensor]
    """Views by name, or `image`; channels first, uint8 unless a transform made floats."""
    index: int
    slide_path: str
    x: int
    y: int
    level: int
    mpp: float
    tissue_fraction: float
    slide_metadata: str
    """JSON: the slide's columns, such as patient and section, and what its reader says."""


class PatchBatch(TypedDict):
    """One rank's share of a global batch, in the order of the stream."""

    images: dict[str, Tensor]
    """Views by name, or `image`; batch and channels first."""
    index: Tensor
    slide_path: list[str]
    x: Tensor
    y: Tensor
    level: Tensor
    mpp: Tensor
    tissue_fraction: Tensor
    slide_metadata: list[str]
    """JSON, as in a sample."""
    next_index: int
    """Where the stream goes on after this batch, on every rank: the batch's own state."""


@final
class PatchDataset(IterableDataset[PatchItem]):
    """The samples of an endless pipeline, shared out by whole lanes to ranks and their workers.

    Lane l goes to rank l % world_size, and within a rank to its workers in turn, so each keeps only
    its own lanes' slides open. All of them together deliver every sample once, each its own in
    order. The cursor moves when a sample is taken, so a second iteration goes on. Where a
    `DataLoader` has workers the cursors are theirs: use `PatchLoader`, which keeps one for all, or
    a loader that asks its workers for their states, as torchdata's StatefulDataLoader does.
    """

    def __init__(self, pipeline: PatchPipeline, *, rank: int = 0, world_size: int = 1) -> None:
        if not isinstance(pipeline, PatchPipeline):
            raise ConfigError(
                f"pipeline is a {type(pipeline).__name__} and must be a PatchPipeline, such as "
                "PatchPipeline(slide_paths=..., backend=..., cycle=True)"
            )
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank={rank} must be below world_size={world_size}, from 0")
        if not pipeline.cycle or pipeline.num_lanes % world_size:
            raise ConfigError(
                f"a pipeline with cycle={pipeline.cycle} and num_lanes={pipeline.num_lanes} cannot "
                f"be shared by {world_size} ranks; give it cycle=True and a multiple of the ranks"
            )
        if pipeline.manifest is not None:
            raise ConfigError(
                f"manifest={pipeline.manifest} is written by one process as it takes samples; "
                "iterate over the pipeline itself, or leave the manifest out here"
            )
        self.pipeline = pipeline
        self.rank = rank
        self.world_size = world_size
        # Workers that outlive an iteration have a copy of the pipeline and see this one number.
        self._begin_at = torch.full((1,), _NOWHERE, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._is_workers_own = False

    def __iter__(self) -> Iterator[PatchItem]:
        """Yield this worker's samples from the cursor on, without end."""
        worker = get_worker_info()
        if worker is None:
            return self._items(self.pipeline, 0, 1)
        # Neither open slides nor OpenCV's threads survive a fork: the worker has its own.
        if not self._is_workers_own:
            end_with_parent()
            cv2.setNumThreads(0)
            self.pipeline = copy.copy(self.pipeline)
            self._is_workers_own = True
        if int(self._begin_at) != _NOWHERE:
            self.pipeline.next_index = int(self._begin_at)
        return self._items(self.pipeline, worker.id, worker.num_workers)

    def begin_at(self, index: int) -> None:
        """Let the next iteration begin at a sample, also in workers that are running."""
        self.pipeline.next_index = index
        self._begin_at[0] = index

    def state_dict(self) -> StreamState:
        """Return where this process is; in a worker, after the last sample that it gave."""
        return self.pipeline.state_dict()

    def load_state_dict(self, state: StreamState) -> None:
        """Go on where another iteration was.

        Raises:
            CheckpointError: If settings or slides differ, since the samples would.
        """
        self.pipeline.load_state_dict(state)
        # A worker that is handed a state has its own place; the others have theirs.
        if get_worker_info() is None:
            self.begin_at(self.pipeline.next_index)
        else:
            self._begin_at = torch.full((1,), _NOWHERE, dtype=torch.int64)

    def check_workers(self, num_workers: int) -> None:
        """Refuse numbers of workers that whole lanes cannot be shared out to."""
        if self.pipeline.num_lanes % (self.world_size * num_workers):
            raise ConfigError(
                f"num_lanes={self.pipeline.num_lanes} must be a multiple of {self.world_size} "
                f"ranks times {num_workers} workers"
            )

    def _items(
        self, pipeline: PatchPipeline, worker_id: int, num_workers: int
    ) -> Iterator[PatchItem]:
        self.check_workers(num_workers)
        num_readers = self.world_size * num_workers
        reader = self.rank + self.world_size * worker_id
        begin = pipeline.next_index
        first = begin + (reader - begin) % num_readers
        # Readers divide the lanes, so a step of that many samples stays on the reader's own.
        for sample in pipeline.samples(itertools.count(first, num_readers)):
            pipeline.next_index = sample.index + 1
            yield _item(sample)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """Processes of one rank that read.

    Raises:
        ConfigError: If a setting makes no sense.
    """

    num: int = 0
    """With 0 this process reads, with the pipeline's threads, which is often enough."""
    start_method: StartMethod = "spawn"
    """How they start; `fork` is fast, and unsafe beside threads."""
    are_persistent: bool = False
    """Whether they live on from one `iter()` to the next, with their slides open."""
    prefetch_factor: int = 2
    """Batches that each reads ahead."""

    def __post_init__(self) -> None:
        if self.num < 0 or self.prefetch_factor < 1:
            raise ConfigError(
                f"num={self.num} must be at least 0 and prefetch_factor={self.prefetch_factor} at "
                "least 1"
            )
        if self.start_method not in (methods := get_args(StartMethod)):
            raise ConfigError(
                f"start_method={self.start_method!r} must be one of {', '.join(methods)}"
            )


@final
class PatchLoader:
    """Global batches, the same for any number of ranks, workers and threads; stops anywhere.

    Batch k holds samples [k * batch_size, (k + 1) * batch_size) of the stream, of which each rank
    gets every world_size-th. Each worker reads its own lanes' part of every batch and this process
    puts them together, so batches come in the order of the stream. `iter()` starts at the cursor,
    which moves when a batch is delivered; what workers have read ahead does not count. A state of
    any layout can be loaded into any other.
    """

    def __init__(
        self,
        pipeline: PatchPipeline,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: Workers | None = None,
        pin_memory: bool = False,
    ) -> None:
        """Take an endless pipeline and say how it is read.

        Args:
            pipeline: The same one on every rank; it has the cursor.
            batch_size: Samples of all ranks together; a multiple of ranks times workers, and so
                must the pipeline's `num_lanes` be.
            rank: Number of this process among those that train.
            world_size: How many there are.
            workers: Processes that read for this one; none when None.
            pin_memory: Hand out page-locked memory, for copies to a GPU that overlap.

        Raises:
            ConfigError: If lanes or batch cannot be shared out evenly, or the pipeline or workers
                are something else.
        """
        if not isinstance(workers, Workers | None):
            raise ConfigError(
                f"workers={workers!r} must be Workers, which also say how they start; give "
                f"workers=Workers(num={workers if isinstance(workers, int) else 2}), from "
                "eosin.dataset"
            )
        self.pipeline = pipeline
        self.batch_size = batch_size
        workers = workers or Workers()
        self._num_parts = max(1, workers.num)
        self._dataset = PatchDataset(pipeline, rank=rank, world_size=world_size)
        self._dataset.check_workers(self._num_parts)
        num_readers = world_size * self._num_parts
        if batch_size < 1 or batch_size % num_readers:
            raise ConfigError(
                f"batch_size={batch_size} must be a multiple of {world_size} ranks times "
                f"{self._num_parts} workers, so that each reads as much of every batch"
            )
        self._part_size = batch_size // num_readers
        self._workers = workers
        self._pin_memory = pin_memory
        self._loader = self._make_loader()

    def _make_loader(self) -> DataLoader[PatchItem]:
        num = self._workers.num
        return DataLoader(
            self._dataset,
            batch_size=self._part_size,
            num_workers=num,
            multiprocessing_context=self._workers.start_method if num else None,
            persistent_workers=self._workers.are_persistent and num > 0,
            prefetch_factor=self._workers.prefetch_factor if num else None,
            pin_memory=self._pin_memory,
        )

    def __iter__(self) -> Iterator[PatchBatch]:
        """Yield batches from the cursor on, without end.

        Where the pipeline has a crash log, a worker that dies in a codec is replaced, and the slide
        that it was reading is left out from then on; this is bounded by the number of slides.

        Raises:
            RuntimeError: If a worker dies for another reason, or where there is no crash log.
        """
        while True:
            try:
                yield from self._batches()
            except RuntimeError as error:
                if not self._leave_out_what_crashed(error):
                    raise

    def _leave_out_what_crashed(self, error: RuntimeError) -> bool:
        """Return whether a worker died of a slide that is now known."""
        log = self.pipeline.crash_log
        if log is None or "worker" not in str(error):
            return False
        # Its files end with the loader's workers, which must be gone to be looked at.
        self._loader = self._make_loader()
        crashed = log.take_stock()
        for path in crashed:
            logger.warning("a worker died reading %s; it is left out from now on", path)
        return bool(crashed)

    def _batches(self) -> Iterator[PatchBatch]:
        begin = self.pipeline.next_index
        self._dataset.begin_at(begin)
        parts = iter(self._loader)
        while True:
            try:
                taken = [next(parts) for _ in range(self._num_parts)]
            except Exception as error:
                if self._workers.num == 0:
                    raise
                # Torch's frames in the traceback go round in a circle, and would hold the workers.
                # The worker's own traceback is in the message.
                del parts
                raise error.with_traceback(None) from error.__cause__
            begin += self.batch_size
            self.pipeline.next_index = begin
            yield _join(taken, next_index=begin)

    def state_dict(self) -> StreamState:
        """Return where the stream is: what was delivered, not what was read ahead."""
        return self.pipeline.state_dict()

    def load_state_dict(self, state: StreamState) -> None:
        """Go on where another loader of the same settings and slides was, whatever its layout.

        Raises:
            CheckpointError: If settings or slides differ, since the samples would.
        """
        self._dataset.load_state_dict(state)


def _item(sample: PatchResult) -> PatchItem:
    images = sample.views if sample.views is not None else {"image": sample.image}
    at = sample.coordinate
    return PatchItem(
        images={
            name: torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
            for name, image in images.items()
            if image is not None
        },
        index=sample.index,
        slide_path=at.slide_path,
        x=at.x,
        y=at.y,
        level=at.level,
        mpp=at.mpp,
        tissue_fraction=sample.tissue_fraction,
        slide_metadata=json.dumps(dict(sample.slide_metadata)),
    )


def _join(parts: list[PatchBatch], *, next_index: int) -> PatchBatch:
    """Put the workers' parts of a batch together, in the order of the stream."""
    order = torch.argsort(torch.cat([part["index"] for part in parts]))

    def joined_texts(texts: list[list[str]]) -> list[str]:
        flat = [text for of_part in texts for text in of_part]
        return [flat[position] for position in order.tolist()]

    def joined(tensors: list[Tensor]) -> Tensor:
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)[order]

    return PatchBatch(
        images={
            name: joined([part["images"][name] for part in parts]) for name in parts[0]["images"]
        },
        index=joined([part["index"] for part in parts]),
        slide_path=joined_texts([part["slide_path"] for part in parts]),
        x=joined([part["x"] for part in parts]),
        y=joined([part["y"] for part in parts]),
        level=joined([part["level"] for part in parts]),
        mpp=joined([part["mpp"] for part in parts]),
        tissue_fraction=joined([part["tissue_fraction"] for part in parts]),
        slide_metadata=joined_texts([part["slide_metadata"] for part in parts]),
        next_index=next_index,
    )
