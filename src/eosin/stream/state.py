"""Where a stream is, small enough to go with every checkpoint, and what makes it the same stream.

Slides are known by six bytes of a hash of their content, so the folder may move and 100,000 slides
take 0.8 MB.
"""

import base64
import hashlib
import json
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float

from eosin.backends.files import file_fingerprint
from eosin.catalog.entry import SlideEntry
from eosin.errors import CheckpointError
from eosin.names import escaped, get_logger
from eosin.plain import Plain, differences, fingerprint, to_plain
from eosin.stream.ahead import map_ahead
from eosin.stream.listed import SlideList

logger = get_logger(__name__)

_DIGEST_BYTES = 6
_DIGEST_CHARS = _DIGEST_BYTES * 4 // 3
_MAX_NAMES_BYTES = 131072
_MAX_SETTING_BYTES = 16384
_NUM_NAMED = 5
_TELL_EVERY_S = 5.0
_NUM_THREADS = 8


class ListState(TypedDict):
    """One list of slides, from some sample on."""

    from_index: int
    slides: str
    """Digests of the slides' contents, base64, eight characters each."""
    names: list[str] | None
    """File names; None for a list that is too long for them."""
    weights: str | None
    """Base64 of 32-bit floats, where slides are drawn by weight."""


class StreamState(TypedDict):
    """Where a stream is: everything else follows from its settings and its slides."""

    next_index: int
    settings: dict[str, Plain]
    lists: list[ListState]


class Resolved(NamedTuple):
    """The lists of a state over the slides that are here."""

    lists: tuple[SlideList, ...]
    gone: tuple[SlideEntry, ...] = ()
    """Slides that are not here any more; their numbers follow those that are."""
    gone_digests: tuple[str, ...] = ()


def describe_settings(settings: Mapping[str, object]) -> dict[str, Plain]:
    """Return settings as plain values, very long ones (such as tables) as their fingerprints."""
    plain = {name: to_plain(value) for name, value in settings.items()}
    return {
        name: value
        if len(json.dumps(value)) <= _MAX_SETTING_BYTES
        else f"fingerprint {fingerprint(value)}"
        for name, value in plain.items()
    }


def check_settings(state: StreamState, mine: Mapping[str, Plain]) -> None:
    """Refuse the state of a stream with other settings.

    Raises:
        CheckpointError: Naming each setting that differs.
    """
    if "lists" not in state:
        raise CheckpointError(
            "the stream's state was written by an older eosin, whose samples were others; finish "
            "the run with that version, or start a new one"
        )
    changes = list(differences(state["settings"], dict(mine)))
    if changes:
        more = f" and {len(changes) - _NUM_NAMED} more" if len(changes) > _NUM_NAMED else ""
        raise CheckpointError(
            f"the stream's state is of other settings: {'; '.join(changes[:_NUM_NAMED])}{more}. "
            "Give the same settings, or start a new stream"
        )


def digests_of(entries: Sequence[SlideEntry]) -> tuple[str, ...]:
    """Return what identifies each slide; reads the files whose fingerprints no index knows."""
    unknown = [entry for entry in entries if entry.fingerprint is None]
    # Not an executor: when it is left on Ctrl-C, it waits for all files that have not begun.
    in_turn = map_ahead(_read_content, unknown, num_threads=_NUM_THREADS, depth=8 * _NUM_THREADS)
    read = _told(in_turn, len(unknown))
    contents = [next(read) if e.fingerprint is None else e.fingerprint for e in entries]
    return tuple(_digest(content) for content in contents)


def describe_list(one: SlideList, names: Sequence[str], digests: Sequence[str]) -> ListState:
    """Return a list as it goes into a state.

    Args:
        one: The list.
        names: File names of the slides by number.
        digests: What identifies them, by number.
    """
    of_list = [names[number] for number in one.numbers]
    are_short = sum(len(escaped(name).encode()) + 4 for name in of_list) <= _MAX_NAMES_BYTES
    packed = None
    if one.weights is not None:
        packed = base64.b64encode(one.weights.astype("<f4").tobytes()).decode()
    return ListState(
        from_index=one.from_index,
        slides="".join(digests[number] for number in one.numbers),
        names=of_list if are_short else None,
        weights=packed,
    )


