"""`xcodec evaluate reconstruction`: the quality of audio that went through a codec.

Each clip is read once, coded by every codec, and compared at 16 kHz with itself. One line per clip and codec goes to
`clips.jsonl` when the clip is done; a run that stops goes on from there. What has no value for a clip (a constant
signal has no SI-SDR, a codec may fail) is recorded as undefined with the reason, counted, and reported.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xcodec import audio
from xcodec.engine.engine import Engine
from xcodec.evaluate.asr import Errors, Recogniser, errors
from xcodec.evaluate.clips import Clip
from xcodec.evaluate.codecs import Audio, EvaluatedCodec, fix_length, open_codecs
from xcodec.evaluate.metrics import DEFAULT, RATE, MetricError, compute, describe_error, make
from xcodec.utils.files import printable
from xcodec.utils.json_lines import Journal, Record
from xcodec.utils.parallel import WorkerDiedError, parallel_map, run_tasks

WER = "wer"
"""Among the names of metrics, the one that needs a recogniser and transcripts."""
NOT_SPEECH = ("music", "sound")
"""Domains without words."""
CODEC_ERRORS = (ValueError, ArithmeticError, RuntimeError, OSError)
"""What a codec may raise for one clip, which must not end the evaluation of the others."""


@dataclass(frozen=True)
class Settings:
    """What a run does, in a form that another process can be given."""

    codecs: tuple[str, ...]
    """As `open_codecs` takes them."""
    out: Path
    metrics: tuple[str, ...] = (*DEFAULT, WER)
    asr: str = "base"
    """A Whisper model for `wer`: name or folder."""
    keep: int = 2
    """Of so many clips per domain, the decoded audio is kept for the report."""
    engine: Engine = "exact"
    """Of our own codecs."""


@dataclass
class Scores:
    """The measures of one clip by one codec."""

    scores: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Numerators and denominators, of which sums over clips are divided."""
    undefined: dict[str, str] = field(default_factory=dict)
    """Measures without a value here, and why."""
    texts: dict[str, str] = field(default_factory=dict)
    """`reference` and `hypothesis` of the word errors."""


