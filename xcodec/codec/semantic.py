"""The trained part of the semantic branch: a convolution stack before the quantiser and one after it (paper §3.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .context import context_frames


class SemanticUnit(nn.Module):
    """Two convolutions behind ELUs, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, F] -> [B, D, F]."""
        return x + self.conv2(F.elu(self.conv1(F.elu(x))))


class SemanticEncoder(nn.Module):
    """Teacher features [B, D, F] -> semantic features [B, width, F], to be quantised with the acoustic ones."""

    def __init__(self, teacher_width: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(teacher_width, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(SemanticUnit(width), SemanticUnit(width), nn.Conv1d(width, width, 3, padding=1))
                for _ in range(blocks)
            )
        )
        self.context_frames = context_frames(self)
        """Frames of teacher features on either side of a frame that its own depend on."""

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, F] -> [B, width, F]."""
        return self.blocks(self.first(features))


class SemanticDecoder(nn.Module):
    """Quantised features [B, width, F] -> the teacher's features [B, D, F], as well as they can be told."""

    def __init__(self, width: int, teacher_width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv1d(width, width, 3, padding=1), SemanticUnit(width), SemanticUnit(width))
                for _ in range(blocks)
            )
        )
        self.last = nn.Conv1d(width, teacher_width, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """[B, width, F] -> [B, D, F]."""
        return self.last(self.blocks(self.first(features)))
