"""The critics of adversarial training. They live here, not in ``codec``, so that inference never loads them."""

from __future__ import annotations

from torch import Tensor, nn

from xcodec.train.config import DiscriminatorConfig

from .base import Verdict
from .period import PeriodDiscriminator
from .resolution import ResolutionDiscriminator
from .stft import StftDiscriminator

__all__ = ["Discriminators", "Verdict", "halves"]


class Discriminators(nn.Module):
    """All of them, each with its own opinion."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        members: list[nn.Module] = []
        if "stft" in config.kinds:
            members += [StftDiscriminator(hop, config.width) for hop in config.stft_hops]
        if "period" in config.kinds:
            members += [PeriodDiscriminator(period, config.width) for period in config.periods]
        if "resolution" in config.kinds:
            members += [ResolutionDiscriminator(size, config.width) for size in config.resolutions]
        self.members = nn.ModuleList(members)

    def forward(self, wav: Tensor) -> list[Verdict]:
        """[B, 1, T] -> one verdict from each."""
        return [member(wav) for member in self.members]


def halves(verdicts: list[Verdict]) -> tuple[list[Verdict], list[Verdict]]:
    """Verdicts on a batch and its reconstruction, stacked -> those on the one and those on the other."""
    split = [verdict.split() for verdict in verdicts]
    return [first for first, _ in split], [second for _, second in split]
