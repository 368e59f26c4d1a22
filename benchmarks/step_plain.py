"""The step as one writes it down first: transformers' model, a loop over pairs of views."""

import copy
import math

import torch
from step_inputs import RATES
from torch import Tensor, nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model
from transformers.utils import logging

from eosin.loader import Batch
from eosin.models.heads import DINOHead
from eosin.models.huggingface import to_huggingface
from eosin.train.config import TrainConfig
from eosin.train.step import initial_model

TEACHER_TEMPERATURE = RATES.teacher_temperature
STUDENT_TEMPERATURE = 0.1


class PlainStep:
    """Student, teacher and AdamW; the weights at the start are those of eosin's step."""

    def __init__(self, config: TrainConfig):
        self.config = config
        self.batch_size = config.global_batch
        start = initial_model(config).student
        self.student = nn.ModuleDict(
            {
                "backbone": plain_backbone(config, start["backbone"]),
                "dino_head": DINOHead(config.model.embed_dim, config.dino_head),
                "ibot_head": DINOHead(config.model.embed_dim, config.ibot_head),
            }
        )
        for name in ("dino_head", "ibot_head"):
            self.student[name].load_state_dict(start[name].state_dict())
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=RATES.lr, weight_decay=RATES.weight_decay
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        n, masks = self.batch_size, batch.masks
        global_crops, local_crops = self.pixels(batch.global_crops), self.pixels(batch.local_crops)
        with torch.no_grad():
            hidden = self.teacher["backbone"](global_crops).last_hidden_state
            targets = assign(self.teacher["dino_head"](hidden[:, 0])).chunk(2)
            patch_targets = assign(self.teacher["ibot_head"](hidden[:, 1:][masks]))
        hidden = self.student["backbone"](global_crops, bool_masked_pos=masks).last_hidden_state
        local_hidden = self.student["backbone"](local_crops).last_hidden_state
        views = self.student["dino_head"](hidden[:, 0]).chunk(2)
        local_views = self.student["dino_head"](local_hidden[:, 0]).split(n)
        num_pairs = 2 + 2 * len(local_views)
        pairs = [(targets[1], views[0]), (targets[0], views[1])]
        local_pairs = [(target, view) for target in targets for view in local_views]
        patch_scores = self.student["ibot_head"](hidden[:, 1:][masks])
        weights = (1 / masks.sum(dim=1, keepdim=True).clamp(min=1)).expand_as(masks)[masks]
        cls_views = hidden[:, 0].chunk(2)
        return {
            "loss_dino_local": sum(cross_entropy(*pair).mean() for pair in local_pairs) / num_pairs,
            "loss_dino_global": sum(cross_entropy(*pair).mean() for pair in pairs) / num_pairs,
            "loss_ibot": (cross_entropy(patch_targets, patch_scores) * weights).sum() / len(masks),
            "loss_kde": 0.05 * sum(log_density(view) for view in cls_views),
        }

    def step(self, batch: Batch) -> None:
        sum(self.losses(batch).values()).backward()
        for part in self.student.values():
            nn.utils.clip_grad_norm_(part.parameters(), 3.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            momentum = RATES.teacher_momentum
            pairs = zip(self.teacher.parameters(), self.student.parameters(), strict=True)
            for slow, fast in pairs:
                slow.mul_(momentum).add_(fast, alpha=1 - momentum)

    def terms(self, batch: Batch) -> dict[str, float]:
        """Return the losses without stochastic depth."""
        self.student.eval()
        with torch.no_grad():
            terms = {name: float(term) for name, term in self.losses(batch).items()}
        self.student.train()
        return terms

    def pixels(self, crops: Tensor) -> Tensor:
        mean, std = (
            torch.tensor(x)[:, None, None] for x in (self.config.data.mean, self.config.data.std)
        )
        return (crops.permute(0, 3, 1, 2).float() / 255 - mean) / std


def plain_backbone(config: TrainConfig, start: nn.Module) -> Dinov2Model:
    model = config.model
    backbone = Dinov2Model(
        Dinov2Config(
            hidden_size=model.embed_dim,
            num_hidden_layers=model.depth,
            num_attention_heads=model.num_heads,
            image_size=model.image_size,
            patch_size=model.patch_size,
            drop_path_rate=model.drop_path_rate,
        )
    )
    logging.disable_progress_bar()
    tensors, _ = to_huggingface(start.state_dict(), model)
    return load(backbone, tensors)


def load(backbone: Dinov2Model, tensors: dict[str, Tensor]) -> Dinov2Model:
    """Load by the names that checkpoints have, which transformers maps to those of its modules."""
    loaded, info = Dinov2Model.from_pretrained(
        None, config=backbone.config, state_dict=tensors, output_loading_info=True
    )
    if info["missing_keys"] or info["unexpected_keys"]:
        raise RuntimeError(f"weights do not fit: {info}")
    return loaded.train()


def cross_entropy(target: Tensor, scores: Tensor) -> Tensor:
    return -(target * functional.log_softmax(scores / STUDENT_TEMPERATURE, dim=-1)).sum(dim=-1)


def assign(scores: Tensor) -> Tensor:
    """Sinkhorn-Knopp, as in DINOv2."""
    q = torch.exp(scores / TEACHER_TEMPERATURE).t()
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(dim=1, keepdim=True)
        q /= len(q)
        q /= q.sum(dim=0, keepdim=True)
        q /= q.shape[1]
    return (q * q.shape[1]).t()


def log_density(tokens: Tensor) -> Tensor:
    z = functional.normalize(tokens, dim=-1)
    similarity = (5.0 * z @ z.t()).fill_diagonal_(-math.inf)
    return (torch.logsumexp(similarity, dim=1) - math.log(len(z) - 1)).mean()
