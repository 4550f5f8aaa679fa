"""A moving average of weights: smoother than the weights themselves, and often better to use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverage:
    """The exponential moving average of some parameters."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.parameters = parameters
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the parameters. Early in a run the average is short, or it would remember the first weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), list(self.parameters.values()), 1 - decay)

    @contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """While it lasts, the parameters are their averages."""
        own = {name: value.detach().clone() for name, value in self.parameters.items()}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(own)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Continue from saved averages."""
        for name, value in self.values.items():
            value.copy_(values[name])

    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.data.copy_(values[name])
