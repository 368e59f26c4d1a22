"""What losses say to each other over ranks: sums, maxima and rows; in one process, nothing.

A rank's loss is the mean over its own rows, and gradients are averaged over ranks. With what is
here, both averages are those of one process that has the rows of all. Every rank must make the same
calls in the same order, also one that has no row to give.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx, once_differentiable


class Gathered(NamedTuple):
    """The rows of all ranks in the order of the ranks, and which of them is this rank's first."""

    rows: Float[Tensor, "all_rows dim"]
    first_own: int


def num_ranks() -> int:
    """Return how many processes train together, 1 without a process group."""
    return distributed.get_world_size() if _is_distributed() else 1


def sum_over_ranks(x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """Return the sum of all ranks' tensors, without a gradient.

    Args:
        x: Of one shape on every rank; left as it is.
    """
    return _reduced(x, distributed.ReduceOp.SUM) if num_ranks() > 1 else x.detach()


def max_over_ranks(x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """Return the elementwise maximum of all ranks' tensors, without a gradient.

    Args:
        x: Of one shape on every rank; left as it is.
    """
    return _reduced(x, distributed.ReduceOp.MAX) if num_ranks() > 1 else x.detach()


def gather_over_ranks(x: Float[Tensor, "rows dim"]) -> Gathered:
    """Return the rows of all ranks; gradients flow back to the ranks that they came from.

    What a rank does with the rows of another reaches the other's parameters: the gradient of a
    row is the sum of what all ranks' losses say of it.

    Args:
        x: As many rows on every rank.
    """
    if num_ranks() == 1:
        return Gathered(x, 0)
    rows: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return Gathered(rows, distributed.get_rank() * len(x))


class _Gather(torch.autograd.Function):
    """Concatenation over ranks, whose derivative adds up over ranks what each says of a row."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(num_ranks())]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        own = distributed.get_rank()
        return _reduced(gradient, distributed.ReduceOp.SUM).chunk(num_ranks())[own]


def _reduced(x: Tensor, operation: distributed.ReduceOp.RedOpType) -> Tensor:
    reduced = x.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(reduced, op=operation)
    return reduced


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
