import numpy as np
import pytest

from catalog.tables import entry
from eosin.catalog import held_out
from eosin.errors import ConfigError

SLIDES = [entry(f"{n}.svs", patient=f"p{n // 3}") for n in range(3000)]


def test_a_patient_is_on_one_side_only():
    sides = np.asarray(held_out(SLIDES, 0.3)).reshape(1000, 3)
    assert (sides == sides[:, :1]).all()
    assert 250 < sides[:, 0].sum() < 350


def test_slides_stay_on_their_side_when_others_come_or_move():
    few = SLIDES[100:200]
    moved = [entry(f"/elsewhere/{one.path}", patient=one.metadata["patient"]) for one in few]
    assert held_out(few, 0.3) == held_out(SLIDES, 0.3)[100:200] == held_out(moved, 0.3)


def test_a_larger_share_holds_the_smaller():
    small, large = np.asarray(held_out(SLIDES, 0.1)), np.asarray(held_out(SLIDES, 0.3))
    assert not (small & ~large).any()
    assert small.sum() < large.sum()


def test_another_seed_is_another_split():
    first, second = held_out(SLIDES, 0.3, 0), held_out(SLIDES, 0.3, 1)
    shared = np.mean(np.asarray(first) & np.asarray(second))
    assert 0.05 < shared < 0.13  # 0.09 when independent


def test_slides_without_a_patient_are_split_by_file_name():
    alone = [entry(f"a/{n}.svs") for n in range(100)]
    elsewhere = [entry(f"b/{n}.tiff") for n in range(100)]
    assert held_out(alone, 0.5) == held_out(elsewhere, 0.5)
    assert 30 < sum(held_out(alone, 0.5)) < 70


def test_the_split_never_changes_between_versions():
    # Held-out slides of an old run must stay held out: these were computed by this very rule.
    assert [n for n, out in enumerate(held_out(SLIDES[::3], 0.1)) if out][:6] == [
        2,
        30,
        55,
        66,
        79,
        80,
    ]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(fraction):
    with pytest.raises(ConfigError, match="fraction"):
        held_out(SLIDES, fraction)
