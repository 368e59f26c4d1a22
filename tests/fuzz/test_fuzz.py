"""Damaged slides, each in its own process: no crash, no hang, failures named, others unharmed.

`fuzz_slides.py` does the same to whole folders, `fuzz_headers.py` to every header field;
docs/robustness.md has their counts.
"""

import os
import signal
import tempfile
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from eosin.backends import AutoBackend
from eosin.errors import SlideError
from fuzz.damage import changes, truncations
from fuzz.fuzz_headers import header_changes, made_pyramids, run_cases
from fuzz.outcome import TIME_LIMIT_S, in_own_process, judge, samples_of, stream
from made_slides import smooth_tissue, write_slide

NUM_EACH = 20
KNOWN = {"refused", "opened, some regions fail", "opened, all regions read"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def good(folder):
    return [write_slide(folder / f"good{n}.svs", smooth_tissue(700, 600, seed=n)) for n in range(2)]


def outcomes(folder, good, path):
    content = path.read_bytes()
    expected = samples_of([good[0], path, good[1]])
    damages = chain(truncations(content, NUM_EACH), changes(path, content, NUM_EACH, seed=1))
    for number, damage in enumerate(damages):
        bad = folder / f"bad{number}{path.suffix}"
        bad.write_bytes(damage.content)
        yield in_own_process(lambda b=bad: judge(b, good, expected))
        bad.unlink()


@pytest.mark.parametrize("compression", ["jpeg", "adobe_deflate", "aperio_jp2000_rgb"])
def test_damaged_slides_are_refused_or_read_in_part_and_harm_no_other(folder, good, compression):
    whole = write_slide(
        folder / f"{compression}.svs", smooth_tissue(700, 600, seed=5), compression=compression
    )
    seen = list(outcomes(folder, good, whole))
    assert set(seen) <= KNOWN
    assert sum(outcome != "refused" for outcome in seen) >= 0.3 * len(seen)
    assert "opened, some regions fail" in seen


def test_no_header_field_of_any_page_hangs_or_crashes_a_reader(folder, good):
    """Row 32 of the faults: a sample of what `fuzz_headers.py` does in full."""
    rng = np.random.default_rng(0)
    for path in made_pyramids(folder):
        changes = list(header_changes(path))
        drawn = [changes[number] for number in rng.choice(len(changes), 4, replace=False)]
        for change, outcome, _ in run_cases(path, drawn, good, folder, TIME_LIMIT_S):
            assert outcome in KNOWN, f"{path.name}: {change.field} {change.what}: {outcome}"


@pytest.mark.parametrize("content", [b"", b"just text, renamed", bytes(5000)])
def test_files_that_never_were_slides_are_refused(folder, good, content):
    bad = folder / "never.svs"
    bad.write_bytes(content)
    expected = samples_of([good[0], bad, good[1]])
    assert in_own_process(lambda: judge(bad, good, expected)) == "refused"


def test_a_file_that_may_not_be_read_is_refused_by_that_name():
    def reason():
        if os.getuid() == 0:  # who may read everything
            os.setgid(65534)
            os.setuid(65534)
        try:
            AutoBackend().open(path)
        except SlideError as error:
            return error.reason
        return "opened"

    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        path = write_slide(Path(name) / "forbidden.svs", smooth_tissue(700, 600))
        path.chmod(0)
        assert "Permission denied" in str(in_own_process(reason))


def test_a_slide_that_vanishes_while_the_stream_runs_stops_nothing(folder, good):
    path = write_slide(folder / "vanishing.svs", smooth_tissue(700, 600, seed=9))
    pipeline = stream([good[0], path, good[1]])
    before = [pipeline.read(index) for index in range(6)]
    path.unlink()
    pipeline.close()
    after = [pipeline.read(index) for index in range(6, 18)]
    names = {Path(result.coordinate.slide_path).name for result in after}
    assert names == {"good0.svs", "good1.svs"}
    assert "vanishing.svs" in {Path(result.coordinate.slide_path).name for result in before}
    assert [Path(slide).name for slide in pipeline.quarantined] == ["vanishing.svs"]


def test_the_harness_tells_a_crash_a_hang_and_an_error_without_a_name():
    assert "CRASHED by signal 11" in str(
        in_own_process(lambda: os.kill(os.getpid(), signal.SIGSEGV))
    )
    assert in_own_process(lambda: time.sleep(60), time_limit_s=0.3) == "HUNG"
    assert "UNNAMED ZeroDivisionError" in str(in_own_process(lambda: 1 / 0))
