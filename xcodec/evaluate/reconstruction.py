"""`xcodec evaluate reconstruction`: what is left of audio that went through a codec.

Each clip is read once, sent through every codec, and measured at 16 kHz against itself. One line per clip and codec
goes to `clips.jsonl` when the clip is done; a run that stops goes on from there.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xcodec import audio
from xcodec.evaluate.asr import Errors, Recogniser, errors
from xcodec.evaluate.clips import Clip
from xcodec.evaluate.codecs import Audio, Contender, of_length, open_codecs
from xcodec.evaluate.journal import Journal, Record
from xcodec.evaluate.metrics import DEFAULT, RATE, MetricError, make
from xcodec.utils.parallel import side_by_side

WER = "wer"
"""Among the names of metrics, the one that needs a recogniser and transcripts."""


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


class Judge:
    """The codecs and the measures, loaded once per process.

    Raises:
        ValueError: a codec or a metric that cannot be had; the message says why.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.codecs = open_codecs(settings.codecs)
        self.metrics = make([name for name in settings.metrics if name != WER])
        self.recogniser = Recogniser(settings.asr) if WER in settings.metrics else None

    def backends(self) -> dict[str, str]:
        """Of each measure."""
        found = {measure.name: metric.backend for metric in self.metrics for measure in metric.measures}
        return found | ({WER: self.recogniser.backend} if self.recogniser else {})

    def judge(self, clip: Clip, labels: Sequence[str], keep_audio: bool) -> list[Record]:
        """Lines for a clip and the codecs that are still missing."""
        own = clip.read()
        original = audio.resample(own[np.newaxis], clip.item.sample_rate, RATE)[0]
        reference = self._reference(clip, original)
        return [
            self._judge_codec(clip, codec, own, original, reference, keep_audio)
            for codec in self.codecs
            if codec.label in labels
        ]

    def _reference(self, clip: Clip, original: Audio) -> tuple[str | None, str | None]:
        """What is said, and how that is known: `wer` from a transcript, `wer_original` by listening."""
        if self.recogniser is None or clip.item.domain in ("music", "sound"):
            return None, None
        if clip.text:
            return clip.text, "wer"
        try:
            return self.recogniser.transcribe(original, clip.item.language), "wer_original"
        except MetricError:
            return None, None

    def _judge_codec(
        self,
        clip: Clip,
        codec: Contender,
        own: Audio,
        original: Audio,
        reference: tuple[str | None, str | None],
        keep_audio: bool,
    ) -> Record:
        wav = audio.resample(own[np.newaxis], clip.item.sample_rate, codec.sample_rate)[0]
        coded = codec(wav)
        decoded = audio.resample(coded.audio[np.newaxis], codec.sample_rate, RATE)[0]
        decoded = of_length(decoded, len(original))  # two resamplings may round to one sample more or less
        scores: dict[str, float] = {}
        ratios: dict[str, tuple[float, float]] = {}
        undefined: dict[str, str] = {}
        for metric in self.metrics:
            if metric.speech_only and clip.item.domain in ("music", "sound"):
                continue
            try:
                scores |= metric(original, decoded)
            except MetricError as error:
                undefined |= {measure.name: str(error) for measure in metric.measures}
        words = self._words(clip, decoded, reference, ratios, undefined)
        if coded.bits is not None:
            ratios["kbps"] = (coded.bits / 1000, clip.seconds)
            ratios["encode_speed"] = (clip.seconds, coded.encode_seconds)
            ratios["decode_speed"] = (clip.seconds, coded.decode_seconds)
        self._keep(clip, codec, coded.codes, decoded, keep_audio)
        return {
            "clip": clip.name,
            "key": clip.key,
            "codec": codec.label,
            "identity": codec.identity,
            "domain": clip.item.domain,
            "language": clip.item.language,
            "speaker": clip.item.speaker,
            "source": clip.item.source,
            "seconds": clip.seconds,
            "kept": keep_audio,
            "scores": scores,
            "ratios": ratios,
            "undefined": undefined,
            **words,
        }

    def _words(
        self,
        clip: Clip,
        decoded: Audio,
        reference: tuple[str | None, str | None],
        ratios: dict[str, tuple[float, float]],
        undefined: dict[str, str],
    ) -> Record:
        """What was said and heard; the errors go to `ratios`."""
        text, measure = reference
        if text is None or measure is None or self.recogniser is None:
            return {}
        try:
            heard = self.recogniser.transcribe(decoded, clip.item.language)
            found: Errors = errors(text, heard, clip.item.language)
        except MetricError as error:
            undefined[measure] = undefined[measure.replace("wer", "cer")] = str(error)
            return {}
        ratios[measure] = (100 * found.word_errors, found.words)
        ratios[measure.replace("wer", "cer")] = (100 * found.character_errors, found.characters)
        return {"said": text, "heard": heard}

    def _keep(self, clip: Clip, codec: Contender, codes: Any, decoded: Audio, keep_audio: bool) -> None:
        folder = self.settings.out / "clips" / codec.label
        folder.mkdir(parents=True, exist_ok=True)
        if codes is not None:
            with audio.atomic_write(folder / f"{clip.key}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, codes.astype(np.int32))
        if keep_audio:
            audio.write(folder / f"{clip.key}.flac", np.clip(decoded, -1, 1), RATE)


def run(judge: Judge, clips: Sequence[Clip], jobs: int = 1) -> Iterator[int]:
    """Do what is missing of a run.

    Args:
        judge: with which codecs and measures; further processes make their own from its settings.
        clips: what to listen to.
        jobs: clips at a time, each in a process of its own.

    Yields:
        How many clips are left, first and after each.

    Raises:
        ValueError: the folder has results of other settings.
    """
    settings = judge.settings
    journal = Journal(settings.out, {"metrics": judge.backends()})
    done = {(record["clip"], record["identity"]) for record in journal.records}
    kept = _kept(clips, settings.keep)
    todo = []
    for clip in clips:
        if labels := [codec.label for codec in judge.codecs if (clip.name, codec.identity) not in done]:
            todo.append((clip, labels, clip.name in kept))
    yield len(todo)
    one_by_one = jobs == 1 or len(todo) < 2  # by the judge that is there already
    done_now = (
        (judge.judge(*task) for task in todo) if one_by_one else side_by_side(_judge, todo, jobs, _start, (settings,))
    )
    for left, records in enumerate(done_now, start=1 - len(todo)):
        journal.add(records)
        yield -left


def _kept(clips: Sequence[Clip], count: int) -> set[str]:
    """The clips to hear in the report: the first of each domain."""
    names: set[str] = set()
    for domain in {clip.item.domain for clip in clips}:
        names |= {clip.name for clip in [clip for clip in clips if clip.item.domain == domain][:count]}
    return names


_judge_of_process: Judge | None = None


def _start(settings: Settings) -> None:
    global _judge_of_process
    _judge_of_process = Judge(settings)


def _judge(clip: Clip, labels: list[str], keep_audio: bool) -> list[Record]:
    assert _judge_of_process is not None
    return _judge_of_process.judge(clip, labels, keep_audio)


# What a codec costs: seconds and memory, in a process that does nothing else.

Cost = dict[str, float]


def measure(spec: str, clips: Sequence[Clip]) -> dict[str, Cost]:
    """Of each codec that a spec names, on one thread, the median over clips.

    Returns:
        By label: `encode_speed` and `decode_speed` in seconds of audio per second, `load_seconds`, and `peak_mb`, the
        most memory that the process held while it worked, of which `base_mb` is Python with torch alone.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_measure, spec, list(clips)).result()


def _measure(spec: str, clips: list[Clip]) -> dict[str, Cost]:
    import torch

    torch.set_num_threads(1)
    base = peak_memory()
    start = time.perf_counter()
    codecs = open_codecs([spec])
    loaded = time.perf_counter() - start
    result = {}
    for codec in codecs:
        encode, decode = [], []
        for clip in clips:
            wav = audio.resample(clip.read()[None], clip.item.sample_rate, codec.sample_rate)[0]
            coded = codec(wav)
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
