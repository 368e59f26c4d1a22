"""Stain augmentation: hematoxylin, eosin and DAB scaled and shifted, each on its own.

With P the pixel in [0, 1], D = -ln(P + 1e-6) its optical density and S = D M^-1 the stains, the
formula S' = alpha S + beta, P' = exp(-S' M) - 1e-6 is one affine map of the optical density:
D' = D (M^-1 diag(alpha) M) + beta M. So it costs a look-up table, one 3x3 product and an
exponential.
"""

from dataclasses import dataclass
from typing import final

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from eosin.errors import ConfigError
from eosin.scratch import Scratch
from eosin.transforms.base import Image, Transform
from eosin.transforms.bytes_only import require_bytes
from eosin.transforms.parameters import Parameters, read_numbers

RGB_FROM_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical density per stain and colour channel. Source: Ruifrok & Johnston 2001."""

_HED_FROM_RGB = np.linalg.inv(RGB_FROM_HED)
EPSILON = 1e-6
"""Added to the light of a pixel, so that black has a density."""

DENSITY_OF_GREY = -np.log(np.arange(256) / 255 + EPSILON).astype(np.float32)
"""Optical density of each grey level."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HEDColorAugmentation(Transform):
    """Scale each stain by alpha ~ U(1 - sigma, 1 + sigma) and shift it by beta ~ U(-b, b).

    Results are rounded to the nearest grey level. `sigma=0` shifts only, `sigma_bias=0` scales
    only. Among the shared transforms it colours a patch once, among a view's each crop.

    Source: Tellez et al. 2019, arXiv:1902.06543.
    """

    sigma: float = 0.05
    """Half width of the scales around 1."""
    sigma_bias: float | None = None
    """Half width b of the shifts in optical density; `sigma` when None."""

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < 1:
            raise ConfigError(f"sigma={self.sigma} must be in [0, 1)")
        if self.sigma_bias is not None and not 0 <= self.sigma_bias < np.inf:
            raise ConfigError(f"sigma_bias={self.sigma_bias} must be a finite number from 0 up")

    def draw(self, rng: np.random.Generator, *, width: int, height: int) -> Parameters:
        bias = self.sigma if self.sigma_bias is None else self.sigma_bias
        alpha = rng.uniform(1 - self.sigma, 1 + self.sigma, 3)
        return {"alpha": alpha.tolist(), "beta": rng.uniform(-bias, bias, 3).tolist()}

    def replay(self, image: Image, parameters: Parameters) -> Image:
        require_bytes(image, "HEDColorAugmentation")
        alpha = np.array(read_numbers(parameters, "alpha"), dtype=np.float64)
        beta = np.array(read_numbers(parameters, "beta"), dtype=np.float64)
        return perturb_stains(image, alpha, beta)


HED_LIGHT = HEDColorAugmentation(sigma=0.05, sigma_bias=0.05)
"""Source: Tellez et al. 2019, "HED-light"."""

HED_STRONG = HEDColorAugmentation(sigma=0.2, sigma_bias=0.2)
"""Source: Tellez et al. 2019, "HED-strong"."""


_SCRATCH = Scratch()


def perturb_stains(
    image: UInt8[np.ndarray, "height width 3"],
    alpha: Float[np.ndarray, " 3"],
    beta: Float[np.ndarray, " 3"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Scale the stains of an RGB image by alpha and shift them by beta (optical density)."""
    linear, shift = stain_affine(alpha, beta)
    # The sign of the exponent rides on the matrix.
    affine = -np.hstack([linear.T, shift[:, None]]).astype(np.float32)
    floats = _SCRATCH.reserve(4 * image.size).view(np.float32).reshape(image.shape)
    cv2.LUT(image, DENSITY_OF_GREY, dst=floats)
    cv2.transform(floats, affine, dst=floats)
    cv2.exp(floats, dst=floats)
    # One pass: undo the division by 255, round to the nearest, saturate. The absolute value that it
    # takes touches only the -255e-6 of a black pixel.
    return np.asarray(cv2.convertScaleAbs(floats, alpha=255, beta=-255 * EPSILON), dtype=np.uint8)


def stain_affine(
    alpha: Float[np.ndarray, " 3"], beta: Float[np.ndarray, " 3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Return the map D' = D linear + shift of optical densities, pixels as rows."""
    return _HED_FROM_RGB @ np.diag(alpha) @ RGB_FROM_HED, beta @ RGB_FROM_HED
