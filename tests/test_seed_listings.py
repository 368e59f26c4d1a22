"""The two listings that this project was asked for run, `wsistream` read as `eosin`.

Each listing stands here as code, and is held against the request's text where that is found: the
package's name, and `...` replaced by real arguments, are the only differences.
"""

# The listings stay as they were written, imports and all.
# ruff: noqa: I001, PLC0415, RET504, RUF003

import inspect
import re
from itertools import islice

import numpy as np
import pytest

from made_slides import smooth_tissue, write_slide
from real_data import real_file


def first_listing(slide_paths):
    # begin
    from eosin.pipeline import PatchPipeline
    from eosin.backends import OpenSlideBackend
    from eosin.tissue import HSVTissueDetector
    from eosin.filters import HSVPatchFilter
    from eosin.sampling import MultiMagnificationSampler
    from eosin.transforms import ComposeTransforms, HEDColorAugmentation

    pipeline = PatchPipeline(
        slide_paths=slide_paths,
        backend=OpenSlideBackend(),
        tissue_detector=HSVTissueDetector(
            hue_range=(90, 180),
            sat_range=(8, 255),
            val_range=(103, 255),
        ),
        patch_filter=HSVPatchFilter(
            hue_range=(90, 180),
            sat_range=(8, 255),
            val_range=(103, 255),
            min_pixel_fraction=0.6,  # >=60% of pixels must pass HSV check
        ),
        sampler=MultiMagnificationSampler(
            target_mpps=[0.25, 0.5, 1.0, 2.0],  # ~40x, ~20x, ~10x, ~5x
            patch_size=256,
            num_patches=-1,  # infinite random with replacement
            tissue_threshold=0.4,  # 40% foreground required per patch
        ),
        transforms=ComposeTransforms(
            transforms=[
                HEDColorAugmentation(sigma=0.05),  # sigma not stated; 0.05 = Tellez "light"
            ]
        ),
        slide_sampling="random",
        pool_size=8,
        patches_per_slide=100,
        cycle=True,
    )
    # end
    return pipeline


def second_listing(slide_paths):
    from eosin.backends import OpenSlideBackend
    from eosin.filters import HSVPatchFilter
    from eosin.pipeline import PatchPipeline
    from eosin.sampling import MultiMagnificationSampler
    from eosin.tissue import HSVTissueDetector
    from eosin.transforms import HEDColorAugmentation

    # begin
    from eosin.views import ViewConfig, RandomResizedCrop

    pipeline = PatchPipeline(
        slide_paths=slide_paths,
        backend=OpenSlideBackend(),
        tissue_detector=HSVTissueDetector(hue_range=(90, 180)),
        patch_filter=HSVPatchFilter(min_pixel_fraction=0.6),
        sampler=MultiMagnificationSampler(
            target_mpps=[0.25, 0.5, 1.0, 2.0],
            patch_size=256,
            num_patches=-1,
            tissue_threshold=0.4,
        ),
        shared_transforms=HEDColorAugmentation(sigma=0.05),  # applied once to the 256x256 tile
        views=[
            ViewConfig(
                name="global",
                crop=RandomResizedCrop(size=224, scale=(0.32, 1.0)),
                count=2,  # global_0, global_1 — DINOv2 default: 2 global crops
            ),
            ViewConfig(
                name="local",
                crop=RandomResizedCrop(size=98, scale=(0.05, 0.32)),  # 7×14 for ViT-g/14
                count=8,  # local_0 … local_7 — DINOv2 default: 8 local crops
            ),
        ],
        slide_sampling="random",
        pool_size=8,
        patches_per_slide=100,
        cycle=True,
    )
    # end
    return pipeline


@pytest.fixture(scope="module")
def slide_paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    return [
        write_slide(folder / f"{n}.svs", smooth_tissue(3200, 3000, seed=n), compression="jpeg")
        for n in range(2)
    ]


def test_the_first_listing_streams_patches_of_all_magnifications(slide_paths):
    results = list(islice(first_listing(slide_paths), 24))
    assert {result.image.shape for result in results} == {(256, 256, 3)}
    assert {result.image.dtype for result in results} == {np.dtype("uint8")}
    assert {result.coordinate.mpp for result in results} == {0.25, 0.5, 1.0, 2.0}
    assert {result.coordinate.slide_path for result in results} == {str(p) for p in slide_paths}
    assert min(result.tissue_fraction for result in results) >= 0.4


def test_the_second_listing_streams_two_global_and_eight_local_views(slide_paths):
    for result in islice(second_listing(slide_paths), 4):
        assert result.image is None
        assert {name: view.shape for name, view in result.views.items()} == {
            **{f"global_{n}": (224, 224, 3) for n in range(2)},
            **{f"local_{n}": (98, 98, 3) for n in range(8)},
        }


def bare(code: str) -> str:
    """Return code without comments, white space, and the commas that a formatter adds."""
    code = "".join(re.sub(r"#.*", "", line) for line in code.splitlines())
    return re.sub(r",(?=[)\]])", "", re.sub(r"\s+", "", code))


@pytest.mark.parametrize("listing", [first_listing, second_listing])
def test_the_listings_are_those_of_the_request(listing):
    text = real_file("seeds", "000_40e7ac5f4a7aefe7.txt").read_text()
    source = inspect.getsource(listing)
    ours = source.split("# begin\n")[1].split("# end\n")[0]
    theirs = bare(text.replace("wsistream", "eosin"))
    # Where the request leaves the arguments out, ours are real; nothing else may differ.
    if listing is second_listing:
        for component, arguments in (
            ("HSVTissueDetector", "hue_range=(90,180)"),
            ("HSVPatchFilter", "min_pixel_fraction=0.6"),
        ):
            assert f"{component}(...)" in theirs
            theirs = theirs.replace(f"{component}(...)", f"{component}({arguments})")
    assert bare(ours) in theirs
