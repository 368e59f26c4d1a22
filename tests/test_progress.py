import pytest

from eosin import progress
from eosin.progress import Bar, in_words


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_plain_lines_come_now_and_then_and_say_what_is_left_at_the_latest_pace(
    clock: Clock, capsys: pytest.CaptureFixture[str]
):
    bar = Bar(None, "training", 1000)
    bar.move_to(100, "going on")
    for step in range(101, 141):
        clock.now_s += 0.5
        bar.move_to(step, "loss 8.1")
    clock.now_s += 1.0
    bar.move_to(1000, "loss 8.0")
    assert capsys.readouterr().err.splitlines() == [
        "training: 100/1000 going on",
        "training: 120/1000 (7 min left) loss 8.1",
        "training: 140/1000 (7 min left) loss 8.1",
        "training: 1000/1000 loss 8.0",
    ]


def test_a_bar_that_does_not_move_promises_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
):
    bar = Bar(None, "embedding", 10)
    for _ in range(2):
        bar.move_to(3)
        clock.now_s += 20.0
    assert capsys.readouterr().err == "embedding: 3/10\nembedding: 3/10\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (4.4, "4 s"),
        (95.0, "2 min"),
        (3599.0, "60 min"),
        (3660.0, "1 h 01 min"),
        (7140.0, "1 h 59 min"),
        (200_000.0, "2 d 7 h"),
    ],
)
def test_durations_are_told_in_the_units_that_matter(seconds: float, words: str):
    assert in_words(seconds) == words
