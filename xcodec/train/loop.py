"""What every training run shares, of codecs and of language models: how it starts, steps, reports, saves and stops.

The same code runs on one CPU, one GPU, or many of either under ``torchrun`` and ``accelerate launch``. All randomness
is a function of the seed and the step, so a run that is killed and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration
from torch import Tensor, nn

from xcodec.codec.model import XCodec
from xcodec.train.config import RunConfig
from xcodec.train.logging import Reporter, Statistics, Validation
from xcodec.utils.checkpoint_io import CheckpointError
from xcodec.utils.config import ConfigError
from xcodec.utils.files import atomic_folder
from xcodec.utils.signals import ENDING

# A moving average of weights: smoother than the weights themselves, and often better to use.


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


# Checkpoints of a run: written whole or not at all, checked when read, the newest few kept.
#
#     runs/NAME/checkpoints/step-00001000/
#         config.json           the model's config
#         model.safetensors     its weights, with a codec's teacher: this folder is a model that can be loaded and used
#         training.pt           step, optimisers, discriminators, averaged weights: what resuming needs besides
#         checksums.json        SHA-256 of the files above
#
# Nothing is unpickled: ``training.pt`` is read with ``weights_only=True``.

CHECKSUMS = "checksums.json"


def load_weights(source: str | Path, codec: XCodec) -> None:
    """Fill a codec with the weights of anything that :func:`xcodec.load` loads.

    Raises:
        CheckpointError: nothing is there, or it is another network.
    """
    try:
        codec.load_state_dict(XCodec.from_pretrained(source).state_dict())
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
        for left in self.folder.glob(".*step-*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        # One of that name is left by a run that was resumed from an earlier step.
        replaced = frozenset(path.name for path in final.glob("*"))
        with atomic_folder(final, replaced) as fresh:
            write(fresh)
            _add_training(fresh, training)
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


Batch = TypeVar("Batch")

STOP_SIGNALS = (signal.SIGINT, *ENDING)


class DivergedError(ValueError):
    """A loss that is no longer a number."""


def find_checkpoint(checkpoints: Checkpoints, resume: bool, log: Callable[[str], None]) -> Path | None:
    """The newest intact checkpoint of a run that is to be resumed; None for one that begins.

    Raises:
        CheckpointError: there are checkpoints, but none is intact.
        ConfigError: there are, but the run is not to be resumed.
    """
    run = checkpoints.folder.parent
    newest, complaints = checkpoints.newest()
    if newest is None and complaints:
        raise CheckpointError(f"no checkpoint in {run} is intact: {'; '.join(complaints)}")
    if newest is not None and not resume:
        raise ConfigError(f"{run} has checkpoints already; resume it, or give this run another name")
    for complaint in complaints:
        log(f"{complaint}; falling back to the one before")
    if newest is not None:
        log(f"resuming from {newest}")
    return newest


@contextmanager
def stop_signals(ranks: int) -> Iterator[list[int]]:
    """The list fills when the process is asked to end: the step is then finished and saved.

    What it ignores already, as SIGHUP under nohup, it goes on ignoring. Only for a single rank: several do not receive
    a signal at the same step, and would wait for each other.
    """
    received: list[int] = []
    if ranks > 1:
        yield received
        return
    heeded = [each for each in STOP_SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, lambda number, _: received.append(number)) for each in heeded}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class Trainer(ABC, Generic[Batch]):
    """One run: its state, and the loop around its steps. A subclass says what a step is."""

    optimizer: torch.optim.Optimizer
    trainable: dict[str, nn.Parameter]
    average: WeightAverage | None = None

    def __init__(self, config: RunConfig) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.settings = config
        self.step = 0
        try:
            self.accelerator = Accelerator(
                cpu=config.device == "cpu",
                mixed_precision=config.mixed_precision,
                gradient_accumulation_steps=config.accumulation,
                log_with=list(config.trackers) or None,
                project_config=ProjectConfiguration(logging_dir=str(config.folder / "tensorboard")),
                kwargs_handlers=[
                    # A step may leave parameters without a gradient: clips differ in how many codebooks they use.
                    # Buffers need no broadcast: every rank computes the same ones.
                    DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
                ],
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error
        available = {str(tracker) for tracker in self.accelerator.log_with or ()}
        if lacking := set(config.trackers) - available:
            raise ConfigError(f"trackers: {', '.join(sorted(lacking))} is not installed (pip install {min(lacking)})")
        torch.manual_seed(config.seed)
        self.checkpoints = Checkpoints(config.folder / "checkpoints", config.keep)

    # --- what a step is ------------------------------------------------------------------------------------

    @abstractmethod
    def batches(self) -> Iterator[list[Batch]]:
        """The batches of each step still to come: one for each pass of this rank."""

    @abstractmethod
    def train_step(self, batch: Batch, number: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """Forward, backward and update for one batch, of which it is told the number within its step.

        Returns:
            Every loss by its name, and what the reporter is to count.
        """

    @abstractmethod
    def describe(self, batch: Batch) -> str:
        """What is in a batch, for whoever wants to see what broke a run."""

    @abstractmethod
    def set_learning_rates(self) -> dict[str, float]:
        """Those of this step; gives them by the names they have in the log."""

    @abstractmethod
    def validate(self) -> Validation | None:
        """Measure, with the averaged weights if there are any; None if there is nothing to measure on."""

    @abstractmethod
    def initialise(self) -> None:
        """Give a run that begins its first weights."""

    @abstractmethod
    def load_model(self, folder: Path) -> None:
        """Take the model's weights from a checkpoint."""

    @abstractmethod
    def write_model(self, folder: Path) -> None:
        """Write the model in a folder of its own, whole or not at all."""

    def state(self) -> dict[str, Any]:
        """What resuming needs, besides the model, its optimiser and its average."""
        return {}

    def load_state(self, training: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave."""

    def before_step(self, log: Callable[[str], None]) -> None:
        """What a step needs that is more than its batches."""

    def accumulated(self) -> Sequence[nn.Module]:
        """The networks whose gradients are added up over the passes of a step."""
        return ()

    # --- the run -------------------------------------------------------------------------------------------

    def start(self, resume: bool) -> None:
        """Continue from the newest intact checkpoint, or initialise."""
        newest = find_checkpoint(self.checkpoints, resume, self.accelerator.print)
        if newest is None:
            self.initialise()
            if self.average is not None:
                self.average.load(self.trainable)
            return
        self.load_model(newest)
        training = load_training(newest)
        self.step = training["step"]
        self.optimizer.load_state_dict(training["optimizer"])
        if self.average is not None:
            self.average.load(training.get("average", self.trainable))
        if self.accelerator.scaler is not None and "scaler" in training:
            self.accelerator.scaler.load_state_dict(training["scaler"])
        self.load_state(training)

    def reporter(self, statistics: Statistics, sample_rate: int, seconds_per_step: float) -> Reporter:
        """What shows and logs the steps from here to the last.

        Args:
            statistics: of what :meth:`train_step` counts.
            sample_rate: of the audio of a validation, in Hz.
            seconds_per_step: of audio, all ranks together.
        """
        config = self.settings
        return Reporter(
            self.accelerator, config.folder, config.name, statistics, sample_rate, self.step, config.steps,
            seconds_per_step,
        )  # fmt: skip

    def run_steps(self, reporter: Reporter) -> None:
        """From wherever the run stands to its last step; then the model is written, to ``model`` beside the logs."""
        config, main = self.settings, self.accelerator.is_main_process
        if main:
            config.folder.mkdir(parents=True, exist_ok=True)
            (config.folder / "train.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n", "utf-8")
        try:
            with stop_signals(self.accelerator.num_processes) as stopping:
                for batches in self.batches():
                    rates = self.set_learning_rates()
                    self.before_step(reporter.display.print)
                    for number, batch in enumerate(batches):
                        torch.manual_seed(config.seed * 1_000_003 + self.step)
                        with self.accelerator.accumulate(*self.accumulated()):
                            values, counted = self.train_step(batch, number)
                        self.stop_if_diverged(values, batch)
                        reporter.add(values, counted)
                    if self.average is not None:
                        self.average.update(self.step)
                    self.step += 1
                    stop = bool(stopping)  # once: a signal may come at any line, also between those that ask
                    last = self.step == config.steps or stop
                    reporter.display.advance(self.step)
                    if self.step % config.log_every == 0 or last:
                        reporter.report(self.step, rates)
                    if self.step % config.validate_every == 0 and (found := self.validate()) is not None:
                        reporter.validation(self.step, found)
                    if self.step % config.checkpoint_every == 0 or last:
                        self.save()
                    if stop:
                        reporter.display.print(f"stopped at step {self.step}; its checkpoint is written")
                        return
        finally:
            reporter.close()
        if main:
            with self.averaged():
                self.write_model(config.folder / "model")

    def averaged(self) -> AbstractContextManager[None]:
        """While it lasts, the model has its averaged weights, if averages are kept."""
        return self.average.in_place() if self.average else nullcontext()

    def stop_if_diverged(self, values: dict[str, Tensor], batch: Batch) -> None:
        """Say where a run broke, while the batch that broke it is still known, and before it is saved as a checkpoint.

        Finite losses can have gradients that are not, which have just spoilt the weights.
        """
        finite = torch.stack([value.detach().float() for value in values.values()]).isfinite().tolist()
        broken = next((name for name, fine in zip(values, finite, strict=True) if not fine), None)
        # Under fp16, gradients overflow now and then: the scaler leaves such a step out and scales less.
        if broken is None or (self.accelerator.scaler is not None and broken.endswith("gradient")):
            return
        good, _ = self.checkpoints.newest()
        raise DivergedError(
            f"diverged: {broken} is {values[broken].item()} at step {self.step}; "
            f"last good checkpoint: {good or 'none'}; {self.describe(batch)}"
        )

    def save(self) -> None:
        """Write a checkpoint; the first rank does, the others wait."""
        if self.accelerator.is_main_process:
            training = {"step": self.step, "optimizer": self.optimizer.state_dict(), **self.state()}
            if self.average is not None:
                training["average"] = self.average.values
            if self.accelerator.scaler is not None:
                training["scaler"] = self.accelerator.scaler.state_dict()
            self.checkpoints.save(self.step, self.write_model, training)
        self.accelerator.wait_for_everyone()
