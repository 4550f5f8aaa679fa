"""Crops that come again, and the teacher's features of them, kept on disk.

The teacher never learns, so what it says of a crop need be computed once. In an endless stream of random crops none
comes twice, though; ``data.distinct_crops`` closes the stream into a ring, and from its second round on the teacher
costs a read. Each second of audio takes 38 kB for a teacher 384 wide, at half precision.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xcodec.codec.teacher import Teacher
from xcodec.data.crops import CorpusConfig, Crop, CropConfig, RandomCrops


class RecurringCrops(RandomCrops):
    """The first ``distinct`` crops of the stream, over and over; all of it if ``None``."""

    distinct: int | None = None

    @classmethod
    def among(
        cls, distinct: int | None, corpora: Sequence[CorpusConfig], config: CropConfig, seed: int
    ) -> RecurringCrops:
        """Read the corpora, mix them, and close the ring."""
        crops = cls.from_config(corpora, config, seed)
        crops.distinct = distinct
        return crops

    def __getitem__(self, index: int) -> Crop:
        """Crop number ``index``, counted around the ring."""
        return super().__getitem__(index if self.distinct is None else index % self.distinct)


def remember_features(teacher: Teacher, folder: Path) -> None:
    """From now on, let a teacher look for each clip's features in a folder before it computes them.

    Features are rounded to half precision whether they were found or not, so a run does not depend on what was there.
    """
    compute = teacher.forward
    own = folder / _fingerprint(teacher)

    @torch.no_grad()
    def look_up(wav: Tensor, frames: int) -> Tensor:
        names = [hashlib.sha256(clip.tobytes()).hexdigest() for clip in wav.cpu().numpy()]
        paths = [own / name[:2] / f"{name}-{frames}.npy" for name in names]
        missing = [index for index, path in enumerate(paths) if not path.exists()]
        if missing:
            for index, features in zip(missing, compute(wav[missing], frames).half().cpu().numpy(), strict=True):
                _write(paths[index], features)
        return torch.from_numpy(np.stack([np.load(path) for path in paths])).to(wav.device).float()

    teacher.forward = look_up  # type: ignore[method-assign]


def _fingerprint(teacher: Teacher) -> str:
    """Of config and weights: another teacher must not find these features."""
    digest = hashlib.sha256(repr(teacher.config).encode())
    for value in teacher.state_dict().values():
        digest.update(value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _write(path: Path, features: np.ndarray) -> None:
    """Whole or not at all, though several ranks may write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.stem}.{os.getpid()}.partial.npy")
    np.save(beside, features)
    os.replace(beside, path)
