"""Teaching the network: losses, schedule, weight averaging, checkpoints."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.training.pneumonia_ct.network import Mirrored, SliceNet
from models.training.pneumonia_ct.sampling import Sampler, Sources

#: Pixels that soften the Dice of tiny lesions.
_SMOOTH_PX = 30.0


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that may be chosen about a training.

    Parameters
    ----------
    steps, batch, edge
        Batches, slices in a batch, pixels along either edge of a slice's window.
    learning_rate, weight_decay
        Of AdamW; the rate is the highest of a one-cycle schedule. The encoder learns at a third of it.
    averaging
        Share that the averaged weights keep at each step.
    seed
        Of weights, batches and changes.
    """

    steps: int = 2400
    batch: int = 14
    edge: int = 192
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    averaging: float = 0.995
    seed: int = 0


def train(sources: Sources, setup: Setup, checkpoint: Path, tell: Callable[[str], None]) -> SliceNet:
    """Train, or go on where a checkpoint ends.

    Parameters
    ----------
    sources
        What to train on.
    setup
        How.
    checkpoint
        Written every 100 steps and at the end; read first, where it exists.
    tell
        Is told how it goes.

    Returns
    -------
    SliceNet
        With averaged weights, ready for use.
    """
    torch.manual_seed(setup.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = SliceNet().to(device, memory_format=torch.channels_last)
    averaged = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(_groups(network, setup), weight_decay=setup.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in optimiser.param_groups], total_steps=setup.steps, pct_start=0.15
    )
    parts = {"network": network, "averaged": averaged, "optimiser": optimiser, "schedule": schedule}
    first = _resume(checkpoint, parts, setup)
    sampler = Sampler(sources, setup.batch, setup.edge)
    start, losses = time.monotonic(), 0.0
    for step in range(first, setup.steps):
        network.train()
        batch = sampler.batch(step, setup.seed)
        pictures, targets, weights = (
            torch.from_numpy(part).to(device) for part in (batch.pictures, batch.targets, batch.weights)
        )
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(pictures.contiguous(memory_format=torch.channels_last))
        loss = total_loss(logits.float(), targets, weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        _average(averaged, network, min(setup.averaging, (step + 1) / (step + 10)))
        losses += float(loss.detach())
        if (step + 1) % 50 == 0:
            pace = (time.monotonic() - start) / (step + 1 - first)
            tell(f"step {step + 1}/{setup.steps}, loss {losses / 50:.3f}, {pace:.2f} s a step")
            losses = 0.0
        if (step + 1) % 100 == 0 or step + 1 == setup.steps:
            _save(checkpoint, parts, setup, step + 1)
    return averaged.eval()


def trained(checkpoint: Path) -> Mirrored:
    """Load the averaged weights of a checkpoint for use, mirror picture included."""
    network = SliceNet(pretrained=False)
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["averaged"])
    return Mirrored(network).eval()


def setup_of(checkpoint: Path) -> dict[str, Any]:
    """Return the set-up that a checkpoint was trained with."""
    return dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["setup"])


def total_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return cross-entropy plus soft Dice of every channel, where the truth is known.

    Parameters
    ----------
    logits, targets, weights
        (n, channel, y, x) float32; weight 0 where the truth is not known.
    """
    shares = torch.tensor([0.7, 1.0, 0.3], device=logits.device)
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none") * weights
    # Consolidation is judged inside lesions only: a smaller area, so that its mean is taken over it alone.
    known = weights.sum((0, 2, 3)).clamp(min=1.0)
    probabilities = torch.sigmoid(logits) * weights
    truth = targets * weights
    # Slice by slice, so that a small lesion counts as much as a large one. Where there is nothing, entropy
    # is enough: a Dice of nothing would teach to be silent before lesions are learnt.
    area = (2, 3)
    size = truth.sum(area)
    overlap = (2.0 * (probabilities * truth).sum(area) + _SMOOTH_PX) / (
        probabilities.sum(area) + size + _SMOOTH_PX
    )
    there = (size > 0).float()
    missed = ((1.0 - overlap) * there).sum(0) / there.sum(0).clamp(min=1.0)
    # Lesions are few: their entropy counts more, or the network would call everything healthy at first.
    scale = torch.tensor([1.0, 4.0, 1.0], device=logits.device)
    return (shares * (scale * entropy.sum((0, 2, 3)) / known + missed)).sum()


def _groups(network: SliceNet, setup: Setup) -> list[dict[str, object]]:
    encoder = [one for one in network.blocks.parameters() if one.requires_grad]
    decoder = [
        part for module in (network.ups, network.head, network.switches) for part in module.parameters()
    ]
    return [
        {"params": encoder, "lr": setup.learning_rate / 3.0},
        {"params": decoder, "lr": setup.learning_rate},
    ]


@torch.no_grad()
def _average(averaged: SliceNet, network: SliceNet, keep: float) -> None:
    """Move the averaged weights, and the statistics of normalisation, towards the present ones."""
    for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1.0 - keep)
        else:
            mean.copy_(value)


def _save(checkpoint: Path, parts: dict[str, object], setup: Setup, step: int) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    state = {name: part.state_dict() for name, part in parts.items()}  # type: ignore[attr-defined]
    part_file = checkpoint.with_suffix(".part")
    torch.save({**state, "step": step, "setup": asdict(setup)}, part_file)
    part_file.replace(checkpoint)


def _resume(checkpoint: Path, parts: dict[str, object], setup: Setup) -> int:
    """Load a checkpoint where there is one; return the number of steps done."""
    if not checkpoint.is_file():
        return 0
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state["setup"] != asdict(setup):
        raise SystemExit(f"{checkpoint} was trained with another set-up; delete it or give the same options.")
    for name, part in parts.items():
        part.load_state_dict(state[name])  # type: ignore[attr-defined]
    return int(state["step"])
