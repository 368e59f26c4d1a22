import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, uniform

from eosin.errors import ConfigError
from eosin.transforms import HEDColorAugmentation, NormalizeTransform, hed
from eosin.transforms.hed import HED_LIGHT, HED_STRONG, RGB_FROM_HED, perturb_stains
from transforms.transform_contract import TransformContract, noise


class TestHED(TransformContract):
    @pytest.fixture
    def transform(self):
        return HEDColorAugmentation(sigma=0.2)


def by_the_formula(image, alpha, beta):
    """Return S' = alpha S + beta in double precision, not rounded to grey levels."""
    stains = -np.log(image / 255 + 1e-6) @ np.linalg.inv(RGB_FROM_HED)
    light = np.exp(-(stains * alpha + beta) @ RGB_FROM_HED) - 1e-6
    return np.clip(light, 0, 1) * 255


stains = st.tuples(*[st.floats(-1, 1)] * 6).map(np.array)


@given(drawn=stains, sigma=st.sampled_from([0.05, 0.2]), seed=st.integers(0, 99))
def test_the_result_is_the_formula_within_one_grey_level(drawn, sigma, seed):
    image = noise(seed=seed)
    image[0], image[1] = 0, 255
    alpha, beta = 1 + sigma * drawn[:3], sigma * drawn[3:]
    ours = perturb_stains(image, alpha, beta)
    assert abs(ours - by_the_formula(image, alpha, beta)).max() <= 1
    assert abs(ours - by_the_formula(image, alpha, beta)).mean() < 0.3


def test_every_grey_level_stays_when_nothing_is_perturbed():
    image = np.stack([np.arange(256)] * 3, -1).astype(np.uint8)[None]
    assert (perturb_stains(image, np.ones(3), np.zeros(3)) == image).all()
    assert (perturb_stains(noise(), np.ones(3), np.zeros(3)) == noise()).all()


@pytest.mark.parametrize("grey", [0, 255])
def test_black_and_white_neither_wrap_nor_break(grey):
    image = np.full((8, 8, 3), grey, np.uint8)
    for seed in range(30):
        result = HEDColorAugmentation(sigma=0.2).apply(image, np.random.default_rng(seed))
        assert (result == result[0, 0]).all()
        assert abs(result.astype(int) - grey).max() <= 255 * (1 - np.exp(-0.2 * 2.26))


@pytest.mark.parametrize(("sigma", "sigma_bias", "bias"), [(0.2, None, 0.2), (0.05, 0.5, 0.5)])
def test_alpha_and_beta_are_drawn_uniformly_around_one_and_nothing(
    monkeypatch, sigma, sigma_bias, bias
):
    drawn = []
    monkeypatch.setattr(hed, "perturb_stains", lambda image, *both: drawn.append(both) or image)
    transform = HEDColorAugmentation(sigma=sigma, sigma_bias=sigma_bias)
    rng = np.random.default_rng(0)
    for _ in range(1000):
        transform.apply(noise(2, 2), rng)
    alpha, beta = np.moveaxis(np.array(drawn), 1, 0)
    for values, middle, half in ((alpha, 1, sigma), (beta, 0, bias)):
        assert values.shape == (1000, 3)
        assert kstest(values.ravel(), uniform(middle - half, 2 * half).cdf).pvalue > 0.01


def test_floats_are_refused_with_advice():
    floats = NormalizeTransform(mean=(0.5,) * 3, std=(0.5,) * 3)(noise())
    with pytest.raises(ConfigError, match="before NormalizeTransform"):
        HEDColorAugmentation()(floats)


@pytest.mark.parametrize(
    "setting",
    [
        {"sigma": 1.0},
        {"sigma": -0.1},
        {"sigma": float("nan")},
        {"sigma_bias": -0.1},
        {"sigma_bias": float("nan")},
        {"sigma_bias": float("inf")},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        HEDColorAugmentation(**setting)


def test_light_and_strong_are_tellezs():
    assert (HED_LIGHT.sigma, HED_LIGHT.sigma_bias) == (0.05, 0.05)
    assert (HED_STRONG.sigma, HED_STRONG.sigma_bias) == (0.2, 0.2)


@pytest.mark.parametrize(
    ("settings", "still", "moving"),
    [
        ({"sigma": 0.0, "sigma_bias": 0.2}, ("alpha", 1.0), "beta"),
        ({"sigma": 0.2, "sigma_bias": 0.0}, ("beta", 0.0), "alpha"),
    ],
)
def test_stains_can_be_shifted_only_or_scaled_only(settings, still, moving):
    transform = HEDColorAugmentation(**settings)
    drawn = transform.draw(np.random.default_rng(0), width=40, height=40)
    name, value = still
    assert drawn[name] == [value] * 3
    assert len(set(drawn[moving])) == 3
    assert (transform.replay(noise(), drawn) != noise()).any()


@pytest.mark.parametrize("shape", [(300, 200), (1, 9000), (9000, 1), (37, 8192)])
def test_an_image_of_any_shape_is_worked_through_to_its_end(shape):
    image = noise(*shape)
    alpha, beta = np.array([1.1, 0.9, 1.05]), np.array([0.05, -0.1, 0.1])
    assert abs(perturb_stains(image, alpha, beta) - by_the_formula(image, alpha, beta)).max() <= 1
