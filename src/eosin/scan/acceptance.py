"""The share of a slide's patches that a stream would keep, estimated by really reading some."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from eosin.backends.base import Slide
from eosin.backends.patch import read_patch
from eosin.errors import NoPlaceError, SlideReadError
from eosin.randomness import Purpose, rng_at
from eosin.scan.plan import ScanPlan
from eosin.tissue.mask import TissueMask

_NUM_DRAWS = 64
"""Magnifications that are drawn to see which there are and how often."""

_MAX_TARGETS = 8
"""With more different magnifications than this they are taken for a continuum."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """Shares of candidates, from 0 to 1."""

    overall: float
    """Accepted, over the mix of magnifications that the sampler draws."""
    by_target: Mapping[float, float]
    """Accepted, by target um/px; empty for a continuum of them."""
    unreadable: float
    """Could not be read."""
    num_read: int
    """Candidates, over all magnifications, that could be read."""
    problem: str | None
    """Why not a single candidate could be read."""


def measure_acceptance(slide: Slide, tissue: TissueMask, plan: ScanPlan) -> Acceptance:
    """Read candidates of every magnification and count those that are kept.

    The same candidates each time, whatever the slide is called.

    Raises:
        MissingMppError: If the slide does not say how large its pixels are.
        NoPlaceError: If it has no level for any magnification.
    """
    drawn = [
        plan.sampler.magnification(rng_at(plan.seed, Purpose.MAGNIFICATION, index), slide.info)
        for index in range(_NUM_DRAWS)
    ]
    shares = {target: count / _NUM_DRAWS for target, count in sorted(Counter(drawn).items())}
    if len(shares) > _MAX_TARGETS:
        trial = _try(slide, tissue, plan, drawn[: plan.num_candidates], part=0)
        return Acceptance(
            overall=trial.accepted,
            by_target={},
            unreadable=trial.unreadable,
            num_read=trial.num_read,
            problem=trial.reason if trial.num_read == 0 else None,
        )
    trials = {
        target: _try(slide, tissue, plan, [target] * plan.num_candidates, part=part)
        for part, target in enumerate(shares)
    }
    reasons = [trial.reason for trial in trials.values() if trial.reason is not None]
    return Acceptance(
        overall=sum(shares[target] * trial.accepted for target, trial in trials.items()),
        by_target={target: trial.accepted for target, trial in trials.items()},
        unreadable=sum(shares[target] * trial.unreadable for target, trial in trials.items()),
        num_read=sum(trial.num_read for trial in trials.values()),
        problem=reasons[0] if not any(trial.num_read for trial in trials.values()) else None,
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    accepted: float
    unreadable: float
    num_read: int
    reason: str | None
    """Of the first candidate that could not be read."""


def _try(
    slide: Slide, tissue: TissueMask, plan: ScanPlan, targets: Sequence[float], *, part: int
) -> _Trial:
    num_accepted = num_unreadable = num_read = 0
    reason: str | None = None
    for index, target in enumerate(targets):
        rng = rng_at(plan.seed, Purpose.PLACE, index, part)
        try:
            image = read_patch(slide, plan.sampler.place(rng, slide.info, tissue, target))
        except NoPlaceError as error:
            reason = reason or error.reason
        except SlideReadError as error:
            reason = reason or error.reason
            num_unreadable += 1
        else:
            num_read += 1
            num_accepted += plan.patch_filter is None or plan.patch_filter.accept(image)
    num = len(targets)
    return _Trial(num_accepted / num, num_unreadable / num, num_read, reason)
