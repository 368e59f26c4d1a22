"""The exact rows of Midnight, its high-resolution stage, and what follows them."""

import math
from dataclasses import replace

from eosin.recipes import kaiko_fm, midnight12k
from eosin.recipes.dinov2 import dinov2_views
from eosin.train.config import LossConfig, TrainConfig
from eosin.train.rates import RateSchedules
from eosin.transforms import GaussianBlur
from recipes.row_checks import (
    Check,
    batch,
    crop_sizes,
    dinov2_crops,
    four_magnifications,
    halves,
    imagenets,
    model,
    patch,
    steps,
    threshold,
    virchow_filter,
)


def all_of(*checks: Check) -> Check:
    def check(run: TrainConfig) -> None:
        for part in checks:
            part(run)

    return check


def starts_from(what: str) -> Check:
    def check(run: TrainConfig) -> None:
        assert run.start == what

    return check


def positions(side: int) -> Check:
    def check(run: TrainConfig) -> None:
        assert run.model.grid_size == side

    return check


def as_midnight12k(run: TrainConfig) -> None:
    first = midnight12k.config()
    assert (run.data, run.model, run.losses, run.masking) == (
        first.data,
        first.model,
        first.losses,
        first.masking,
    )


def half_the_magnifications(run: TrainConfig) -> None:
    first = midnight12k.config().data.sampler
    wanted = sorted(mpp / 2 for mpp in first.target_mpps)
    assert sorted(run.data.sampler.target_mpps) == wanted == [0.125, 0.25, 0.5, 1.0]
    assert run.data.sampler.patch_size == 2 * first.patch_size


def parts(num: int) -> Check:
    def check(run: TrainConfig) -> None:
        assert run.accumulation_steps == num

    return check


def base_lr(value: float) -> Check:
    def check(run: TrainConfig) -> None:
        assert run.optim.base_lr == value

    return check


def constant_teacher(run: TrainConfig) -> None:
    rates = RateSchedules(run)
    found = {
        (rates.at(step).teacher_momentum, rates.at(step).teacher_temperature)
        for step in range(0, run.steps, 10_000)
    }
    assert found == {(0.9995, 0.07)}


def constant_decay(run: TrainConfig) -> None:
    rates = RateSchedules(run)
    assert {rates.at(step).weight_decay for step in range(0, run.steps, 10_000)} == {0.2}


def free_last_layer(run: TrainConfig) -> None:
    assert run.optim.freeze_last_layer_steps == 0


def layer_decay(run: TrainConfig) -> None:
    assert run.optim.layer_decay == 0.9


def openmidnight_colours(run: TrainConfig) -> None:
    for view in run.data.views:
        jitter = view.transforms.transforms[2]
        strengths = jitter.transform
        assert jitter.p == 0.8
        assert (strengths.brightness, strengths.contrast) == (0.2, 0.2)
        assert (strengths.saturation, strengths.hue) == (0.1, 0.05)
    assert "Solarize" not in repr(run.data.views)


def openmidnight_blur(run: TrainConfig) -> None:
    found = []
    for view in run.data.views:
        last = view.transforms.transforms[-1]
        found.append(last.p if isinstance(last.transform, GaussianBlur) else 0.0)
    assert found == [0.0, 0.9, 0.5]


def left_to_right(run: TrainConfig) -> None:
    for view in run.data.views:
        flips = view.transforms.transforms[1]
        assert (flips.p_hflip, flips.p_vflip, flips.p_rot90) == (0.5, 0.0, 0.0)


def openmidnight_model(run: TrainConfig) -> None:
    model(1536, 40, 24, 14, 4)(run)
    assert run.model.drop_path_rate == 0.4


def openmidnight_heads(run: TrainConfig) -> None:
    sizes = [(h.num_prototypes, h.bottleneck_dim) for h in (run.dino_head, run.ibot_head)]
    assert sizes == [(131072, 384), (131072, 256)]


def openmidnight_masks(run: TrainConfig) -> None:
    assert (run.masking.probability, run.masking.ratio_range) == (0.5, (0.1, 0.45))


def openmidnight_rate(run: TrainConfig) -> None:
    assert (run.optim.base_lr, run.optim.warmup_steps) == (3e-4, 12_500)
    assert math.isclose(run.peak_lr, 3e-4 * math.sqrt(384 / 1024))


def openmidnight_decay(run: TrainConfig) -> None:
    assert (run.optim.weight_decay, run.optim.final_weight_decay) == (0.04, 0.2)


def openmidnight_teacher(run: TrainConfig) -> None:
    teacher = run.teacher
    assert (teacher.momentum, teacher.final_momentum) == (0.994, 1.0)
    assert (teacher.warmup_temperature, teacher.temperature) == (0.04, 0.07)
    assert teacher.warmup_temperature_steps == 37_500


def kaiko_stream(run: TrainConfig) -> None:
    views = dinov2_views(local_px=98)
    assert replace(run.data, views=views) == replace(kaiko_fm.data(), views=views)


def dino_alone(run: TrainConfig) -> None:
    wanted = LossConfig(ibot_weight=0.0, kde_weight=0.0, koleo_weight=0.0, centering="softmax")
    assert run.losses == wanted
    assert run.losses.dino_weight == 1.0
    assert run.ibot_head is None


MIDNIGHTS: dict[str, dict[str, Check]] = {
    "midnight12k": {
        "tissue threshold": threshold(0.4),
        "patch filter": virchow_filter,
        "magnifications": four_magnifications,
        "patch size": patch(256),
        "crop sizes": crop_sizes(224, 98),
        "normalisation": halves,
        "start": starts_from("backbone"),
        "model": model(1536, 40, 24, 14, 0),
        "positions": positions(37),
        "steps and batch": all_of(steps(1_000_000), batch(768)),
    },
    "midnight92k": {
        "stream, model, losses": as_midnight12k,
        "steps and batch": all_of(steps(1_000_000), batch(768)),
        "start": starts_from("backbone"),
    },
    "midnight_highres": {
        "crop sizes": crop_sizes(392, 168),
        "patch size": patch(512),
        "magnifications": half_the_magnifications,
        "start": starts_from("run"),
        "steps and batch": all_of(steps(120_000), batch(1152)),
        "accumulated parts": parts(4),
        "learning rate": base_lr(1e-4),
        "teacher": constant_teacher,
        "weight decay": constant_decay,
        "last layer": free_last_layer,
        "layer decay": layer_decay,
    },
    "openmidnight": {
        "patch filter": virchow_filter,
        "patch size": patch(224),
        "crops": dinov2_crops(98),
        "colours": openmidnight_colours,
        "blur": openmidnight_blur,
        "flips": left_to_right,
        "normalisation": imagenets,
        "model": openmidnight_model,
        "positions": positions(16),
        "start": starts_from("backbone"),
        "heads": openmidnight_heads,
        "masks": openmidnight_masks,
        "steps and batch": all_of(steps(137_500), batch(384)),
        "learning rate": openmidnight_rate,
        "weight decay": openmidnight_decay,
        "teacher": openmidnight_teacher,
    },
    "nano_cpu": {},
    "vits_1gpu": {},
    "kaiko_fm_dino_s16": {
        "stream up to the crops": kaiko_stream,
        "normalisation": halves,
        "loss": dino_alone,
    },
    "kaiko_fm_dino_s8": {},
    "kaiko_fm_dino_b16": {},
    "kaiko_fm_dino_b8": {},
}
