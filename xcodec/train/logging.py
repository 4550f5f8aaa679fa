"""What a run reports: a bar or plain lines, ``log.jsonl``, trackers such as TensorBoard, and validation."""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor

from xcodec.codec.model import XCodec
from xcodec.data.crops import CorpusConfig, CropBatch, CropConfig, RandomCrops, crop_loader
from xcodec.train.discriminators import Discriminators
from xcodec.train.losses import CodecLosses, adversarial_losses, discriminator_loss
from xcodec.utils.json_lines import append_lines, read_lines, write_lines
from xcodec.utils.spectra import stft


class Statistics(Protocol):
    """What is logged beside the losses, and is no mean of passes: counted over all of them, and reported at once."""

    def add(self, counted: Tensor) -> None:
        """Count what `train_step` gave for one pass."""

    def report(self) -> dict[str, float]:
        """The numbers since the last report, of all ranks together, by their names in the log. Every rank must ask."""


class CodebookUsage:
    """How often each entry of each codebook was chosen since the last report."""

    def __init__(self, codebooks: int, size: int) -> None:
        self.counts = torch.zeros(codebooks, size)

    def add(self, counted: Tensor) -> None:
        """Count codes [B, K, F]."""
        self.counts = self.counts.to(counted.device)
        for level, chosen in enumerate(counted.transpose(0, 1)):  # (B, K, F) -> (K, B, F)
            self.counts[level] += torch.bincount(chosen.flatten(), minlength=self.counts.shape[1])

    def report(self) -> dict[str, float]:
        """``usage/k``, the share of entries chosen at all, and ``perplexity/k``, as many as if all were chosen
        equally often, of each level; then start anew.
        """
        values = {}
        for level, counts in enumerate(sum_of_ranks(self.counts), start=1):
            if counts.sum() > 0:
                share = counts / counts.sum()
                values[f"usage/{level}"] = float((counts > 0).float().mean())
                values[f"perplexity/{level}"] = float(torch.special.entr(share).sum().exp())
        self.counts.zero_()
        return values


class Averages:
    """Means of named scalars since the last report."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one scalar to each mean."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach()
            self.counts[name] += 1

    def report(self, *, of_all_ranks: bool = False) -> dict[str, float]:
        """The means; then start anew. ``of_all_ranks`` needs every rank to ask."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        if of_all_ranks:
            means = {name: sum_of_ranks(mean) / _ranks() for name, mean in means.items()}
        self.sums.clear()
        self.counts.clear()
        return {name: float(mean) for name, mean in means.items()}


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_of_ranks(value: Tensor) -> Tensor:
    """Of all ranks, to all of them."""
    if _ranks() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


