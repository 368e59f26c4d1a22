"""The student that learns, the teacher that follows it, and the losses between them.

global crops ─teacher→ targets ──────────┐
global crops ─masks─student→ predictions ┼→ dino, ibot, kde
local crops ────────student→ predictions ┘

All of it is one rank's share: the parts may be sharded modules, and the losses look at the other
ranks by themselves.
"""

from collections import deque
from dataclasses import replace
from typing import final

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.nn import functional

from eosin.losses.across import gather_over_ranks
from eosin.losses.dino import dino_loss
from eosin.losses.ibot import ibot_loss
from eosin.losses.kde import kde_loss
from eosin.losses.koleo import koleo_loss
from eosin.losses.sinkhorn import (
    ScoreTotals,
    centered_softmax,
    score_totals,
    sinkhorn_knopp,
    updated_center,
)
from eosin.models.heads import DINOHead
from eosin.models.vit import ReadTokens, VisionTransformer
from eosin.train.config import TrainConfig

Crops = Float[Tensor, "crops 3 height width"]
LocalCrops = Float[Tensor, "local_crops 3 local_height local_width"]


@final
class StudentTeacher(nn.Module):
    """Two networks of one shape, each a backbone with its heads.

    Without weight for the iBOT loss this is DINO: no patch is hidden, and there is no iBOT head.
    """

    dino_center: Tensor
    ibot_center: Tensor

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.student = _network(config)
        teacher_config = replace(config, model=replace(config.model, drop_path_rate=0.0))
        # Weights that are replaced at once need not be drawn.
        with torch.device("meta"):
            self.teacher = _network(teacher_config)
        self.teacher.to_empty(device="cpu").load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        self.register_buffer("dino_center", torch.zeros(config.dino_head.num_prototypes))
        ibot_head = config.ibot_head or config.dino_head
        self.register_buffer("ibot_center", torch.zeros(ibot_head.num_prototypes))
        # Of the newest parts: those of a step that was skipped fall out by themselves.
        self._dino_totals: deque[ScoreTotals] = deque(maxlen=config.accumulation_steps)
        self._ibot_totals: deque[ScoreTotals] = deque(maxlen=config.accumulation_steps)

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
        *,
        hidden: Integer[Tensor, " masked"] | None = None,
    ) -> tuple[dict[str, Float[Tensor, ""]], Float[Tensor, "crops dim"]]:
        """Return the terms of the loss, already weighted, and the student's global class tokens.

        Called once for each of a step's `accumulation_steps` parts. Averaged over ranks, the terms
        and their gradients are those of one process with all crops of the part.

        Args:
            global_crops: First one view of every patch, then the other.
            local_crops: View by view.
            masks: Patches that the student does not see; without iBOT it sees them all.
            teacher_temperature: Of this step.
            hidden: Numbers of the patches in the masks, row by row, for who knows them; when None
                they are found there, for which a GPU is waited for.
        """
        weights = self.config.losses
        has_ibot = _has_ibot(self.config)
        if not has_ibot:
            hidden = _no_patch(masks.device)
        elif hidden is None:
            hidden = masks.flatten().nonzero().squeeze(1)
        teacher_tokens, dino_targets = self._dino_targets(global_crops, hidden, teacher_temperature)
        student_masks = masks if has_ibot else None
        tokens: ReadTokens = self.student["backbone"](global_crops, student_masks, hidden)
        dino = dino_loss(
            _by_view(self.student["dino_head"](tokens.cls), num_views=2),
            self._local_logits(local_crops, batch=len(global_crops) // 2),
            _by_view(dino_targets, num_views=2),
            student_temperature=weights.student_temperature,
        )
        terms = {
            "loss_dino_local": weights.dino_weight * dino.local_crops,
            "loss_dino_global": weights.dino_weight * dino.global_crops,
        }
        if has_ibot:
            ibot = ibot_loss(
                self._ibot_head(self.student)(tokens.patches).float(),
                self._ibot_targets(teacher_tokens.patches, teacher_temperature),
                masks,
                student_temperature=weights.student_temperature,
            )
            terms["loss_ibot"] = weights.ibot_weight * ibot
        return terms | self._regularizers(tokens.cls), tokens.cls

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student, heads included, and the centres to the batch.

        Called once a step, when the parameters have their new values. The centres move to the mean
        over all parts of the step, for the next one.
        """
        if self._dino_totals:
            self.dino_center.copy_(updated_center(self.dino_center, tuple(self._dino_totals)))
        if self._ibot_totals:
            self.ibot_center.copy_(updated_center(self.ibot_center, tuple(self._ibot_totals)))
        self._dino_totals.clear()
        self._ibot_totals.clear()
        teacher: list[Tensor] = list(self.teacher.parameters())
        student: list[Tensor] = list(self.student.parameters())
        torch._foreach_lerp_(teacher, student, 1 - momentum)

    def _regularizers(self, cls_tokens: Float[Tensor, "crops dim"]) -> dict[str, Float[Tensor, ""]]:
        weights = self.config.losses
        views = cls_tokens.chunk(2)
        terms = {}
        # Summed over the two views, not averaged, as DINOv2 does with KoLeo.
        if weights.kde_weight:
            density = kde_loss(views[0], kappa=weights.kde_kappa) + kde_loss(
                views[1], kappa=weights.kde_kappa
            )
            terms["loss_kde"] = weights.kde_weight * density
        if weights.koleo_weight:
            koleo = koleo_loss(views[0]) + koleo_loss(views[1])
            terms["loss_koleo"] = weights.koleo_weight * koleo
        return terms

    @torch.no_grad()
    def _dino_targets(
        self, global_crops: Crops, hidden: Integer[Tensor, " masked"], temperature: float
    ) -> tuple[ReadTokens, Float[Tensor, "crops k"]]:
        tokens: ReadTokens = self.teacher["backbone"](global_crops, None, hidden)
        logits = self.teacher["dino_head"](tokens.cls).float()
        if self.config.losses.centering == "sinkhorn_knopp":
            return tokens, sinkhorn_knopp(logits, temperature=temperature)
        self._dino_totals.append(score_totals(logits))
        return tokens, centered_softmax(logits, center=self.dino_center, temperature=temperature)

    @torch.no_grad()
    def _ibot_targets(
        self, masked_tokens: Float[Tensor, "masked dim"], temperature: float
    ) -> Float[Tensor, "masked k"]:
        logits = self._ibot_head(self.teacher)(masked_tokens).float()
        if self.config.losses.centering == "sinkhorn_knopp":
            return sinkhorn_knopp(logits, temperature=temperature)
        self._ibot_totals.append(score_totals(logits))
        return centered_softmax(logits, center=self.ibot_center, temperature=temperature)

    def _local_logits(self, local_crops: LocalCrops, batch: int) -> Float[Tensor, "locals batch k"]:
        head = self.student["dino_head"]
        if len(local_crops) == 0:
            num_prototypes = self.config.dino_head.num_prototypes
            return torch.empty(0, batch, num_prototypes, device=local_crops.device)
        no_patch = _no_patch(local_crops.device)
        tokens: ReadTokens = self.student["backbone"](local_crops, None, no_patch)
        return _by_view(head(tokens.cls), num_views=len(local_crops) // batch)

    def _ibot_head(self, network: nn.ModuleDict) -> nn.Module:
        return network["dino_head" if self.config.ibot_head is None else "ibot_head"]


def _by_view(logits: Float[Tensor, "crops k"], *, num_views: int) -> Float[Tensor, "views batch k"]:
    return logits.float().reshape(num_views, -1, logits.shape[-1])


def _no_patch(device: torch.device) -> Integer[Tensor, " none"]:
    return torch.empty(0, dtype=torch.int64, device=device)


def _has_ibot(config: TrainConfig) -> bool:
    return config.losses.ibot_weight > 0


def _network(config: TrainConfig) -> nn.ModuleDict:
    dim = config.model.embed_dim
    backbone = VisionTransformer(config.model)
    parts: dict[str, nn.Module] = {
        "backbone": backbone,
        "dino_head": DINOHead(dim, config.dino_head),
    }
    if not _has_ibot(config):
        # It stands in for no patch, so no step may touch it, weight decay neither.
        backbone.mask_token.requires_grad_(False)
    elif config.ibot_head is not None:
        parts["ibot_head"] = DINOHead(dim, config.ibot_head)
    return nn.ModuleDict(parts)


@torch.no_grad()
def collapse_gauges(cls_tokens: Float[Tensor, "batch dim"]) -> dict[str, Float[Tensor, ""]]:
    """Return what shows a collapse early, on the class tokens of one view of different patches.

    `mean_cosine` nears 1 and `feature_std` nears 0 when all patches look the same to the model; of
    tokens that are spread over all directions they are 0 and 1. Cheap enough for every step. The
    tokens are those of all ranks, so that every layout measures the same; every rank must ask.

    Args:
        cls_tokens: As many on every rank; at least two on all together.
    """
    tokens, _ = gather_over_ranks(cls_tokens.float())
    n = len(tokens)
    unit = functional.normalize(tokens, dim=-1)
    cosines = unit @ unit.T
    return {
        "mean_cosine": (cosines.sum() - cosines.trace()) / (n * (n - 1)),
        "feature_std": unit.std(dim=0).mean() * unit.shape[1] ** 0.5,
    }
