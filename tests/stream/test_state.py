import json
import pickle
from itertools import islice

import pytest

from eosin.backends import SyntheticBackend
from eosin.catalog import SlideEntry, SlideWeights
from eosin.errors import CheckpointError, ConfigError, InputError
from eosin.sampling import GridSampler, RandomSampler
from made_slides import (
    file_pipeline,
    names,
    smooth_tissue,
    synthetic_pipeline,
    write_folder,
    write_slide,
)


def entries(num, *, first=0, **columns):
    return tuple(
        SlideEntry(path=name, fingerprint=f"content {name}", metadata=dict(columns))
        for name in names(first + num)[first:]
    )


def stream(slides, **settings):
    defaults = {
        "cycle": True,
        "slide_sampling": "random",
        "num_lanes": 2,
        "pool_size": 2,
        "patches_per_slide": 3,
    }
    return synthetic_pipeline(slide_paths=slides, **{**defaults, **settings})


def places(pipeline, indices):
    return [pipeline.read(index).coordinate for index in indices]


def state_at(pipeline, index):
    pipeline.next_index = index
    return json.loads(json.dumps(pipeline.state_dict()))


# Other slides are refused by name


def refusal(old, new):
    with pytest.raises(CheckpointError, match="is of other slides") as caught:
        synthetic_pipeline(slide_paths=new).load_state_dict(
            synthetic_pipeline(slide_paths=old).state_dict()
        )
    return str(caught.value)


def test_added_and_missing_slides_are_named():
    message = refusal(entries(4), entries(5, first=1))
    assert "2 added (slide_4, slide_5), 1 gone (slide_0)" in message
    assert "extend=True" in message


def test_a_slide_with_other_content_is_named():
    changed = SlideEntry(path="made://slide_1", fingerprint="other")
    message = refusal(entries(3), (entries(1)[0], changed, entries(3)[2]))
    assert "other slides: 1 changed in content (slide_1). " in message


def test_of_a_list_that_is_too_long_for_names_the_added_ones_are_named():
    def many(num):
        return tuple(
            SlideEntry(path=f"made://{'long' * 20}_{n}", fingerprint=str(n)) for n in range(num)
        )

    message = refusal((*many(3000), *entries(1)), (*many(3000), *entries(1, first=7)))
    assert "1 added (slide_7), 1 gone (their names are not kept" in message


def test_the_same_slides_in_another_order_go_on_in_the_old_one():
    slides = names(6)
    old = stream(slides)
    expected = places(old, range(20, 40))
    new = stream(slides[::-1])
    assert places(new, range(20, 40)) != expected
    new.load_state_dict(state_at(old, 20))
    assert [r.coordinate for r in islice(new, 20)] == expected


def test_a_state_of_an_older_eosin_is_refused():
    with pytest.raises(CheckpointError, match="older eosin"):
        stream(names(3)).load_state_dict({"next_index": 3, "settings": "a", "slides": "b"})


# Lists that are extended


