import numpy as np
import pytest

from eosin.transforms import ColorJitter, RandomFlipRotate, Solarize
from eosin.transforms.dinov2 import dinov2_augmentation

KINDS = ("global_1", "global_2", "local")


def frequencies(kind, num=4000, **settings):
    """Return how often each step of a kind of view happens, by its name."""
    transform = getattr(dinov2_augmentation(**settings), kind)
    counts = dict.fromkeys(("flip", "ColorJitter", "Grayscale", "GaussianBlur", "Solarize"), 0)
    rng = np.random.default_rng(0)
    for _ in range(num):
        for step, drawn in transform.steps(transform.draw(rng, width=8, height=8)):
            if isinstance(step, RandomFlipRotate):
                counts["flip"] += drawn["hflip"]
                assert not drawn["vflip"]
                assert not drawn["quarter_turns"]
            else:
                counts[type(step.transform).__name__] += drawn["applied"]
    return [count / num for count in counts.values()]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("global_1", [0.5, 0.8, 0.2, 0.0, 0.0]),
        ("global_2", [0.5, 0.8, 0.2, 0.9, 0.2]),
        ("local", [0.5, 0.8, 0.2, 0.5, 0.0]),
    ],
)
def test_each_step_happens_as_often_as_in_dinov2_where_one_minus_p_is_what_counts(kind, expected):
    assert frequencies(kind) == pytest.approx(expected, abs=0.03)


def test_strengths_are_dinov2s():
    _, jitter, _, blur, solarize = dinov2_augmentation().global_2.transforms
    assert jitter.transform == ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    assert (blur.transform.kernel_size, blur.transform.sigma) == (9, (0.1, 2.0))
    assert solarize.transform == Solarize(threshold=128)


def test_flips_jitter_and_solarizing_can_be_others():
    weak = ColorJitter(brightness=0.1)
    changed = dinov2_augmentation(flips=RandomFlipRotate(), jitter=weak, solarize=0.0)
    for kind in KINDS:
        steps = getattr(changed, kind).transforms
        assert steps[0] == RandomFlipRotate()
        assert steps[1].transform == weak
    assert len(changed.global_2.transforms) == 4
