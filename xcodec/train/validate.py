"""Measure a codec on crops that are always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xcodec.codec.model import XCodec
from xcodec.data.crops import CorpusConfig, CropBatch, CropConfig, RandomCrops, crop_loader

from .discriminators import Discriminators
from .losses import CodecLosses, adversarial_losses, discriminator_loss
from .progress import Averages

EXAMPLES = 2
"""Clips to listen to."""


@dataclass
class Validation:
    """What a validation found."""

    losses: dict[str, float]
    """``valid-K/name``, the mean of each loss with K codebooks; ``valid/name`` before there are codebooks."""
    originals: Tensor
    """[n, 1, T]: some of the clips."""
    reconstructions: Tensor
    """[n, 1, T]: the same from the most codebooks."""


class Validator:
    """The validation clips, read once."""

    def __init__(self, corpora: Sequence[CorpusConfig], crop: CropConfig, count: int, batch_size: int) -> None:
        crops = RandomCrops.from_config(corpora, crop, seed=0)
        batches: list[CropBatch] = list(crop_loader(crops, batch_size, steps=-(-count // batch_size)))
        self.batches = [batch.audio for batch in batches]

    @torch.no_grad()
    def __call__(
        self,
        codec: XCodec,
        losses: CodecLosses,
        discriminators: Discriminators | None,
        codebook_counts: Sequence[int | None],
    ) -> Validation:
        """Every loss at every number of codebooks; nothing learns from it."""
        device = next(codec.parameters()).device
        training = codec.training
        codec.eval()
        found: dict[str, float] = {}
        for count in codebook_counts:
            averages = Averages()
            for index, batch in enumerate(self.batches):
                clips = batch.to(device)
                used = None if count is None else torch.full((len(clips),), count, device=device)
                output = codec(clips, used)
                assert output.audio is not None, "not left out unless asked for"
                if index == 0:
                    examples = (clips[:EXAMPLES].cpu(), output.audio[:EXAMPLES].float().cpu())
                values = losses(output, clips)
                mistakes = {}
                if discriminators is not None:
                    on_real, on_fake = discriminators(clips), discriminators(output.audio.float())
                    values |= adversarial_losses(losses.weights, on_real, on_fake)
                    mistakes["discriminator"] = discriminator_loss(on_real, on_fake)
                averages.add({"total": losses.weighted(values), **values, **mistakes})
            where = "valid" if count is None else f"valid-{count}"
            found |= {f"{where}/{name}": mean for name, mean in averages.report().items()}
        codec.train(training)
        return Validation(found, *examples)