class Evaluator:
    """The codecs and the metrics, loaded once per process.

    Raises:
        ValueError: a codec or a metric that cannot be had; the message says why.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = make([name for name in settings.metrics if name != WER])
        self.codecs = open_codecs(settings.codecs, settings.engine)
        self.recogniser = Recogniser(settings.asr) if WER in settings.metrics else None

    def backends(self) -> dict[str, str]:
        """Of each measure."""
        found = {measure.name: metric.backend for metric in self.metrics for measure in metric.measures}
        return found | ({WER: self.recogniser.backend} if self.recogniser else {})

    def evaluate(self, clip: Clip, labels: Sequence[str], keep_audio: bool) -> list[Record]:
        """Lines for a clip and the codecs that are still missing."""
        codecs = [codec for codec in self.codecs if codec.label in labels]
        own = clip.read()
        original = audio.resample(own[np.newaxis], clip.item.sample_rate, RATE)[0]
        reference = self._reference(clip, original)
        return [self._evaluate_codec(clip, codec, own, original, reference, keep_audio) for codec in codecs]

    def undefined(self, clip: Clip, labels: Sequence[str], reason: str) -> list[Record]:
        """Lines without a value, for a clip that a codec fails for, or a process dies of."""
        names = [measure.name for metric in self._metrics_for(clip) for measure in metric.measures]
        if self.recogniser is not None and clip.item.domain not in NOT_SPEECH:
            names += ["wer", "cer"] if clip.text else ["wer_original", "cer_original"]
        found = Scores(undefined=dict.fromkeys(names, reason))
        return [self._record(clip, codec, found, kept=False) for codec in self.codecs if codec.label in labels]

    def _reference(self, clip: Clip, original: Audio) -> Scores:
        """The text to compare with, by measure: `wer` for a transcript, `wer_original` for a recognised one."""
        if self.recogniser is None or clip.item.domain in NOT_SPEECH:
            return Scores()
        if clip.text:
            return Scores(texts={"wer": clip.text})
        try:
            return Scores(texts={"wer_original": self.recogniser.transcribe(original, clip.item.language)})
        except MetricError as error:
            return Scores(undefined=dict.fromkeys(("wer_original", "cer_original"), str(error)))

    def _evaluate_codec(
        self, clip: Clip, codec: EvaluatedCodec, own: Audio, original: Audio, reference: Scores, keep_audio: bool
    ) -> Record:
        wav = audio.resample(own[np.newaxis], clip.item.sample_rate, codec.sample_rate)[0]
        try:
            coded = codec(wav)
        except CODEC_ERRORS as error:
            (record,) = self.undefined(clip, [codec.label], f"{codec.label} failed: {describe_error(error)}")
            return record
        decoded = audio.resample(coded.audio[np.newaxis], codec.sample_rate, RATE)[0]
        decoded = fix_length(decoded, len(original))  # two resamplings may round to one sample more or less
        found = Scores(undefined=dict(reference.undefined))
        for metric in self._metrics_for(clip):
            try:
                found.scores |= compute(metric, original, decoded)
            except MetricError as error:
                found.undefined |= {measure.name: str(error) for measure in metric.measures}
        for measure, text in reference.texts.items():
            self._word_errors(clip, decoded, measure, text, found)
        if coded.bits is not None:
            found.ratios["kbps"] = (coded.bits / 1000, clip.seconds)
            found.ratios["encode_speed"] = (clip.seconds, coded.encode_seconds)
            found.ratios["decode_speed"] = (clip.seconds, coded.decode_seconds)
        self._keep(clip, codec, coded.codes, decoded, keep_audio)
        return self._record(clip, codec, found, keep_audio)

    def _metrics_for(self, clip: Clip) -> list[Any]:
        return [metric for metric in self.metrics if not (metric.speech_only and clip.item.domain in NOT_SPEECH)]

    def _word_errors(self, clip: Clip, decoded: Audio, measure: str, text: str, found: Scores) -> None:
        assert self.recogniser is not None
        names = measure, measure.replace("wer", "cer")
        try:
            hypothesis = self.recogniser.transcribe(decoded, clip.item.language)
            counts: Errors = errors(text, hypothesis, clip.item.language)
        except MetricError as error:
            found.undefined |= dict.fromkeys(names, str(error))
            return
        found.ratios[names[0]] = (100 * counts.word_errors, counts.words)
        found.ratios[names[1]] = (100 * counts.character_errors, counts.characters)
        found.texts |= {"reference": text, "hypothesis": hypothesis}

    def _record(self, clip: Clip, codec: EvaluatedCodec, found: Scores, kept: bool) -> Record:
        return {
            "clip": clip.name,
            "key": clip.key,
            "codec": codec.label,
            "identity": codec.identity,
            "domain": clip.item.domain,
            "language": clip.item.language,
            "speaker": clip.item.speaker,
            "source": printable(clip.item.source),
            "seconds": clip.seconds,
            "kept": kept,
            "scores": found.scores,
            "ratios": found.ratios,
            "undefined": found.undefined,
            **found.texts,
        }

    def _keep(self, clip: Clip, codec: EvaluatedCodec, codes: Any, decoded: Audio, keep_audio: bool) -> None:
        folder = self.settings.out / "clips" / codec.label
        folder.mkdir(parents=True, exist_ok=True)
        if codes is not None:
            with audio.atomic_write(folder / f"{clip.key}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, codes.astype(np.int32))
        if keep_audio:
            audio.write(folder / f"{clip.key}.flac", np.clip(decoded, -1, 1), RATE)


Task = tuple[Clip, list[str], bool]
"""A clip, the labels of the codecs that are missing, and whether its decoded audio is kept."""


def run(evaluator: Evaluator, clips: Sequence[Clip], jobs: int = 1) -> Iterator[int]:
    """Do what is missing of a run.

    Args:
        evaluator: with which codecs and metrics; further processes make their own from its settings.
        clips: what to code and compare.
        jobs: clips at a time, each in a process of its own.

    Yields:
        How many clips are left, first and after each.

    Raises:
        ValueError: the folder has results of other settings.
    """
    settings = evaluator.settings
    journal = Journal(settings.out, {"metrics": evaluator.backends()})
    done = {(record["clip"], record["identity"]) for record in journal.records}
    kept = _kept(clips, settings.keep)
    tasks: list[Task] = []
    for clip in clips:
        if labels := [codec.label for codec in evaluator.codecs if (clip.name, codec.identity) not in done]:
            tasks.append((clip, labels, clip.name in kept))
    yield len(tasks)

    def died(task: Task, error: WorkerDiedError) -> list[Record]:
        return evaluator.undefined(task[0], task[1], str(error))

    if jobs == 1 or len(tasks) < 2:  # by the evaluator that is there already
        results: Iterator[list[Record]] = (evaluator.evaluate(*task) for task in tasks)
    else:
        results = run_tasks(partial(_evaluation, settings), tasks, jobs, died)
    for left, records in enumerate(results, start=1 - len(tasks)):
        journal.add(records)
        yield -left


def _evaluation(settings: Settings) -> Callable[[Task], list[Record]]:
    """What another process does with a task."""
    evaluator = Evaluator(settings)
    return lambda task: evaluator.evaluate(*task)


def _kept(clips: Sequence[Clip], count: int) -> set[str]:
    """The clips to play in the report: the first of each domain."""
    names: set[str] = set()
    for domain in {clip.item.domain for clip in clips}:
        names |= {clip.name for clip in [clip for clip in clips if clip.item.domain == domain][:count]}
    return names


# What a codec costs: seconds and memory, in a process that does nothing else.

Cost = dict[str, float]


def measure_cost(spec: str, clips: Sequence[Clip], engine: Engine = "exact") -> dict[str, Cost]:
    """Of each codec that a spec names, on one thread, the median over clips.

    Returns:
        By label: `encode_speed` and `decode_speed` in seconds of audio per second, `load_seconds`, and `peak_mb`, the
        most memory that the process held while it worked, of which `base_mb` is Python with torch alone.
    """
    (costs,) = parallel_map(_measure, [(spec, list(clips), engine)], jobs=2)  # one task, so one other process
    return costs


def _measure(spec: str, clips: list[Clip], engine: Engine) -> dict[str, Cost]:
    import torch

    torch.set_num_threads(1)
    base = peak_memory()
    start = time.perf_counter()
    codecs = open_codecs([spec], engine)
    loaded = time.perf_counter() - start
    result = {}
    for codec in codecs:
        encode, decode = [], []
        for clip in clips:
            try:
                coded = codec(clip.read(codec.sample_rate))
            except CODEC_ERRORS:
                continue  # recorded as undefined already
            if coded.bits is not None:
                encode.append(clip.seconds / coded.encode_seconds)
                decode.append(clip.seconds / coded.decode_seconds)
        if encode:
            result[codec.label] = {
                "encode_speed": statistics.median(encode),
                "decode_speed": statistics.median(decode),
                "load_seconds": loaded,
                "base_mb": base,
                "peak_mb": peak_memory(),
            }
    return result


def peak_memory() -> float:
    """The most memory that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage, which on Linux starts at what the parent held when it made this process.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
