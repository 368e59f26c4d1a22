"""Several models on the same labelled features, to be shown side by side."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from eosin.errors import InputError
from eosin.evaluate.labelled import LabelledFeatures
from eosin.evaluate.probe import Comparison, ProbeResult, compare, probe
from eosin.names import escaped

_RECORD_KEYS = frozenset({"note", "class_names", "results", "differences"})


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ModelComparison:
    """What each model reached, and by how much the last is better than the one before it."""

    note: str
    """What was classified, and where the labels come from."""
    class_names: tuple[str, ...]
    results: Mapping[str, tuple[ProbeResult, ...]]
    """By model, in the order to be shown."""
    warnings: tuple[str, ...] = ()
    """What must be known about the samples before the numbers, one line each."""
    details: Mapping[str, object] = field(default_factory=dict)
    """All names behind the warnings, as values that `json` writes."""

    @property
    def differences(self) -> tuple[Comparison, ...]:
        """Last model minus the one before, per probe; none when there is one model."""
        last_two = list(self.results.values())[-2:]
        if len(last_two) < 2:
            return ()
        return tuple(compare(before, last) for before, last in zip(*last_two, strict=True))

    @property
    def compared(self) -> str:
        """Say whose difference `differences` are, as in 'trained - random'."""
        return " - ".join(list(self.results)[-2:][::-1])

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Model, probe, accuracy and balanced accuracy as text; differences last."""
        shown: list[tuple[str, ProbeResult | Comparison]] = [
            *((model, one) for model, results in self.results.items() for one in results),
            *((self.compared, one) for one in self.differences),
        ]
        return [
            (name, one.probe, str(one.accuracy), str(one.balanced_accuracy)) for name, one in shown
        ]

    def to_json(self) -> dict[str, object]:
        """Return all of it as values that `json` writes, predictions included."""
        return {
            "note": self.note,
            "warnings": list(self.warnings),
            "details": dict(self.details),
            "class_names": list(self.class_names),
            "results": {
                model: [result.to_json() for result in results]
                for model, results in self.results.items()
            },
            "differences": [one.to_json() for one in self.differences],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ModelComparison":
        """Return what `to_json` gave.

        Raises:
            InputError: If something is missing.
        """
        try:
            return cls(
                note=values["note"],
                class_names=tuple(values["class_names"]),
                results={
                    model: tuple(ProbeResult.from_json(result) for result in results)
                    for model, results in values["results"].items()
                },
                warnings=tuple(values.get("warnings", ())),
                details=values.get("details", {}),
            )
        except KeyError as error:
            raise InputError(f"this is no comparison of models: {error} is missing") from error

    def describe(self) -> str:
        """Return the warnings, one line a model and probe, and the differences, for people."""
        rows = self.rows
        width = max(len(row[0]) for row in rows)
        numbers = (
            f"{model:{width}}  {name:6}  accuracy {accuracy}  balanced {balanced}"
            for model, name, accuracy, balanced in rows
        )
        return "\n".join([*(f"warning: {escaped(line)}" for line in self.warnings), *numbers])


def is_record(path: Path) -> bool:
    """Return whether a file holds what `ModelComparison.to_json` gives, and maybe more."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.keys() >= _RECORD_KEYS


def compare_models(
    parts: Mapping[str, tuple[LabelledFeatures, LabelledFeatures]], note: str
) -> ModelComparison:
    """Probe each model's features of the same samples.

    Args:
        parts: Training and test features by model, all of the same samples, baselines first.
        note: What was classified, and where the labels come from.

    Raises:
        ConfigError: If training and test part do not fit each other.
    """
    return ModelComparison(
        note=note,
        class_names=next(iter(parts.values()))[1].class_names,
        results={model: tuple(probe(train, test)) for model, (train, test) in parts.items()},
    )
