"""What this machine has, set against what a run needs of it, before the run starts.

It only warns: an estimate may be wrong, and people try things out on machines that are too small.
"""

import os
from collections.abc import Iterator

import torch

from eosin.train.memory import GIB, MemoryEstimate
from eosin.train.presets import PRESETS


def warnings_for(
    memory: MemoryEstimate, device: torch.device, *, preset: str | None
) -> Iterator[str]:
    """Yield what speaks against a run on this machine; nothing where nothing does.

    Args:
        memory: What the run needs on each device.
        device: Of this process.
        preset: Name of the machine that the run was fitted to, if it was.
    """
    if preset is not None and PRESETS[preset].is_gpu and device.type != "cuda":
        yield (
            f"--preset {preset} is for a GPU, and this run is on {device}, where it is many times "
            "slower; see that torch finds the GPU (--device cuda says why not), or take --preset "
            "cpu"
        )
    device_gib = memory_gib(device)
    if device_gib is not None and memory.total > device_gib:
        yield (
            f"the run needs {memory.total:.1f} GiB on a device by the estimate, and {device} has "
            f"{device_gib:.1f} GiB; fit the run to the machine with --preset "
            f"({', '.join(PRESETS)}), or expect it to end for want of memory"
        )


def memory_gib(device: torch.device) -> float | None:
    """Return the memory of a GPU, or a process's share of the machine's; None if nobody says."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory / GIB)
    try:
        physical_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    # Processes that torchrun started on this machine share it.
    return physical_bytes / int(os.environ.get("LOCAL_WORLD_SIZE", "1")) / GIB
