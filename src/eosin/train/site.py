"""What belongs to the machine and not to the run; needs no torch."""

from dataclasses import dataclass, field
from typing import final

from eosin.tissue.store import MaskStore

PREFETCH_BYTES = 2**31
"""Of `Site.prefetch_bytes` where nobody says."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What saves time or memory and changes no number but by rounding."""

    num_replicas: int = 1
    """Copies of the networks when several processes train, each cut over the ranks of one; the
    number of nodes is a good choice for networks that fit on one."""
    compile_blocks: bool = False
    """Whether torch.compile makes kernels for the blocks; needs a C++ compiler on a CPU."""
    recompute_blocks: bool = False
    """Whether activations inside blocks are computed again in the backward pass: a third more
    time, a fraction of the memory."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where a run is trained."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`, ...; `auto` takes a GPU when there is one."""
    num_threads: int = 2
    """Threads that read patches ahead, in each process."""
    prefetch_bytes: int = PREFETCH_BYTES
    """Pixels that may be read ahead in each process: its share of a step, or 16 patches a thread,
    where that is less. As much as a step's share is there three times more: in the step that is
    trained on, and in the next one while it is put together."""
    layout: Layout = field(default_factory=Layout)
    """How the networks are laid over devices."""
    masks: MaskStore | None = None
    """Tissue masks that are there already; else the run keeps its own."""
    has_manifest: bool = False
    """Whether to write down every patch that is trained on; for one process."""
    anonymous: bool = False
    """Whether the manifest, the record of skipped steps and the bank of tiles name slides by their
    content instead of their files."""
    extend: bool = False
    """Whether to go on with a slide list that has changed."""
