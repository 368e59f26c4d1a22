"""Which slides are kept for testing: decided by a hash of the patient, slide by slide.

No list of slides is stored: a slide stays on its side when others are added, taken away or moved.
"""

import hashlib
from collections.abc import Sequence

from eosin.catalog.entry import SlideEntry
from eosin.errors import ConfigError


def held_out(entries: Sequence[SlideEntry], fraction: float, seed: int = 0) -> tuple[bool, ...]:
    """Return for each slide whether it is kept for testing; all of a patient's are, or none.

    Args:
        entries: The slides; what is decided for one depends on its own patient only.
        fraction: Share of the patients to keep, on average over all patients there could be.
        seed: Another one gives another split.

    Raises:
        ConfigError: If the fraction is none.
    """
    return tuple(is_held_out(entry, fraction, seed) for entry in entries)


def is_held_out(entry: SlideEntry, fraction: float, seed: int = 0) -> bool:
    """Return whether a slide is kept for testing.

    Raises:
        ConfigError: If the fraction is none.
    """
    if not 0 <= fraction <= 1:
        raise ConfigError(f"held-out fraction={fraction} must be a share from 0 to 1")
    digest = hashlib.sha256(f"{seed}:{entry.owner}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) < fraction * 2**64
