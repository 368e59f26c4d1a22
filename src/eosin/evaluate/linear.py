"""Linear probe: multinomial logistic regression on standardized features, solved to the optimum."""

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn import functional

from eosin.errors import ConfigError
from eosin.evaluate.folds import grouped_folds
from eosin.evaluate.labelled import LabelledFeatures
from eosin.names import get_logger

logger = get_logger(__name__)

C_GRID = tuple(10.0**exponent for exponent in range(-5, 3))
"""What `c="auto"` chooses from, strongest regularization first."""

GRADIENT_TOLERANCE = 1e-6
"""Largest slope of the mean loss at which a fit is done, along axes of unit curvature."""

FIRST_ROUND = 30
"""Steps after which the curvature is estimated once more."""


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinearFit:
    """Hold a fitted probe with the statistics that its features are standardized by."""

    weight: Float64[np.ndarray, "classes dim"]
    bias: Float64[np.ndarray, " classes"]
    mean: Float64[np.ndarray, " dim"]
    scale: Float64[np.ndarray, " dim"]
    c: float

    def probabilities(
        self, features: Float[np.ndarray, "samples dim"]
    ) -> Float64[np.ndarray, "samples classes"]:
        """Return the probability of each class, for each row of `features`."""
        logits = (features - self.mean) / self.scale @ self.weight.T + self.bias
        return np.asarray(torch.from_numpy(logits).softmax(dim=1))

    def predict(self, features: Float[np.ndarray, "samples dim"]) -> Int64[np.ndarray, " samples"]:
        """Return the most probable class."""
        return np.asarray(self.probabilities(features).argmax(axis=1))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LinearProbe:
    """Fit multinomial logistic regression with an L2 penalty.

    Minimizes |W|^2 / 2 + c * (sum of cross-entropies), biases unpenalized, by L-BFGS in float64 on
    the CPU: the optimum is unique, so no seed, rate or schedule is in the result.

    Source: the objective is that of scikit-learn's `LogisticRegression`, whose `C` is `c` with
    three classes or more, and 2c with two, for which it has one weight vector instead of two.
    """

    c: float | Literal["auto"] = 1.0
    """Auto: the c of `C_GRID` with the least cross-entropy in cross-validation on the training
    part, folds cut by group."""
    num_folds: int = 5
    seed: int = 0
    """Deals groups to folds; of no effect where c is a number."""
    max_iterations: int = 2000

    def __post_init__(self) -> None:
        if self.c != "auto" and not (isinstance(self.c, float | int) and self.c > 0):
            raise ConfigError(f"c={self.c!r} must be above 0, or 'auto'")
        if self.num_folds < 2:
            raise ConfigError(f"num_folds={self.num_folds} must be 2 or more")
        if self.max_iterations < 1:
            raise ConfigError(f"max_iterations={self.max_iterations} must be 1 or more")

    def fit(self, train: LabelledFeatures) -> LinearFit:
        """Fit on the training part, which is all that is looked at.

        Raises:
            ConfigError: If c is "auto" and the training part is a single group.
        """
        c = self._best_c(train) if self.c == "auto" else float(self.c)
        everything = np.ones(len(train.labels), dtype=bool)
        return self._path(train, everything, (c,))[0]

    def _best_c(self, train: LabelledFeatures) -> float:
        folds = grouped_folds(train.labels, train.groups, self.num_folds, self.seed)
        losses = np.zeros(len(C_GRID))
        for fold in range(folds.max() + 1):
            held_out = folds == fold
            targets = train.labels[held_out]
            for index, fit in enumerate(self._path(train, ~held_out, C_GRID)):
                shares = fit.probabilities(train.features[held_out])
                right = shares[np.arange(len(targets)), targets]
                losses[index] -= np.log(np.maximum(right, np.finfo(float).tiny)).sum()
        return C_GRID[int(losses.argmin())]

    def _path(
        self, train: LabelledFeatures, kept: Bool[np.ndarray, "_"], cs: tuple[float, ...]
    ) -> list[LinearFit]:
        """Fit for each c, starting from the fit before."""
        features = train.features[kept].astype(np.float64)
        mean, scale = features.mean(axis=0), features.std(axis=0)
        # A feature that hardly varies would be blown up to noise of unit size.
        scale[scale <= 1e-6 * np.abs(mean) + np.finfo(float).tiny] = 1.0
        inputs = torch.from_numpy((features - mean) / scale)
        labels = torch.from_numpy(train.labels[kept])
        axes, variance = _principal_axes(inputs)
        scores = inputs @ axes
        weight = torch.zeros(len(train.class_names), scores.shape[1], dtype=torch.float64)
        bias = torch.zeros(len(train.class_names), dtype=torch.float64)
        fits = []
        for c in cs:
            weight, bias = self._minimize((scores, labels, variance), c, weight, bias)
            turned_back = (weight @ axes.T).numpy()
            fits.append(
                LinearFit(weight=turned_back, bias=bias.numpy(), mean=mean, scale=scale, c=c)
            )
        return fits

    def _minimize(
        self, data: tuple[Tensor, Tensor, Tensor], c: float, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Minimize the mean loss over weights on principal axes, from the weights given."""
        penalty = 1 / (c * len(data[1]))
        gradient = math.inf
        # The second round knows how confident the probe becomes, which sets the curvature.
        for max_iterations in (min(FIRST_ROUND, self.max_iterations), self.max_iterations):
            if gradient > GRADIENT_TOLERANCE:
                weight, bias, gradient = _descend(data, penalty, (weight, bias), max_iterations)
        if gradient > 10 * GRADIENT_TOLERANCE:
            logger.warning(
                "linear probe with c=%g stopped at a gradient of %.1e; raise max_iterations=%d",
                c,
                gradient,
                self.max_iterations,
            )
        return weight, bias


def _descend(
    data: tuple[Tensor, Tensor, Tensor],
    penalty: float,
    start: tuple[Tensor, Tensor],
    max_iterations: int,
) -> tuple[Tensor, Tensor, float]:
    """Return weights, biases and the largest gradient after at most so many steps of L-BFGS.

    Weights are stretched along each axis by what makes the curvature about one everywhere. The
    optimum stays, and tens of steps find it where it took thousands.
    """
    scores, labels, variance = data
    weight, bias = start
    shares = (scores @ weight.T + bias).softmax(dim=1)
    doubt = (shares * (1 - shares)).mean().clamp(min=1e-12)
    stretch = (variance * doubt + penalty).rsqrt()
    weight = (weight / stretch).requires_grad_()
    bias = (bias * doubt.sqrt()).requires_grad_()
    stretched_scores = scores * stretch
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iterations,
        max_eval=4 * max_iterations,
        tolerance_grad=GRADIENT_TOLERANCE,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def mean_loss() -> Tensor:
        optimizer.zero_grad()
        logits = stretched_scores @ weight.T + bias / doubt.sqrt()
        size = (weight * stretch).square().sum()
        loss = functional.cross_entropy(logits, labels) + penalty / 2 * size
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(mean_loss)  # type: ignore[no-untyped-call]
    mean_loss()
    gradient = max(float(_gradient(part).abs().max()) for part in (weight, bias))
    return weight.detach() * stretch, bias.detach() / doubt.sqrt(), gradient


def _principal_axes(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return orthonormal axes that span the centred inputs, (dim, axes), and the variance on each.

    The penalty does not see a rotation, and weights outside the span are zero at the optimum, so
    that fewer samples than dimensions are a smaller problem.
    """
    num_samples, dim = inputs.shape
    if num_samples < dim:
        _, singular, turned = torch.linalg.svd(inputs, full_matrices=False)
        return turned.T, singular.square() / num_samples
    variance, axes = torch.linalg.eigh(inputs.T @ inputs / num_samples)
    return axes, variance.clamp(min=0)


def _gradient(part: Tensor) -> Tensor:
    return torch.zeros_like(part) if part.grad is None else part.grad
