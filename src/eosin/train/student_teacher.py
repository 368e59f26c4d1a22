"""The student that learns, the teacher that follows it, and the losses between them.

global crops ─teacher→ targets ──────────┐
global crops ─masks─student→ predictions ┼→ dino, ibot, kde
local crops ────────student→ predictions ┘
"""

import copy
from dataclasses import replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from eosin.losses.dino import dino_loss
from eosin.losses.ibot import ibot_loss
from eosin.losses.kde import kde_loss
from eosin.losses.koleo import koleo_loss
from eosin.losses.sinkhorn import centered_softmax, sinkhorn_knopp, updated_center
from eosin.models.heads import DINOHead
from eosin.models.vit import Tokens, VisionTransformer
from eosin.train.config import TrainConfig

Crops = Float[Tensor, "crops 3 height width"]
LocalCrops = Float[Tensor, "local_crops 3 local_height local_width"]


@final
class StudentTeacher(nn.Module):
    """Two networks of one shape, each a backbone with its heads."""

    dino_center: Tensor
    ibot_center: Tensor

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.student = _network(config)
        teacher_config = replace(config, model=replace(config.model, drop_path_rate=0.0))
        self.teacher = _network(teacher_config)
        self.teacher.load_state_dict(copy.deepcopy(self.student.state_dict()))
        self.teacher.requires_grad_(False)
        self.register_buffer("dino_center", torch.zeros(config.dino_head.num_prototypes))
        ibot_head = config.ibot_head or config.dino_head
        self.register_buffer("ibot_center", torch.zeros(ibot_head.num_prototypes))
        self._next_centers: tuple[Tensor, Tensor] | None = None

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The student's backbone and heads by name."""
        return dict(self.student.named_children())

    def losses(
        self,
        global_crops: Crops,
        local_crops: LocalCrops,
        masks: Bool[Tensor, "crops patches"],
        teacher_temperature: float,
    ) -> tuple[dict[str, Float[Tensor, ""]], Tokens]:
        """Return the terms of the loss, already weighted, and the student's global tokens.

        Args:
            global_crops: First one view of every patch, then the other.
            local_crops: View by view.
            masks: Patches that the student does not see.
            teacher_temperature: Of this step.
        """
        dino_targets, ibot_targets = self._targets(global_crops, masks, teacher_temperature)
        tokens: Tokens = self.student["backbone"](global_crops, masks)
        weights = self.config.losses
        dino = dino_loss(
            _by_view(self.student["dino_head"](tokens.cls), num_views=2),
            self._local_logits(local_crops, batch=len(global_crops) // 2),
            _by_view(dino_targets, num_views=2),
            student_temperature=weights.student_temperature,
        )
        ibot = ibot_loss(
            self._head(self.student)(tokens.patches[masks]).float(),
            ibot_targets,
            masks,
            student_temperature=weights.student_temperature,
        )
        terms = {
            "loss_dino_local": weights.dino_weight * dino.local_crops,
            "loss_dino_global": weights.dino_weight * dino.global_crops,
            "loss_ibot": weights.ibot_weight * ibot,
        }
        views = tokens.cls.chunk(2)
        # Summed over the two views, not averaged, as DINOv2 does with KoLeo.
        if weights.kde_weight:
            density = kde_loss(views[0], kappa=weights.kde_kappa) + kde_loss(
                views[1], kappa=weights.kde_kappa
            )
            terms["loss_kde"] = weights.kde_weight * density
        if weights.koleo_weight:
            koleo = koleo_loss(views[0]) + koleo_loss(views[1])
            terms["loss_koleo"] = weights.koleo_weight * koleo
        return terms, tokens

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student, heads included, and the centres to the batch."""
        if self._next_centers is not None:
            self.dino_center.copy_(self._next_centers[0])
            self.ibot_center.copy_(self._next_centers[1])
        teacher: list[Tensor] = list(self.teacher.parameters())
        student: list[Tensor] = list(self.student.parameters())
        torch._foreach_lerp_(teacher, student, 1 - momentum)

    @torch.no_grad()
    def _targets(
        self, global_crops: Crops, masks: Bool[Tensor, "crops patches"], temperature: float
    ) -> tuple[Float[Tensor, "crops k"], Float[Tensor, "masked j"]]:
        tokens: Tokens = self.teacher["backbone"](global_crops)
        dino_logits = self.teacher["dino_head"](tokens.cls).float()
        ibot_logits = self._head(self.teacher)(tokens.patches[masks]).float()
        if self.config.losses.centering == "sinkhorn_knopp":
            return (
                sinkhorn_knopp(dino_logits, temperature=temperature),
                sinkhorn_knopp(ibot_logits, temperature=temperature),
            )
        targets = (
            centered_softmax(dino_logits, center=self.dino_center, temperature=temperature),
            centered_softmax(ibot_logits, center=self.ibot_center, temperature=temperature),
        )
        # After use: the centre of a step comes from the steps before it.
        self._next_centers = (
            updated_center(self.dino_center, dino_logits),
            updated_center(self.ibot_center, ibot_logits) if len(ibot_logits) else self.ibot_center,
        )
        return targets

    def _local_logits(self, local_crops: LocalCrops, batch: int) -> Float[Tensor, "locals batch k"]:
        head = self.student["dino_head"]
        if len(local_crops) == 0:
            num_prototypes = self.config.dino_head.num_prototypes
            return torch.empty(0, batch, num_prototypes, device=local_crops.device)
        tokens: Tokens = self.student["backbone"](local_crops)
        return _by_view(head(tokens.cls), num_views=len(local_crops) // batch)

    def _head(self, network: nn.ModuleDict) -> nn.Module:
        return network["dino_head" if self.config.ibot_head is None else "ibot_head"]


def _by_view(logits: Float[Tensor, "crops k"], *, num_views: int) -> Float[Tensor, "views batch k"]:
    return logits.float().reshape(num_views, -1, logits.shape[-1])


def _network(config: TrainConfig) -> nn.ModuleDict:
    dim = config.model.embed_dim
    parts: dict[str, nn.Module] = {
        "backbone": VisionTransformer(config.model),
        "dino_head": DINOHead(dim, config.dino_head),
    }
    if config.ibot_head is not None:
        parts["ibot_head"] = DINOHead(dim, config.ibot_head)
    return nn.ModuleDict(parts)


@torch.no_grad()
def collapse_gauges(cls_tokens: Float[Tensor, "batch dim"]) -> dict[str, Float[Tensor, ""]]:
    """Return what shows a collapse early, on the class tokens of one view of different patches.

    `mean_cosine` nears 1 and `feature_std` nears 0 when all patches look the same to the model.
    `rankme` is the number of directions that the tokens use, at most the batch size.

    Source: RankMe, Garrido et al. 2023, arXiv:2210.02885.
    """
    tokens = cls_tokens.float()
    if not torch.isfinite(tokens).all():
        # The singular values of such a matrix do not exist, and asking for them would raise.
        nowhere = tokens.new_tensor(float("nan"))
        return {"mean_cosine": nowhere, "feature_std": nowhere, "rankme": nowhere}
    n = len(tokens)
    unit = functional.normalize(tokens, dim=-1)
    cosines = unit @ unit.T
    singular = torch.linalg.svdvals(tokens)
    shares = singular / singular.sum().clamp(min=1e-12) + 1e-7
    return {
        "mean_cosine": (cosines.sum() - cosines.trace()) / (n * (n - 1)),
        "feature_std": unit.std(dim=0).mean() * unit.shape[1] ** 0.5,
        "rankme": torch.exp(-(shares * shares.log()).sum()),
    }