class JsonLog:
    """``log.jsonl``: one line of JSON for each report. A resumed run drops what lies beyond its checkpoint."""

    def __init__(self, path: Path, first_step: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        records = read_lines(path) if path.exists() else []
        write_lines(path, [record for record in records if record["step"] <= first_step])

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append a line."""
        # A gradient that overflows under fp16 is infinite, for which JSON has no number.
        finite = {name: round(value, 6) if math.isfinite(value) else None for name, value in values.items()}
        append_lines(self.path, [{"step": step, **finite}])


class Display:
    """A rich bar on a terminal, plain lines otherwise; silent on all ranks but the first."""

    def __init__(self, first_step: int, steps: int, seconds_per_step: float, *, silent: bool = False) -> None:
        self.steps = steps
        self.seconds_per_step = seconds_per_step
        self.silent = silent
        self.first_step = first_step
        self.started = time.perf_counter()
        self.since = (self.started, first_step)
        self.bar: Any = None
        if not silent and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress
            from rich.table import Column

            columns = (
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[speed]}"),
                # over several lines if need be: a narrow terminal would cut off most of the losses
                TextColumn("{task.description}", table_column=Column(ratio=1)),
            )
            self.bar = RichProgress(*columns, console=Console(stderr=True), expand=True)
            self.task = self.bar.add_task("", total=steps, completed=first_step, speed="")
            self.bar.start()

    def advance(self, step: int) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(self.task, completed=step)

    def speed(self, step: int) -> float:
        """Seconds of audio per second since this was last asked."""
        now = time.perf_counter()
        before, first = self.since
        self.since = (now, step)
        return (step - first) * self.seconds_per_step / max(now - before, 1e-9)

    def report(self, step: int, values: dict[str, float]) -> None:
        """Show the losses and the speed."""
        speed = values["audio_per_second"]
        losses = " ".join(
            f"{name} {value:.4g}" for name, value in values.items() if "/" not in name and name != "audio_per_second"
        )
        if self.bar is not None:
            self.bar.update(self.task, description=losses, speed=f"{speed:.3g} s/s")
        else:
            per_step = (time.perf_counter() - self.started) / max(1, step - self.first_step)
            left = _clock((self.steps - step) * per_step)
            self.print(f"step {step}/{self.steps} left {left} {losses} audio_per_second {speed:.4g}")

    def print(self, message: str) -> None:
        """Print one line."""
        if self.silent:
            return
        if self.bar is not None:
            self.bar.console.print(message, highlight=False)
        else:
            sys.stderr.write(f"{message}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()


def _clock(seconds: float) -> str:
    """
    >>> _clock(3725)
    '1:02:05'
    """
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


class Reporter:
    """All of the above for one run, and accelerate's trackers. Only the first rank writes; all of them count.

    Args:
        accelerator: with the trackers of the run.
        folder: for ``log.jsonl``.
        name: of the run, for the trackers.
        statistics: of what a step counts.
        sample_rate: of the audio of a validation, in Hz.
        first_step: from which the run goes on; what is logged beyond it is dropped.
        steps: of the whole run.
        seconds_per_step: of audio, all ranks together.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        folder: Path,
        name: str,
        statistics: Statistics,
        sample_rate: int,
        first_step: int,
        steps: int,
        seconds_per_step: float,
    ) -> None:
        self.accelerator = accelerator
        self.sample_rate = sample_rate
        self.averages = Averages()
        self.statistics = statistics
        main = accelerator.is_main_process
        self.display = Display(first_step, steps, seconds_per_step, silent=not main)
        self.json_log = JsonLog(folder / "log.jsonl", first_step) if main else None
        accelerator.init_trackers(name, init_kwargs={"tensorboard": {"purge_step": first_step + 1}})

    def add(self, losses: dict[str, Tensor], counted: Tensor | None) -> None:
        """Take in one pass, and what is counted of it, if anything."""
        self.averages.add(losses)
        if counted is not None:
            self.statistics.add(counted)

    def report(self, step: int, learning_rates: dict[str, float]) -> None:
        """Log everything since the last report. Every rank must call it."""
        values = {
            **self.averages.report(of_all_ranks=True),
            **learning_rates,
            "audio_per_second": self.display.speed(step),
            **self.statistics.report(),
        }
        self.display.report(step, values)
        self._write(step, values)

    def validation(self, step: int, found: Validation) -> None:
        """Log what a validation found."""
        shown = " ".join(f"{name} {value:.4g}" for name, value in found.losses.items() if name.endswith("total"))
        self.display.print(f"step {step} {shown}")
        self._write(step, found.losses)
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard" and self.accelerator.is_main_process:
                self._add_examples(tracker.writer, step, found)

    def close(self) -> None:
        """Remove the bar, and let the trackers write what they have left."""
        self.display.close()
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def _write(self, step: int, values: dict[str, float]) -> None:
        if self.json_log is not None:
            self.json_log.write(step, values)
        self.accelerator.log(values, step=step)

    def _add_examples(self, writer: Any, step: int, found: Validation) -> None:
        """Clips and their reconstructions as audio, and as spectrograms, the original above."""
        for index, pair in enumerate(zip(found.originals, found.reconstructions, strict=True)):
            for name, wav in zip(("original", "reconstruction"), pair, strict=True):
                writer.add_audio(f"example-{index}/{name}", wav.clamp(-1, 1), step, self.sample_rate)
            image = torch.cat([_spectrogram_image(wav) for wav in pair], dim=1)
            writer.add_image(f"example-{index}/spectrograms", image, step)


def _spectrogram_image(wav: Tensor) -> Tensor:
    """Waveform [1, T] -> grey image [1, bins, F] in [0, 1]: 80 dB, low frequencies at the bottom."""
    magnitudes = stft(wav, torch.hann_window(512), 128).abs().transpose(1, 2)  # (1, F, bins) -> (1, bins, F)
    decibels = 20 * magnitudes.clamp(min=1e-4).log10()
    return ((decibels + 40) / 80).clamp(0, 1).flip(1)


# Validation of a codec, on crops that are always the same.

EXAMPLES = 2
"""Clips whose audio is logged."""


@dataclass
class Validation:
    """The results of a validation."""

    losses: dict[str, float]
    """``valid-K/name``, the mean of each loss with K codebooks; ``valid/name`` before there are codebooks."""
    originals: Tensor
    """[n, 1, T]: some of the clips."""
    reconstructions: Tensor
    """[n, 1, T]: the same with all codebooks."""


class Validator:
    """Measures a codec on crops that are read once, and are the same whenever it is asked."""

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
        known: Callable[[Tensor], dict[str, Tensor]] = lambda clips: {},
    ) -> Validation:
        """Every loss at every number of codebooks; nothing is updated.

        Args:
            codec: to be measured.
            losses: to be computed.
            discriminators: for the adversarial losses, if they take part.
            codebook_counts: numbers of codebooks; None skips the quantiser.
            known: what of clips need not be computed, as arguments of the codec.
        """
        device = next(codec.parameters()).device
        training = codec.training
        codec.eval()
        found: dict[str, float] = {}
        for count in codebook_counts:
            averages = Averages()
            for index, batch in enumerate(self.batches):
                clips = batch.to(device)
                used = None if count is None else torch.full((len(clips),), count, device=device)
                output = codec(clips, used, **known(clips))
                assert output.audio is not None, "not left out unless asked for"
                if index == 0:
                    examples = (clips[:EXAMPLES].cpu(), output.audio[:EXAMPLES].float().cpu())
                values = losses(output, clips)
                discriminator = {}
                if discriminators is not None:
                    on_real, on_fake = discriminators(clips), discriminators(output.audio.float())
                    values |= adversarial_losses(losses.weights, on_real, on_fake)
                    discriminator["discriminator"] = discriminator_loss(on_real, on_fake)
                averages.add({"total": losses.weighted(values), **values, **discriminator})
            where = "valid" if count is None else f"valid-{count}"
            found |= {f"{where}/{name}": mean for name, mean in averages.report().items()}
        codec.train(training)
        return Validation(found, *examples)
