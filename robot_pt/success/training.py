"""Training a success classifier: balanced batches, augmentation, early stopping and calibration on groups that were held out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from robot_pt.augment import AugmentConfig, augment
from robot_pt.errors import DataError, UserError
from robot_pt.networks.modes import evaluating
from robot_pt.schema import Bool, Int
from robot_pt.success.classifier import SuccessNetwork
from robot_pt.success.frames import LabelledFrames

LEAST_GROUPS = 2
"""Episodes with positive frames, and with negative ones, without which nothing can be held out."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    steps: int = 1000
    """At most this many updates."""
    batch_size: int = 64
    """Frames per update, half of them positive."""
    learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    evaluate_every: int = 50
    """Updates between looks at the held-out frames."""
    patience: int = 6
    """Looks without a lower loss after which training stops; the best is kept."""
    held_out: float = 0.25
    """Share of the episodes that judge: early stopping, calibration, threshold."""
    freeze: bool = False
    """Leave the encoder as it is and train the head alone."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """As policies are trained, less the crop's share of small pictures: how high a thing lies must stay visible."""
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.steps, self.batch_size, self.evaluate_every, self.patience)
        if min(counts) < 1 or self.batch_size < 2:
            raise UserError(
                f"steps, batch size, evaluate_every and patience are {counts}; give at least 1, and a batch of at least 2."
            )
        if not 0 < self.held_out < 1 or not 0 < self.learning_rate < 1:
            raise UserError(
                f"the held-out share is {self.held_out} and the learning rate {self.learning_rate}; give numbers between 0 and 1."
            )


class Split(NamedTuple):
    """Rows of the frames to train on and of those held out, and the groups they belong to."""

    train: Int
    held_out: Int
    train_groups: list[int]
    held_out_groups: list[int]


class Fitted(NamedTuple):
    """What came of it; the network holds the best weights."""

    step: int  # update of the lowest held-out loss
    steps: int  # updates done
    loss: float  # held-out, both classes of equal weight
    scale: float  # calibration, see `Card`
    offset: float
    logit: NDArray[np.float64]  # of the held-out rows


def split(frames: LabelledFrames, held_out: float, seed: int) -> Split:
    """Whole groups, a share of those with positive frames and of those without, both kinds of frame on both sides.

    Raises UserError where the frames are of one kind, or of too few groups to be so split.
    """
    require_both(frames.label, "the labelled frames")
    rng = np.random.default_rng(seed)
    positive = frames.positive_groups()
    negative = np.bincount(frames.group[~frames.label], minlength=len(frames.keys)) > 0
    if positive.sum() < LEAST_GROUPS or negative.sum() < LEAST_GROUPS:
        raise UserError(
            f"positive frames come from {positive.sum()} episodes and negative ones from {negative.sum()}; give at least {LEAST_GROUPS} "
            "of each, so that some judge what the others taught."
        )
    chosen: list[int] = []
    for kind in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        count = min(max(round(held_out * len(kind)), 1), max(len(kind) - 1, 0)) if len(kind) else 0
        chosen += rng.permutation(kind)[:count].tolist()
    others = sorted(set(range(len(frames.keys))) - set(chosen))
    parts = Split(frames.rows_of(others), frames.rows_of(chosen), others, sorted(chosen))
    for rows, what in ((parts.train, "the episodes to train on"), (parts.held_out, "the episodes held out")):
        require_both(frames.label[rows], what)
    return parts


def require_both(label_N: Bool, what: str) -> None:
    """Raise UserError unless there are positive and negative frames."""
    positive, negative = int(np.sum(label_N)), int(np.sum(~np.asarray(label_N, bool)))
    if not positive or not negative:
        raise UserError(
            f"{what} hold {positive} frames of success and {negative} of failure; a classifier needs both: label or record the other kind."
        )


