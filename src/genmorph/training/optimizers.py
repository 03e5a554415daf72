"""Optimisers, and their state by the names of weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from genmorph.training.options import TrainingOptions

if TYPE_CHECKING:
    import torch


def make_optimizer(
    weights: Iterable[torch.nn.Parameter], options: TrainingOptions
) -> torch.optim.Optimizer:
    """The optimiser of one phase."""
    import torch

    if options.optimizer == "adamw":
        return torch.optim.AdamW(
            weights, lr=options.learning_rate, weight_decay=options.weight_decay
        )
    return torch.optim.Adam(weights, lr=options.learning_rate)


def get_moments(
    model: torch.nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, torch.Tensor]:
    """The tensors of all optimisers, by weight and kind: each weight belongs to one of them."""
    return {
        f"{name}/{kind}": value
        for optimizer in optimizers.values()
        for name, weights in model.named_parameters()
        for kind, value in optimizer.state.get(weights, {}).items()
    }


def set_moments(
    model: torch.nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    moments: Mapping[str, torch.Tensor],
) -> None:
    """Give the optimisers what `get_moments` took."""
    names = {weights: name for name, weights in model.named_parameters()}
    by_weight: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        name, kind = key.rsplit("/", 1)
        by_weight.setdefault(name, {})[kind] = value
    for optimizer in optimizers.values():
        groups = optimizer.state_dict()["param_groups"]
        order = [names[weights] for group in optimizer.param_groups for weights in group["params"]]
        state = {place: by_weight[name] for place, name in enumerate(order) if name in by_weight}
        optimizer.load_state_dict({"state": state, "param_groups": groups})
