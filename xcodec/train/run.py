"""What every training run shares, of codecs and of language models: how it starts, steps, reports, saves and stops.

The same code runs on one CPU, one GPU, or many of either under ``torchrun`` and ``accelerate launch``. All randomness
is a function of the seed and the step, so a run that is killed and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import json
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from xcodec.settings import ConfigError
from xcodec.storage import CheckpointError

from .averaging import WeightAverage
from .checkpoint import Checkpoints
from .config import RunConfig
from .progress import Reporter

if TYPE_CHECKING:
    from .validate import Validation

Batch = TypeVar("Batch")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DivergedError(ValueError):
    """A loss that is no longer a number."""


def find_checkpoint(checkpoints: Checkpoints, resume: bool, say: Callable[[str], None]) -> Path | None:
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
        say(f"{complaint}; falling back to the one before")
    if newest is not None:
        say(f"resuming from {newest}")
    return newest


@contextmanager
def stop_signals(ranks: int) -> Iterator[list[int]]:
    """The list fills when the process is asked to end: the step is then finished and saved.

    Only for a single rank. Several do not hear a signal at the same step, and would wait for each other.
    """
    received: list[int] = []
    if ranks > 1:
        yield received
        return
    before = {each: signal.signal(each, lambda number, _: received.append(number)) for each in STOP_SIGNALS}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class Run(ABC, Generic[Batch]):
    """One run: where it stands, and the loop around its steps. Who inherits says what a step is."""

    average: WeightAverage | None = None

    def __init__(self, config: RunConfig) -> None:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.settings = config
        self.step = 0
        self.accelerator = Accelerator(
            cpu=config.device == "cpu",
            mixed_precision=config.mixed_precision,
            gradient_accumulation_steps=config.accumulation,
            kwargs_handlers=[
                # A step may leave parameters without a gradient: clips differ in how many codebooks they use.
                # Buffers need no broadcast: every rank computes the same ones.
                DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
            ],
        )
        torch.manual_seed(config.seed)
        self.checkpoints = Checkpoints(config.folder / "checkpoints", config.keep)

    # --- what a step is ------------------------------------------------------------------------------------

    @abstractmethod
    def batches(self) -> Iterator[list[Batch]]:
        """The batches of each step still to come: one for each pass of this rank."""

    @abstractmethod
    def learn(self, batch: Batch, number: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """One pass, of which it is told the number within its step.

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
    def state(self) -> dict[str, Any]:
        """What resuming needs, besides the model."""

    @abstractmethod
    def write_model(self, folder: Path) -> None:
        """Write the model in a folder of its own, whole or not at all."""

    def before_step(self, say: Callable[[str], None]) -> None:
        """What a step needs that is more than its batches."""

    def accumulated(self) -> Sequence[nn.Module]:
        """The networks whose gradients are added up over the passes of a step."""
        return ()

    # --- the loop ------------------------------------------------------------------------------------------

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
                    self.before_step(reporter.display.say)
                    for number, batch in enumerate(batches):
                        torch.manual_seed(config.seed * 1_000_003 + self.step)
                        with self.accelerator.accumulate(*self.accumulated()):
                            values, counted = self.learn(batch, number)
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
                        reporter.display.say(f"stopped at step {self.step}; its checkpoint is written")
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
            training = {"step": self.step, **self.state()}
            if self.average is not None:
                training["average"] = self.average.values
            if self.accelerator.scaler is not None:
                training["scaler"] = self.accelerator.scaler.state_dict()
            self.checkpoints.save(self.step, self.write_model, training)
        self.accelerator.wait_for_everyone()