def fit(
    network: SuccessNetwork, frames: LabelledFrames, parts: Split, size: tuple[int, int], config: TrainingConfig,
    observe: Callable[[int, Mapping[str, float]], None],
) -> Fitted:  # fmt: skip
    """Train `network` in place. `observe` hears of (update, metrics) at every look at the held-out frames.

    Raises DataError where the loss is no number.
    """
    device = next(network.parameters()).device
    network.encoder.requires_grad_(not config.freeze)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    rng = np.random.default_rng(config.seed)
    held_label = frames.label[parts.held_out]
    best, best_loss, best_step, losses, step = copy.deepcopy(network.state_dict()), float("inf"), 0, [], 0
    for step in range(1, config.steps + 1):
        rows = _balanced(frames, parts.train, config.batch_size, rng)
        image = torch.from_numpy(frames.load(rows, size)).to(device)
        key = torch.from_numpy(rows).to(device)
        label = torch.from_numpy(frames.label[rows].astype(np.float32)).to(device)
        logit = network(augment(image, key, step, 0, config.augment, seed=config.seed))
        loss = F.binary_cross_entropy_with_logits(logit, label)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise DataError(f"the loss is {losses[-1]} at update {step}; give a lower --learning-rate.")
        if step % config.evaluate_every and step != config.steps:
            continue
        now = balanced_loss(logits(network, frames, parts.held_out, size), held_label)
        observe(step, {"loss": float(np.mean(losses)), "held_out/loss": now})
        losses = []
        if now < best_loss:
            best, best_loss, best_step = copy.deepcopy(network.state_dict()), now, step
        if step - best_step >= config.patience * config.evaluate_every:
            break
    network.load_state_dict(best)
    logit_N = logits(network, frames, parts.held_out, size)
    return Fitted(best_step, step, best_loss, *calibrate(logit_N, held_label), logit_N)


def logits(
    network: SuccessNetwork, frames: LabelledFrames, rows: Int, size: tuple[int, int], batch: int = 256
) -> NDArray[np.float64]:
    """(len(rows),) without augmentation."""
    device, out = next(network.parameters()).device, []
    with torch.no_grad(), evaluating(network):
        for i in range(0, len(rows), batch):
            image = torch.from_numpy(frames.load(rows[i : i + batch], size)).to(device)
            out.append(network(image).double().cpu().numpy())
    return np.concatenate(out) if out else np.zeros(0)


def balanced_loss(logit_N: NDArray[np.float64], label_N: Bool) -> float:
    """Mean log loss of the two classes, each of equal weight."""
    loss = np.logaddexp(0.0, np.where(label_N, -logit_N, logit_N))
    return float((loss[label_N].mean() + loss[~label_N].mean()) / 2)


def calibrate(logit_N: NDArray[np.float64], label_N: Bool, iterations: int = 100) -> tuple[float, float]:
    """(scale, offset) that make sigmoid(scale * logit + offset) the probability on these items, at their share of positives.

    Platt's method: logistic regression by Newton steps against targets drawn in by one item of each class, so that items that
    are told apart without error do not give an infinite scale. A scale below 0.01 is raised to it: order is never reversed.
    """
    positive, negative = int(label_N.sum()), int((~label_N).sum())
    target = np.where(label_N, (positive + 1) / (positive + 2), 1 / (negative + 2))
    centre, spread = float(logit_N.mean()), max(float(logit_N.std()), 1e-9)
    design = np.stack([(logit_N - centre) / spread, np.ones(len(logit_N))], axis=1)
    weight = np.zeros(2)
    for _ in range(iterations):
        p = 1 / (1 + np.exp(-np.clip(design @ weight, -50, 50)))
        gradient = design.T @ (p - target)
        hessian = design.T @ (design * np.maximum(p * (1 - p), 1e-9)[:, None]) + 1e-6 * np.eye(2)
        move = np.linalg.solve(hessian, gradient)
        weight -= move * min(1.0, 2.0 / max(float(np.abs(move).max()), 1e-12))
        if np.abs(move).max() < 1e-10:
            break
    scale = max(float(weight[0]) / spread, 0.01)
    return scale, float(weight[1]) - scale * centre


def _balanced(frames: LabelledFrames, rows: Int, count: int, rng: np.random.Generator) -> Int:
    """`count` of the rows, half of them positive, with repetition."""
    good, bad = rows[frames.label[rows]], rows[~frames.label[rows]]
    half = count // 2
    chosen: Int = np.concatenate([rng.choice(good, half), rng.choice(bad, count - half)])
    return chosen
