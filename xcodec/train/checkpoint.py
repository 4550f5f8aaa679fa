"""Checkpoints of a run: written whole or not at all, checked when read, the newest few kept.

    runs/NAME/checkpoints/step-00001000/
        config.json           the model's config
        model.safetensors     its weights, with a codec's teacher: this folder is a model that can be loaded and used
        training.pt           step, optimisers, discriminators, averaged weights: what resuming needs besides
        checksums.json        SHA-256 of the files above

Nothing is unpickled: ``training.pt`` is read with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from xcodec.codec.checkpoint import CheckpointError, load
from xcodec.codec.model import XCodec

CHECKSUMS = "checksums.json"


def load_weights(source: str | Path, codec: XCodec) -> None:
    """Fill a codec with the weights of anything that :func:`xcodec.load` loads.

    Raises:
        CheckpointError: nothing is there, or it is another network.
    """
    try:
        codec.load_state_dict(load(source).state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{source} holds another network than this config's: {reason[:200]}") from error


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def all(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*"))

    def save(self, step: int, write: Callable[[Path], None], training: dict[str, Any]) -> Path:
        """Write a checkpoint under a hidden name, then rename it; drop the oldest beyond ``keep``.

        Args:
            step: how many were made.
            write: puts the model into a folder, so that it can be loaded and used.
            training: tensors and numbers that only resuming needs.

        Raises:
            OSError: it cannot be written, as on a full disk; nothing of it is left then.
        """
        final = self.folder / f"step-{step:08d}"
        for left in self.folder.glob(".*step-*.partial*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        beside = self.folder / f".{final.name}.partial"
        beside.mkdir(parents=True)
        try:
            write(beside)
            _add_training(beside, training)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)  # it may be what has filled the disk
            raise
        if final.exists():  # left by a run that was resumed from an earlier step
            shutil.rmtree(final)
        os.replace(beside, final)
        # Later ones, which were damaged or the run would have gone on from them, must not push out those of now.
        for old in [folder for folder in self.all() if folder.name <= final.name][: -self.keep]:
            shutil.rmtree(old)
        return final

    def newest(self) -> tuple[Path | None, list[str]]:
        """The newest checkpoint that is intact, and one line for each newer one that is not."""
        complaints: list[str] = []
        for folder in reversed(self.all()):
            fault = _fault(folder)
            if fault is None:
                return folder, complaints
            complaints.append(f"checkpoint {folder} is damaged ({fault})")
        return None, complaints


def _add_training(folder: Path, training: dict[str, Any]) -> None:
    try:
        torch.save(training, folder / "training.pt")
    except RuntimeError as error:  # all that torch says of a full disk is "unexpected pos"
        raise OSError(f"cannot write {folder / 'training.pt'}; is the disk full?") from error
    sums = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=2) + "\n", "utf-8")
    for path in folder.iterdir():
        _flush(path)


def load_training(folder: Path) -> dict[str, Any]:
    """What :meth:`Checkpoints.save` was given as ``training``, on the CPU."""
    training: dict[str, Any] = torch.load(folder / "training.pt", map_location="cpu", weights_only=True)
    return training


def _fault(folder: Path) -> str | None:
    try:
        sums = json.loads((folder / CHECKSUMS).read_text("utf-8"))
        for name, expected in sums.items():
            if _sha256(folder / name) != expected:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, AttributeError) as error:
        return " ".join(str(error).split())
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Onto the disk, so that a power cut after the rename cannot leave an empty file under the final name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
