"""What every transform must do; each has a test class that inherits this and gives `transform`."""

import json
import pickle

import numpy as np
import pytest

from eosin.transforms import Transform


def noise(height: int = 40, width: int = 40, seed: int = 0) -> np.ndarray:
    """Draw an image in which every pixel differs."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class TransformContract:
    """Set `size` and `dtype` where the result is not of the input's."""

    size: int | None = None
    dtype: type = np.uint8

    @pytest.mark.parametrize("side", [40, 33])
    def test_the_result_has_the_promised_shape_and_type(
        self, transform: Transform, side: int
    ) -> None:
        result = transform.apply(noise(side, side), np.random.default_rng(0))
        assert result.shape == (self.size or side, self.size or side, 3)
        assert result.dtype == self.dtype
        assert result.flags.c_contiguous

    def test_the_same_generator_gives_the_same_result(self, transform: Transform) -> None:
        results = [transform.apply(noise(), np.random.default_rng(5)) for _ in range(2)]
        assert (results[0] == results[1]).all()

    @pytest.mark.parametrize("seed", range(6))
    def test_what_was_drawn_gives_the_same_pixels_after_a_trip_through_json(
        self, transform: Transform, seed: int
    ) -> None:
        image = noise(40, 36)
        drawn = transform.draw(np.random.default_rng(seed), width=36, height=40)
        replayed = transform.replay(image, json.loads(json.dumps(drawn)))
        assert (replayed == transform.apply(image, np.random.default_rng(seed))).all()
        width, height = transform.size_after(drawn, width=36, height=40)
        assert replayed.shape == (height, width, 3)

    def test_replaying_draws_nothing(self, transform: Transform) -> None:
        drawn = transform.draw(np.random.default_rng(3), width=40, height=40)
        results = [transform.replay(noise(), drawn) for _ in range(2)]
        assert (results[0] == results[1]).all()

    def test_the_input_stays_as_it_was(self, transform: Transform) -> None:
        image = noise()
        for seed in range(8):
            transform.apply(image, np.random.default_rng(seed))
        assert (image == noise()).all()

    def test_a_part_of_an_image_is_as_good_as_an_image(self, transform: Transform) -> None:
        part = noise(60, 60)[10:50, 5:45]
        ours = transform.apply(part, np.random.default_rng(1))
        assert (ours == transform.apply(part.copy(), np.random.default_rng(1))).all()

    def test_it_can_be_called_at_a_prompt(self, transform: Transform) -> None:
        assert transform(noise()).dtype == self.dtype
        seeded = transform(noise(), np.random.default_rng(2))
        assert (seeded == transform.apply(noise(), np.random.default_rng(2))).all()

    def test_it_crosses_processes(self, transform: Transform) -> None:
        assert pickle.loads(pickle.dumps(transform)) == transform
