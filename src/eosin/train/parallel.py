"""How the networks are laid over the ranks of a world: compiled, recomputed, cut into shards."""

import warnings
from typing import cast

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from eosin.models.vit import VisionTransformer
from eosin.train.site import Layout
from eosin.train.student_teacher import StudentTeacher
from eosin.train.world import World


def lay_out(model: StudentTeacher, world: World, layout: Layout, *, is_bfloat16: bool) -> None:
    """Prepare the networks in place; with several ranks their parameters become DTensors.

    On GPUs the blocks travel in bfloat16 where products are computed in it (autocast takes their
    norms back to float32, which it does not on a CPU); gradients are averaged in float32. The
    student stays gathered from its forward to its backward pass. The teacher has no backward pass
    that would free it, and must not be met again as it was before its last update.
    """
    is_bfloat16 = is_bfloat16 and world.device.type == "cuda"
    if world.mesh is not None:
        # The tokens of a backbone are views of one tensor, and nobody writes into them.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
    for network in (model.student, model.teacher):
        backbone = cast(VisionTransformer, network["backbone"])
        backbone.recomputes_blocks = layout.recompute_blocks
        for block in backbone.blocks:
            # But for the last one, whose number of tokens to read is another in every step: it
            # would be compiled anew until torch gives up on all blocks, which share their code.
            if layout.compile_blocks and block is not backbone.blocks[-1]:
                block.compile()
            if world.mesh is not None:
                _shard(block, world, is_bfloat16=is_bfloat16, is_student=network is model.student)
        for part in network.children() if world.mesh is not None else ():
            # Tokens and positions start the stream of activations, which stays in float32.
            is_head = part is not backbone
            _shard(
                part,
                world,
                is_bfloat16=is_bfloat16 and is_head,
                is_student=network is model.student,
            )


def sync_gradients(model: StudentTeacher, *, is_last_part: bool) -> None:
    """Let the next backward pass average gradients over the ranks, or only add up its own."""
    for part in model.parts.values():
        if isinstance(part, FSDPModule):
            part.set_requires_gradient_sync(is_last_part)


def _shard(module: nn.Module, world: World, *, is_bfloat16: bool, is_student: bool) -> None:
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if is_bfloat16 else None,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    fully_shard(module, mesh=world.mesh, mp_policy=policy, reshard_after_forward=not is_student)
