"""eosin's own step, `train_step`, on one batch again and again."""

import torch
from step_inputs import RATES

from eosin.loader import Batch, to_model_input
from eosin.train.config import TrainConfig
from eosin.train.parallel import lay_out
from eosin.train.site import Layout
from eosin.train.step import initial_model, make_optimizer, train_step
from eosin.train.world import World


class EosinStep:
    def __init__(self, config: TrainConfig, *, device: str = "cpu", compiles: bool = False):
        self.config = config
        self.world = World(device=torch.device(device))
        self.is_bfloat16 = config.precision == "bfloat16"
        self.model = initial_model(config).to(self.world.device)
        lay_out(
            self.model,
            self.world,
            Layout(compile_blocks=compiles),
            is_bfloat16=self.is_bfloat16,
        )
        self.optimizer = make_optimizer(self.model, config)

    def step(self, batch: Batch) -> None:
        train_step(self.model, self.optimizer, [batch], RATES, self.world)

    def terms(self, batch: Batch) -> dict[str, float]:
        """Return the losses without stochastic depth."""
        data, device = self.config.data, self.world.device
        crops = [
            to_model_input(crops, data.mean, data.std, device)
            for crops in (batch.global_crops, batch.local_crops)
        ]
        self.model.student.eval()
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=self.is_bfloat16):
            terms, _ = self.model.losses(*crops, batch.masks.to(device), RATES.teacher_temperature)
        self.model.student.train()
        return {name: float(term) for name, term in terms.items()}
