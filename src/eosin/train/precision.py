"""The precision of matrix products: what `auto` stands for, and computing in what was chosen."""

import torch

from eosin.train.config import TrainConfig


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies matrices in bfloat16 with instructions of its own.

    Elsewhere bfloat16 is emulated and slower than float32. Decided by what the device says of
    itself and not by timing, so that the same machine always gives the same answer.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        has_instructions = (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
        # The products that use them are oneDNN's.
        return has_instructions and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return False


def products_of(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Return the context in which a run's networks compute, in training and when looked at."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
