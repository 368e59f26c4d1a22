"""A stream in which much is turned away and everything is augmented, and how to compare samples."""

import threading
from dataclasses import dataclass
from itertools import islice

from eosin.backends.synthetic import decode_coordinates
from eosin.filters import PatchFilter
from eosin.sampling import MultiMagnificationSampler
from eosin.transforms import HEDColorAugmentation, RandomFlipRotate
from eosin.views import RandomResizedCrop, ViewConfig
from made_slides import synthetic_pipeline

VIEWS = (
    ViewConfig(name="global", crop=RandomResizedCrop(size=24, scale=(0.32, 1.0)), count=2),
    ViewConfig(name="local", crop=RandomResizedCrop(size=8), transforms=RandomFlipRotate()),
)


@dataclass(frozen=True, kw_only=True)
class EvenColumns(PatchFilter):
    """Accepts patches of synthetic slides that begin at an even column: half of them."""

    def accept(self, image):
        return bool(decode_coordinates(image)[0][0, 0] % 2 == 0)


@dataclass(frozen=True, kw_only=True)
class Striped(PatchFilter):
    """Turns away a third of the columns of synthetic slides, in stripes."""

    def accept(self, image):
        return int(decode_coordinates(image)[0][0, 0]) // 32 % 3 != 0


@dataclass(frozen=True, kw_only=True)
class Nothing(PatchFilter):
    def accept(self, image):
        return False


def busy_pipeline(num_slides=5, **settings):
    """Make an endless stream of that kind."""
    defaults = {
        "sampler": MultiMagnificationSampler(target_mpps=(0.25, 0.5, 2.0), patch_size=32),
        "patch_filter": EvenColumns(),
        "shared_transforms": HEDColorAugmentation(),
        "views": VIEWS,
        "slide_sampling": "random",
        "cycle": True,
        "num_lanes": 2,
    }
    return synthetic_pipeline(num_slides, **{**defaults, **settings})


def content(result):
    """Return all that a sample is, as something that can be compared."""
    images = {"image": result.image} if result.views is None else dict(result.views)
    pixels = {name: image.tobytes() for name, image in images.items()}
    return result.index, result.coordinate, result.tissue_fraction, result.rejections, pixels


def contents(results, num):
    return [content(result) for result in islice(results, num)]


def threads_alive():
    return [t.name for t in threading.enumerate() if t.name.startswith("eosin")]
