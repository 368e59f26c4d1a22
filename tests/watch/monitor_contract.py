"""What every monitor keeps to; inherited by the test of each."""

from collections.abc import Mapping

import pytest
import torch

from eosin.train.monitors import Monitor
from eosin.train.student_teacher import StudentTeacher
from train.tiny import tiny_config

METRICS = {
    "loss": 3.5,
    "grad_norm_backbone": 1.0,
    "teacher_temperature": 0.05,
    "data_wait_s": 0.25,
    "step_s": 1.0,
    "patches_per_s": 8.0,
}
"""What a monitor may count on, among others."""


class MonitorContract:
    """Give `monitor` as a fixture; its run has four steps."""

    @pytest.fixture
    def model(self) -> StudentTeacher:
        torch.manual_seed(1)
        return StudentTeacher(tiny_config(precision="float32"))

    def test_looking_leaves_the_networks_and_the_generator_as_they_are(
        self, monitor: Monitor, model: StudentTeacher
    ):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        modes = [module.training for module in model.modules()]
        generator = torch.get_rng_state()
        metrics = dict(METRICS)
        monitor.run_started(0, 4)
        monitor.step_done(0, metrics, model)
        monitor.run_ended()
        assert torch.equal(torch.get_rng_state(), generator)
        assert [module.training for module in model.modules()] == modes
        assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert metrics == METRICS

    def test_what_is_seen_are_numbers_under_names_of_its_own(
        self, monitor: Monitor, model: StudentTeacher
    ):
        monitor.run_started(0, 4)
        seen: dict[str, float | int] = {}
        for step in range(2):
            returned = monitor.step_done(step, METRICS, model)
            assert isinstance(returned, Mapping)
            seen |= returned
        monitor.run_ended()
        assert all(type(value) in (float, int) for value in seen.values())
        assert all(name.startswith("watch_") for name in seen)

    def test_it_can_end_at_once(self, monitor: Monitor):
        monitor.run_started(4, 4)
        monitor.run_ended()
