"""`preprocessor_config.json` of a Hugging Face folder: how the model wants its images prepared.

Every key is honoured, known to change nothing, or refused by name:

    do_convert_rgb                    images are RGB already
    do_resize, size, resample         the shortest edge, or both edges, by Pillow's filter
    do_center_crop, crop_size         what is left of the middle
    do_rescale, rescale_factor        both are put into the mean and the standard deviation
    do_normalize, image_mean/_std
    do_pad, do_flip_channel_order, do_reduce_labels, ...   refused unless false
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, final

import numpy as np
from PIL import Image as PillowImage

from eosin.errors import InputError
from eosin.transforms.base import Image
from eosin.transforms.resize import resize

FILE = "preprocessor_config.json"

_BILINEAR = 2
_FILTERS = {
    0: PillowImage.Resampling.NEAREST,
    1: PillowImage.Resampling.LANCZOS,
    _BILINEAR: PillowImage.Resampling.BILINEAR,
    3: PillowImage.Resampling.BICUBIC,
    4: PillowImage.Resampling.BOX,
    5: PillowImage.Resampling.HAMMING,
}
"""By the numbers that transformers writes."""
_NAMES_OF_NOTHING = frozenset(
    {
        *("image_processor_type", "feature_extractor_type", "processor_class", "auto_map"),
        *("_processor_class", "_valid_processor_keys", "use_fast", "return_tensors"),
        *("data_format", "input_data_format", "device", "disable_grouping", "image_seq_length"),
        *("do_convert_rgb", "pad_size", "default_to_square", "num_channels"),
    }
)
"""Keys that change no pixel of an RGB image."""
_RULES = frozenset(
    {
        *("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale"),
        *("rescale_factor", "do_normalize", "image_mean", "image_std"),
    }
)
_BYTE = 1 / 255
_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "Bit": {
        "size": {"shortest_edge": 224},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
    },
    "ViT": {
        "size": {"height": 224, "width": 224},
        "resample": _BILINEAR,
        "do_center_crop": False,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
}
"""What transformers' processors suppose where a file leaves a key out; DINOv2's is the first."""
_MAX_PX = 2**14
_ADVICE = "give the mean and standard deviation of the colours with --mean R G B --std R G B"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePreparation:
    """What is done to an RGB image before a model sees it."""

    input_size_px: int
    """Side of the square that the model gets."""
    mean: tuple[float, ...]
    """Of each channel, on a scale where white is 1."""
    std: tuple[float, ...]
    resize_to: int | tuple[int, int] | None = None
    """Pixels of the shortest edge, or height and width; None does not resize. Only looked at where
    `resample` is given."""
    resample: int | None = None
    """Number of Pillow's filter. None resizes to the square by eosin's own rule, averaging areas
    when it shrinks: what exports of eosin are made with."""

    def prepare(self, image: Image) -> Image:
        """Return an image of `input_size_px` a side, still in bytes.

        Of an oblong image it is the middle, unless the processor asks for both edges of a square,
        to which transformers stretches it.

        Raises:
            InputError: If the image is smaller than what is cropped from it.
        """
        size = self.input_size_px
        if image.shape[:2] == (size, size) and self.resize_to in (None, size, (size, size)):
            return image
        height, width = image.shape[:2]
        if self.resample is None:
            shortest = min(height, width)
            if not isinstance(self.resize_to, tuple):
                top, left = (height - shortest) // 2, (width - shortest) // 2
                image = image[top : top + shortest, left : left + shortest]
            return np.asarray(resize(image, size))
        target = self.resize_to
        if isinstance(target, int):
            shortest = min(height, width)
            # As transformers has it: the longer side is cut off after the point.
            target = (int(target * height / shortest), int(target * width / shortest))
        if target is not None and target != (height, width):
            pillow = PillowImage.fromarray(image)
            resized = pillow.resize((target[1], target[0]), _FILTERS[self.resample])
            image = np.asarray(resized)
            height, width = image.shape[:2]
        if height < size or width < size:
            raise InputError(
                f"an image comes to {width} x {height} px and the model takes {size} x {size} from "
                "its middle; give larger images, or a processor that resizes them"
            )
        top, left = (height - size) // 2, (width - size) // 2
        return np.ascontiguousarray(image[top : top + size, left : left + size])


def read_preparation(
    folder: Path,
    *,
    image_size_px: int,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> ImagePreparation:
    """Return how the model of a Hugging Face folder wants its images.

    Args:
        folder: With `preprocessor_config.json`; where that is missing, `mean` and `std` are needed
            and images are resized to `image_size_px`.
        image_size_px: Of the model's configuration.
        mean: Goes before what the file says; of each channel, on a scale where white is 1.
        std: As `mean`.

    Raises:
        InputError: If the file is missing or damaged, or asks for what is not done here.
    """
    path = folder / FILE
    if not path.is_file():
        if mean is None or std is None:
            raise InputError(f"{path} is not there, which says how images are prepared; {_ADVICE}")
        return ImagePreparation(input_size_px=image_size_px, mean=mean, std=std)
    try:
        rules = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); {_ADVICE}") from error
    if not isinstance(rules, dict):
        raise InputError(f"{path} holds no settings of an image processor; {_ADVICE}")
    try:
        found = _preparation(rules)
    except _UnknownRuleError as error:
        raise InputError(f"{path}: {error}") from None
    return replace(found, mean=mean or found.mean, std=std or found.std)


class _UnknownRuleError(Exception):
    """A key asks for what is not done here."""


def _preparation(rules: Mapping[str, object]) -> ImagePreparation:
    for name, value in rules.items():
        if name not in _RULES | _NAMES_OF_NOTHING and value not in (None, False):
            raise _UnknownRuleError(f"{name}={value!r} is not known here")
    kind = str(rules.get("image_processor_type") or rules.get("feature_extractor_type") or "Bit")
    defaults = next((x for name, x in _DEFAULTS.items() if kind.startswith(name)), None)
    if defaults is None:
        defaults = {}
        left_out = [name for name in ("size", "resample", "do_center_crop") if name not in rules]
        if left_out:
            raise _UnknownRuleError(
                f"it leaves out {', '.join(left_out)}, and what {kind} supposes is not known here"
            )
    rules = {**defaults, **rules}
    resizes, crops = _flag(rules, "do_resize"), _flag(rules, "do_center_crop")
    size = _size(rules, "size", is_square=kind.startswith("ViT")) if resizes else None
    cropped = _size(rules, "crop_size", is_square=True) if crops else None
    if isinstance(cropped, int):
        cropped = (cropped, cropped)
    final_size = cropped or ((size, size) if isinstance(size, int) else size)
    if final_size is None:
        raise _UnknownRuleError("it neither resizes nor crops, so that images have no one size")
    if final_size[0] != final_size[1]:
        raise _UnknownRuleError(f"images come to {final_size}, and only squares are taken")
    if (
        crops
        and size is not None
        and min(size if isinstance(size, tuple) else (size,)) < max(final_size)
    ):
        raise _UnknownRuleError(
            f"size={rules.get('size')!r} is smaller than crop_size={rules.get('crop_size')!r}, so "
            "that images would get a border"
        )
    resample = rules.get("resample")
    if resizes and resample not in _FILTERS:
        raise _UnknownRuleError(f"resample={resample!r} is none of {sorted(_FILTERS)}")
    factor = _number(rules, "rescale_factor", _BYTE) if _flag(rules, "do_rescale") else 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    if _flag(rules, "do_normalize"):
        mean, std = _channels(rules, "image_mean"), _channels(rules, "image_std")
    # (grey * factor - mean) / std, said of greys on a scale where white is 1.
    scale = 1.0 if abs(factor / _BYTE - 1) < 1e-6 else _BYTE / factor
    is_whole = size in (final_size[0], final_size)
    return ImagePreparation(
        input_size_px=final_size[0],
        mean=tuple(one * scale for one in mean),
        std=tuple(one * scale for one in std),
        resize_to=size,
        resample=None if is_whole and resample == _BILINEAR else cast(int, resample),
    )


def _flag(rules: Mapping[str, object], name: str) -> bool:
    value = rules.get(name, True)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _UnknownRuleError(f"{name}={value!r} must be true or false")
    return value


def _size(rules: Mapping[str, object], name: str, *, is_square: bool) -> int | tuple[int, int]:
    """Return the pixels of the shortest edge, or height and width.

    Older files hold a number, which is the side of a square or the shortest edge.
    """
    value = rules.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"height": value, "width": value} if is_square else {"shortest_edge": value}
    known = {key: x for key, x in value.items() if x is not None} if isinstance(value, dict) else {}
    numbers = list(known.values())
    if all(isinstance(x, int) and 1 <= x <= _MAX_PX for x in numbers):
        if known.keys() == {"shortest_edge"}:
            return int(numbers[0])
        if known.keys() == {"height", "width"}:
            return int(known["height"]), int(known["width"])
    raise _UnknownRuleError(
        f"{name}={value!r} is neither a number of pixels, nor shortest_edge, nor height and width"
    )


def _number(rules: Mapping[str, object], name: str, default: float) -> float:
    value = rules.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise _UnknownRuleError(f"{name}={value!r} must be a number above 0")
    return float(value)


def _channels(rules: Mapping[str, object], name: str) -> tuple[float, ...]:
    value = rules.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = [value] * 3
    least = 0.0 if name == "image_mean" else 1e-9
    is_one = (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(x, int | float) and least <= x < 1e6 for x in value)
    )
    if not is_one:
        raise _UnknownRuleError(f"{name}={value!r} must be three numbers; {_ADVICE}")
    return tuple(float(x) for x in cast(list[float], value))
