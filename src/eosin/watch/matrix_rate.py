"""The best rate at which a device multiplies matrices: what a training step is held against."""

import time

import torch

DATASHEET_TFLOPS = {
    "A100": 312.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H200 NVL": 835.0,
    "H200": 989.0,
    "B200": 2250.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10G": 70.0,
    "A10": 125.0,
    "A6000": 155.0,
    "RTX 3090": 71.0,
    "RTX 4090": 165.0,
}
"""Dense bfloat16 products with float32 sums, by a part of the device's name; the first that fits
holds. Source: NVIDIA's data sheets."""

_NUM_TRIES = 5


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return floating-point operations per second of large matrix products.

    From the data sheet for bfloat16 on GPUs that are known, so that the share of it is the model
    FLOPs utilization (MFU) that others report. Elsewhere measured, which takes below a second: the
    best of several products.
    """
    if device.type == "cuda" and dtype == torch.bfloat16:
        known = datasheet_rate(torch.cuda.get_device_name(device))
        if known is not None:
            return known
    return measured_rate(device, dtype, side=8192 if device.type == "cuda" else 1024)


def datasheet_rate(device_name: str) -> float | None:
    """Return the operations per second of a GPU's data sheet, None for an unknown one."""
    words = device_name.replace("-", " ")
    fitting = (rate for part, rate in DATASHEET_TFLOPS.items() if _holds(words, part))
    tflops = next(fitting, None)
    return None if tflops is None else 1e12 * tflops


def measured_rate(device: torch.device, dtype: torch.dtype, *, side: int) -> float:
    """Return the operations per second of the best of several square products.

    Args:
        device: Where.
        dtype: Of the factors.
        side: Rows and columns of the matrices.
    """
    # Ones, as nothing random may be drawn while a run goes on.
    factor = torch.ones(side, side, device=device, dtype=dtype)
    durations_s = []
    with torch.no_grad():
        for _ in range(1 + _NUM_TRIES):
            product_start = time.perf_counter()
            torch.mm(factor, factor)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            durations_s.append(time.perf_counter() - product_start)
    # The first one chooses kernels.
    return 2 * side**3 / min(durations_s[1:])


def _holds(words: str, part: str) -> bool:
    """Return whether a name holds a part as whole words, so that L4 is not found in L40S."""
    return f" {part} " in f" {words} "
