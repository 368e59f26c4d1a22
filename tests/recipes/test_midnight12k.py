import numpy as np
import pytest

from eosin.recipes import midnight12k
from eosin.transforms.hed import HED_LIGHT
from eosin.views import draw_views, replay_views
from transforms.transform_contract import noise


def stain_draws(hed: str) -> set[str]:
    """Return the stain augmentations of one patch's crops, each distinct one once."""
    data = midnight12k.data(hed=hed)
    rng = np.random.default_rng(0)
    drawn = draw_views(rng, data.shared_transforms, data.views, width=256, height=256)
    views = replay_views(noise(256, 256), drawn, data.shared_transforms, data.views)
    assert len(views) == 10
    if hed == "per_patch":
        assert all("transforms" not in view for view in drawn["views"].values())
        return {str(drawn["shared"]["steps"][1]["alpha"])}
    return {str(view["transforms"]["alpha"]) for view in drawn["views"].values()}


@pytest.mark.parametrize(("hed", "num"), [("per_patch", 1), ("per_crop", 10)])
def test_stains_are_augmented_once_a_patch_or_once_a_crop(hed, num):
    assert len(stain_draws(hed)) == num


def test_both_readings_of_the_paper_use_the_light_augmentation():
    assert midnight12k.data().shared_transforms.transforms[1] == HED_LIGHT
    assert {view.transforms for view in midnight12k.data(hed="per_crop").views} == {HED_LIGHT}