def resolve_lists(
    state: StreamState,
    entries: Sequence[SlideEntry],
    digests: Sequence[str],
    weights: Float[np.ndarray, " slides"] | None,
    *,
    extend: bool,
) -> Resolved:
    """Find the slides of a state among those that are here.

    The same slides in another order or another folder are the same list, in the state's order.

    Args:
        state: Whose lists.
        entries: The slides that are here.
        digests: What identifies them.
        weights: Of the slides that are here.
        extend: Whether other slides may take over from the state's next sample on.

    Raises:
        CheckpointError: If slides or weights differ and may not; naming them.
    """
    gone: dict[str, _Gone] = {}
    lists = [_resolve(one, digests, gone) for one in state["lists"]]
    last = lists[-1]
    is_same = sorted(last.numbers) == list(range(len(entries)))
    if not is_same and not extend:
        changes = _name_changes(state["lists"][-1], entries, digests, last)
        raise CheckpointError(
            f"the stream's state is of other slides: {changes}. Give the same slides, take up the "
            "new list with extend=True (eosin train --extend), or start a new stream"
        )
    if is_same and not _same_weights(last, weights):
        is_same = False
        if not extend:
            raise CheckpointError(
                "the stream's state is of the same slides with other weights; give the same, take "
                "up the new ones with extend=True (eosin train --extend), or start a new stream"
            )
    if not is_same:
        numbers = tuple(range(len(entries)))
        newest = SlideList(from_index=state["next_index"], numbers=numbers, weights=weights)
        lists.append(newest)
    return Resolved(tuple(lists), tuple(one.entry for one in gone.values()), tuple(gone))


def _read_content(entry: SlideEntry) -> str:
    try:
        return file_fingerprint(entry.path)
    except (OSError, ValueError, ImportError):
        # Unreadable now and unreadable later are the same; its name is all there is.
        return f"unreadable {entry.name}"


def _told(contents: Iterator[str], num: int) -> Iterator[str]:
    """Pass contents on, and say now and then how many there were where that takes long."""
    last_s = time.monotonic()
    for number, content in enumerate(contents, 1):
        yield content
        if time.monotonic() - last_s >= _TELL_EVERY_S:
            last_s = time.monotonic()
            logger.info(
                "fingerprints of %d of %d slides are read; an index (eosin scan) has them all",
                number,
                num,
            )


def _digest(content: str) -> str:
    # An unreadable slide is known by its name, which need not be UTF-8.
    found = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
    return base64.b64encode(found[:_DIGEST_BYTES]).decode()


class _Gone(NamedTuple):
    number: int
    entry: SlideEntry


def _resolve(one: ListState, digests: Sequence[str], gone: dict[str, _Gone]) -> SlideList:
    """Return a state's list by numbers; adds the slides that are not here to those gone."""
    here: defaultdict[str, deque[int]] = defaultdict(deque)
    for number, digest in enumerate(digests):
        here[digest].append(number)
    numbers = []
    for place, digest in enumerate(_split(one["slides"])):
        if here[digest]:
            numbers.append(here[digest].popleft())
            continue
        if digest not in gone:
            name = one["names"][place] if one["names"] else f"slide with digest {digest}"
            gone[digest] = _Gone(len(digests) + len(gone), SlideEntry(path=name))
        numbers.append(gone[digest].number)
    packed = one["weights"]
    weights = None
    if packed is not None:
        weights = np.frombuffer(base64.b64decode(packed), "<f4").astype(np.float32)
    return SlideList(from_index=one["from_index"], numbers=tuple(numbers), weights=weights)


def _split(digests: str) -> list[str]:
    return [digests[at : at + _DIGEST_CHARS] for at in range(0, len(digests), _DIGEST_CHARS)]


def _same_weights(last: SlideList, weights: Float[np.ndarray, " slides"] | None) -> bool:
    if last.weights is None or weights is None:
        return last.weights is weights
    return np.array_equal(weights[list(last.numbers)], last.weights)


def _name_changes(
    old: ListState, entries: Sequence[SlideEntry], digests: Sequence[str], last: SlideList
) -> str:
    num_here = len(entries)
    added = {entries[number].name for number in set(range(num_here)) - set(last.numbers)}
    num_gone = sum(number >= num_here for number in last.numbers)
    if old["names"] is None:
        names = f"{num_gone} gone (their names are not kept in lists of this length)"
        return f"{_named('added', added)}, {names}"
    known = set(digests)
    digest_of = zip(old["names"], _split(old["slides"]), strict=True)
    gone = {name for name, digest in digest_of if digest not in known}
    changed = gone & added
    parts = (
        _named("added", added - changed),
        _named("gone", gone - changed),
        _named("changed in content", changed),
    )
    return ", ".join(part for part in parts if part)


def _named(what: str, names: set[str]) -> str:
    if not names:
        return ""
    some = ", ".join(sorted(names)[:_NUM_NAMED])
    more = ", ..." if len(names) > _NUM_NAMED else ""
    return f"{len(names)} {what} ({some}{more})"