@pytest.mark.parametrize("at", [0, 7, 12, 25])
@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_longer_list_takes_over_with_each_lanes_next_window(at, num_threads):
    old = stream(names(4))
    state = state_at(old, at)
    new = stream(names(9), num_threads=num_threads)
    new.load_state_dict(state, extend=True)
    # Each lane's window has 6 samples, the second lane's windows begin 3 samples earlier.
    starts = {0: -(-((at + 1) // 2) // 6) * 6, 1: -(-(at // 2 + 3) // 6) * 6 - 3}
    first_new = {lane: start * 2 + lane for lane, start in starts.items()}
    drawn = {r.index: r.coordinate for r in islice(new, 60)}
    assert list(drawn) == list(range(at, at + 60))
    before = [i for i in drawn if i < first_new[i % 2]]
    assert [drawn[i] for i in before] == places(old, before)
    after = [i for i in drawn if i >= first_new[i % 2]]
    assert [drawn[i] for i in after] == places(stream(names(9)), after)
    assert {drawn[i].slide_path for i in after} == set(names(9))
    assert before or at == 0


def test_an_extended_stream_resumes_is_copied_and_is_extended_again():
    first = stream(names(4))
    second = stream(names(6))
    second.load_state_dict(state_at(first, 10), extend=True)
    third = stream(names(9))
    third.load_state_dict(state_at(second, 40), extend=True)
    assert places(third, range(40)) == places(second, range(40))
    assert len({at.slide_path for at in places(third, range(60, 140))}) == 9
    resumed = stream(names(9), num_threads=2)
    resumed.load_state_dict(state_at(third, 33))
    expected = places(third, range(33, 90))
    assert [r.coordinate for r in islice(resumed, 57)] == expected
    copied = pickle.loads(pickle.dumps(third))
    copied.next_index = 33
    assert [r.coordinate for r in islice(copied, 57)] == expected
    assert copied.state_dict() == {**third.state_dict(), "next_index": 90}


def test_an_extended_stream_is_not_taken_for_the_one_that_began_with_the_longer_list():
    first, second = stream(names(4)), stream(names(6))
    second.load_state_dict(state_at(first, 10), extend=True)
    assert places(second, range(10)) == places(first, range(10))
    assert places(second, range(10)) != places(stream(names(6)), range(10))


def test_slides_that_are_gone_are_replaced_in_the_window_that_still_wants_them():
    old = stream(names(4))
    state = state_at(old, 6)
    left = [name for name in names(4) if name != old.read(8).coordinate.slide_path]
    new = stream(left)
    new.load_state_dict(state, extend=True)
    results = list(islice(new, 40))
    assert {r.coordinate.slide_path for r in results} == set(left)
    missed = [r for r in results if any("not in the list" in x.detail for x in r.rejections)]
    assert missed
    # The windows that hold sample 6 end before samples 12 and 6 of their lanes.
    assert all(r.index < 12 for r in missed)
    assert [r.coordinate for r in results if r.index in (6, 10) and r not in missed] == [
        at for at in places(old, (6, 10)) if at.slide_path in left
    ]
    # A file that a list leaves out is no file that fails.
    assert new.stats.quarantined == {}


@pytest.mark.parametrize(("num_old", "num_new"), [(2, 4), (4, 2), (3, 3)])
def test_a_new_list_deals_no_cell_again_that_the_old_one_dealt(num_old, num_new):
    dealt = {
        "replacement": "without_replacement",
        "sampler": RandomSampler(patch_size=64),
        "num_lanes": 3,
    }
    old = stream(names(num_old), **dealt)
    results = list(islice(old, 35))
    new = stream([*names(num_new - 1), "made://another"], **dealt)
    new.load_state_dict(old.state_dict(), extend=True)
    results += islice(new, 60)
    assert [r.index for r in results] == list(range(95))
    # Those that stand in for a slide that is gone may have any cell.
    drawn = [r.coordinate for r in results if not r.rejections]
    assert len(drawn) > 80
    # Some 700 cells a slide, so 28 visits before it is shuffled anew.
    assert len(set(drawn)) == len(drawn)
    # Passes go on where the old list's stopped: none of the new one's visits is skipped.
    visits = {new._listed.visit_of(index) for index in range(140)}
    # One may be missing where some lanes have turned to the new list and others have not.
    assert len(visits) >= max(visits)


def test_a_long_list_of_other_slides_is_refused_by_their_number():
    def many(first):
        return tuple(
            SlideEntry(path=f"made://{n}", fingerprint=str(n)) for n in range(first, first + 20_000)
        )

    state = stream(many(0)).state_dict()
    other = stream(many(20_000))
    with pytest.raises(CheckpointError, match=r"20000 added .* 20000 gone"):
        other.load_state_dict(state)


def test_the_same_list_is_not_extended():
    pipeline = stream(names(4))
    pipeline.load_state_dict(state_at(stream(names(4)), 9), extend=True)
    assert len(pipeline.state_dict()["lists"]) == 1


def test_a_stream_that_ends_is_not_extended():
    ending = {"cycle": False, "num_lanes": 1}
    with pytest.raises(ConfigError, match="extend=True needs cycle=True"):
        stream(names(4), **ending).load_state_dict(
            stream(names(3), **ending).state_dict(), extend=True
        )
    with pytest.raises(ConfigError, match="weights and without_replacement"):
        synthetic_pipeline(sampler=GridSampler(), replacement="without_replacement")


# What is known of slides


def test_slides_of_an_index_are_not_read_for_the_state(monkeypatch):
    monkeypatch.setattr("eosin.stream.state.file_fingerprint", lambda path: 1 / 0)
    state = synthetic_pipeline(slide_paths=entries(5)).state_dict()
    assert len(state["lists"][0]["slides"]) == 40


def test_a_slide_that_is_not_what_the_index_says_is_left_out_with_that_reason(tmp_path):
    folder = write_folder(tmp_path / "slides")
    found = sorted(str(path) for path in folder.iterdir())
    slides = tuple(SlideEntry(path=path, fingerprint="0123456789abcdef") for path in found[:1])
    rest = tuple(SlideEntry(path=path) for path in found[1:])
    pipeline = file_pipeline((*slides, *rest), patches_per_slide=2)
    assert {r.coordinate.slide_path for r in islice(pipeline, 8)} == set(found[1:])
    assert "not what the index says" in pipeline.quarantined[found[0]]


def test_columns_of_the_list_come_with_each_patch(tmp_path):
    folder = write_folder(tmp_path / "slides", num_slides=2)
    table = tmp_path / "slides.csv"
    table.write_text("path,organ,name_of_lab\nslides/0.svs,skin,a\nslides/1.svs,lung,b\n")
    pipeline = file_pipeline(table, where="organ == 'lung'")
    metadata = pipeline.read(0).slide_metadata
    assert metadata["organ"] == "lung"
    assert metadata["name"] == "1.svs"
    assert metadata["vendor"] == "aperio"
    assert pipeline.slides == (str(folder / "1.svs"),)
    with pytest.raises(InputError, match="holds for none"):
        file_pipeline(table, where="organ == 'liver'")


def test_a_slide_that_changes_makes_another_list(tmp_path):
    folder = write_folder(tmp_path / "slides")
    state = file_pipeline(folder).state_dict()
    write_slide(folder / "1.svs", smooth_tissue(700, 600, seed=9))
    with pytest.raises(CheckpointError, match=r"1 changed in content \(1\.svs\)"):
        file_pipeline(folder).load_state_dict(state)


# Weights


def weighted(factors, **settings):
    slides = tuple(
        SlideEntry(path=name, metadata={"factor": float(factor)})
        for name, factor in zip(names(len(factors)), factors, strict=True)
    )
    return synthetic_pipeline(
        slide_paths=slides,
        weights=SlideWeights(column="factor"),
        cycle=True,
        slide_sampling="random",
        **settings,
    )


def test_weights_are_part_of_the_state_and_may_be_extended():
    old = weighted((1, 2, 3))
    state = state_at(old, 10)
    same = weighted((1, 2, 3))
    same.load_state_dict(state)
    assert places(same, range(10, 30)) == places(old, range(10, 30))
    with pytest.raises(CheckpointError, match="same slides with other weights"):
        weighted((1, 2, 4)).load_state_dict(state)
    new = weighted((0, 2, 4))
    new.load_state_dict(state, extend=True)
    assert places(new, range(10)) == places(old, range(10))
    assert "made://slide_0" not in {at.slide_path for at in places(new, range(20, 120))}


def test_a_slide_without_weight_stands_in_for_no_other():
    pipeline = weighted((0, 1, 1), backend=SyntheticBackend(failing=frozenset({"made://slide_1"})))
    assert {r.coordinate.slide_path for r in islice(pipeline, 30)} == {"made://slide_2"}
