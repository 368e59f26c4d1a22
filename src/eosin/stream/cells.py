"""Draws without replacement: which of a slide's disjoint patches a sample may have.

The patches are shuffled and dealt to the samples of a visit, and of the visits after it, so that no
two of them ever try the same one. When a slide has been through, it is shuffled anew.
"""

from dataclasses import dataclass
from typing import final

_ROUNDS = 6
_MASK = 2**64 - 1


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Deal:
    """The cells of one sample: as many as there are, each at most once."""

    num_cells: int
    number: int
    """Of the sample within its visit to the slide."""
    per_visit: int
    """Samples of a visit."""
    spare: int
    """Cells that a sample is dealt at least where there are enough, since some are turned away."""
    visit: int
    """Of the slide: 0, 1, ... where passes follow each other."""
    key: int
    """Shuffles the slide's cells; visits that share a shuffle share the key."""

    def cell(self, attempt: int, *, is_anew: bool = False) -> int | None:
        """Return the cell for an attempt, or None when the sample's cells are used up.

        Args:
            attempt: Of the sample.
            is_anew: Whether the slide is then shuffled and dealt once more instead.
        """
        num_visits = max(1, self.num_cells // (self.per_visit * self.spare))
        shuffle, turn = divmod(self.visit, num_visits)
        position = self.number + self.per_visit * (turn + num_visits * attempt)
        if position >= self.num_cells and not is_anew:
            return None
        again, position = divmod(position, self.num_cells)
        return shuffled(position, self.num_cells, _mix(self.key ^ _mix(shuffle) ^ again))


def shuffled(position: int, size: int, key: int) -> int:
    """Return where a keyed permutation of 0 to size - 1 sends a position.

    No table: a Feistel network over the next even number of bits, walked until it is inside.

    Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains" (cycle walking).
    """
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    half_mask = (1 << half_bits) - 1
    while True:
        left, right = position >> half_bits, position & half_mask
        for round_number in range(_ROUNDS):
            mixed = _mix(right ^ _mix(key + round_number * 0x9E3779B97F4A7C15))
            left, right = right, left ^ (mixed & half_mask)
        position = left << half_bits | right
        if position < size:
            return position


def _mix(value: int) -> int:
    """Return 64 bits that all depend on all bits of the value.

    Source: Steele, Lea and Flood 2014, SplitMix64's finalizer (Stafford's variant 13).
    """
    value &= _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31
