"""Labelled features drawn around one centre per class."""

import numpy as np

from eosin.evaluate.labelled import LabelledFeatures


def blobs(
    num: int = 120,
    *,
    seed: int = 0,
    dim: int = 12,
    num_classes: int = 3,
    spread: float = 1.5,
    num_groups: int = 10,
    prefix: str = "slide",
) -> LabelledFeatures:
    """Draw samples of each class around a centre that does not depend on the seed."""
    centres = np.random.default_rng(42).normal(size=(num_classes, dim))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num)
    features = centres[labels] + spread * rng.normal(size=(num, dim))
    return LabelledFeatures(
        features=features.astype(np.float32),
        labels=labels,
        class_names=tuple(f"class {index}" for index in range(num_classes)),
        names=tuple(f"{prefix} tile {index}" for index in range(num)),
        groups=tuple(f"{prefix} {index % num_groups}" for index in range(num)),
    )
