from dataclasses import dataclass
from itertools import islice

import pytest

from busy_stream import EvenColumns, Nothing, content, contents, threads_alive
from eosin.backends import SyntheticBackend
from eosin.backends.synthetic import decode_coordinates
from eosin.errors import StreamStalledError
from eosin.filters import PatchFilter
from eosin.sampling import GridSampler
from made_slides import names, synthetic_pipeline


@dataclass(frozen=True, kw_only=True)
class FirstColumn(PatchFilter):
    """Accepts the first column of the grid that lies in the tissue of a synthetic slide."""

    def accept(self, image):
        return bool(decode_coordinates(image)[0][0, 0] == 1000)


def grid_pipeline(num_slides=3, **settings):
    return synthetic_pipeline(num_slides, **{"sampler": GridSampler(patch_size=250), **settings})


@pytest.mark.parametrize("num_threads", [0, 3])
def test_a_grid_ends_and_delivers_each_cell_once(num_threads):
    places = [
        (r.coordinate.slide_path, r.coordinate.x, r.coordinate.y)
        for r in grid_pipeline(num_threads=num_threads)
    ]
    cells = [(x, y) for y in range(750, 2250, 250) for x in range(1000, 3000, 250)]
    assert places == [(path, *cell) for path in names(3) for cell in cells]


def test_a_grid_resumes_and_reads_any_cell():
    whole = contents(grid_pipeline(patch_filter=EvenColumns(), slide_sampling="random"), 999)
    second = grid_pipeline(patch_filter=EvenColumns(), slide_sampling="random", num_threads=2)
    second.next_index = whole[59][0] + 1
    assert contents(second, 999) == whole[60:]
    assert content(second.read(whole[77][0])) == whole[77]


def test_a_grid_leaves_out_bad_slides_and_cells_that_are_turned_away():
    backend = SyntheticBackend(failing=frozenset({"made://slide_0"}))
    pipeline = grid_pipeline(4, patch_filter=FirstColumn(), backend=backend)
    results = list(pipeline)
    assert [r.coordinate.y for r in results] == 3 * list(range(750, 2250, 250))
    assert pipeline.stats.rejections == {"FirstColumn": 3 * 42, "unusable slide": 1}
    with pytest.raises(IndexError, match=r"sample 1 is turned away: 100% FirstColumn"):
        pipeline.read(1)


def test_a_grid_that_cycles_goes_on_though_it_turns_away_more_than_it_has_cells():
    pipeline = grid_pipeline(2, cycle=True, patch_filter=FirstColumn())
    assert len(list(islice(pipeline, 40))) == 40
    assert pipeline.stats.rejections["FirstColumn"] > 2 * 96


def test_a_grid_that_cycles_begins_anew():
    results = list(islice(grid_pipeline(2, cycle=True), 2 * 48 + 3))
    assert [content(r)[1:] for r in results[96:]] == [content(r)[1:] for r in results[:3]]


@pytest.mark.parametrize("cycle", [False, True])
@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_grid_without_an_accepted_cell_stops_and_says_why(cycle, num_threads):
    pipeline = grid_pipeline(2, patch_filter=Nothing(), cycle=cycle, num_threads=num_threads)
    with pytest.raises(StreamStalledError, match=r"96 candidates .*100% Nothing"):
        list(pipeline)
    assert threads_alive() == []


def test_a_grid_without_cells_stops_and_says_why():
    pipeline = grid_pipeline(2, sampler=GridSampler(patch_size=2900))
    with pytest.raises(StreamStalledError, match="no cell of the grid has 40% tissue"):
        next(iter(pipeline))


def test_a_grid_lists_the_cells_of_a_slide_once(monkeypatch):
    calls = []
    real = GridSampler.places
    monkeypatch.setattr(
        GridSampler, "places", lambda s, info, tissue: calls.append(1) or real(s, info, tissue)
    )
    assert len(list(grid_pipeline(3, num_threads=2))) == 144
    assert len(calls) == 3
