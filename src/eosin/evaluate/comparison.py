"""Several models on the same labelled features, to be shown side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from eosin.errors import InputError
from eosin.evaluate.labelled import LabelledFeatures
from eosin.evaluate.probe import Comparison, ProbeResult, compare, probe


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ModelComparison:
    """What each model reached, and by how much the last is better than the first."""

    note: str
    """What was classified, and where the labels come from."""
    class_names: tuple[str, ...]
    results: Mapping[str, tuple[ProbeResult, ...]]
    """By model, in the order to be shown."""
    differences: tuple[Comparison, ...]
    """Last model minus first, per probe."""

    def to_json(self) -> dict[str, object]:
        """Return all of it as values that `json` writes, predictions included."""
        return {
            "note": self.note,
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
            results = {
                model: tuple(ProbeResult.from_json(result) for result in results)
                for model, results in values["results"].items()
            }
            return cls(
                note=values["note"],
                class_names=tuple(values["class_names"]),
                results=results,
                differences=_differences(results),
            )
        except KeyError as error:
            raise InputError(f"this is no comparison of models: {error} is missing") from error


def compare_models(
    parts: Mapping[str, tuple[LabelledFeatures, LabelledFeatures]], note: str
) -> ModelComparison:
    """Probe each model's features of the same samples, and take the differences.

    Args:
        parts: Training and test features by model; every model's are of the same samples.
        note: What was classified, and where the labels come from.

    Raises:
        ConfigError: If the models' samples differ.
    """
    results = {model: tuple(probe(train, test)) for model, (train, test) in parts.items()}
    any_test = next(iter(parts.values()))[1]
    return ModelComparison(
        note=note,
        class_names=any_test.class_names,
        results=results,
        differences=_differences(results),
    )


def _differences(results: Mapping[str, tuple[ProbeResult, ...]]) -> tuple[Comparison, ...]:
    models = list(results.values())
    return tuple(compare(first, last) for first, last in zip(models[0], models[-1], strict=True))
