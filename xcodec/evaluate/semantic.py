"""`xcodec evaluate semantic`: measures of a codec's tokens, before a language model is trained on them.

For each codec: codes and features of every clip, from which come ABX, phones and clusters, entropy, a small language
model, stability and probes. What a corpus does not allow (no transcripts, one speaker) is missing, with the reason.
Alignments and finished codecs go to `semantic.jsonl`; a run that stops goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xcodec.codec.model import XCodec
from xcodec.engine.engine import Codec, Engine
from xcodec.evaluate.abx import FrameDistance, Item, abx
from xcodec.evaluate.alignment import AlignmentError, Phone, PhoneAligner, read_items
from xcodec.evaluate.clips import Clip
from xcodec.evaluate.codecs import Audio, Tokenizer, TransformersTokenizer, open_codecs
from xcodec.evaluate.metrics.base import RATE, package_version
from xcodec.evaluate.token_measures import Budget, code_statistics, phone_measures, predictability, probe, stability
from xcodec.utils.json_lines import Journal, Record, write_json

# The points inside a codec at which its features are examined.

STAGES = ("teacher", "before RVQ", "codebook 1", "all codebooks", "semantic decoder")


@dataclass(frozen=True)
class Stage:
    """Features of one clip at one point."""

    features: NDArray[np.float32]
    """`[F, D]`, at the codec's frame rate."""
    distance: FrameDistance
    """With which its frames are compared."""


@torch.inference_mode()
def stages(codec: Tokenizer, wav: Audio) -> tuple[NDArray[np.int64], dict[str, Stage]]:
    """Codes `[K, F]` of a clip, and its features at those of `STAGES` that the codec has.

    Our own codecs have all five (the acoustic baseline neither teacher nor semantic decoder), those of `transformers`
    the two of the codes. Any other tokenizer has only its codes, which are then compared as such.
    """
    codes = codec.encode(wav)
    tokenizer = codec.tokenizer
    if isinstance(tokenizer, Codec | XCodec):
        return codes, _of_xcodec(tokenizer, wav, codes)
    if isinstance(tokenizer, TransformersTokenizer):
        vectors = [each.numpy() for each in tokenizer.code_vectors(torch.from_numpy(codes)[None])]
        return codes, {
            "codebook 1": Stage(vectors[0], "euclidean"),
            "all codebooks": Stage(np.sum(vectors, axis=0), "euclidean"),
        }
    by_frame = codes.T.astype(np.float32)  # (K, F) -> (F, K)
    return codes, {"codebook 1": Stage(by_frame[:, :1], "codes"), "all codebooks": Stage(by_frame, "codes")}


def _of_xcodec(codec: Codec | XCodec, wav: Audio, codes: NDArray[np.int64]) -> dict[str, Stage]:
    model = codec.model if isinstance(codec, Codec) else codec
    latents = codec.latents(model.pad_to_frames(torch.from_numpy(wav)[None, None]))
    batch = torch.from_numpy(codes)[None]
    quantised = model.quantizer.decode(batch)
    found = {
        "before RVQ": Stage(_by_frame(latents.values), "cosine"),
        "codebook 1": Stage(_by_frame(model.quantizer.decode(batch[:, :1])), "euclidean"),
        "all codebooks": Stage(_by_frame(quantised), "euclidean"),
    }
    if latents.teacher is not None:
        found["teacher"] = Stage(_by_frame(latents.teacher), "cosine")
        found["semantic decoder"] = Stage(_by_frame(model.reconstruct_semantics(quantised)), "cosine")
    return {name: found[name] for name in STAGES if name in found}


def _by_frame(features: torch.Tensor) -> NDArray[np.float32]:
    return features[0].T.numpy()  # (D, F) -> (F, D)


STABILITY_CLIPS = 10
PROBED = ("codebook 1", "all codebooks")
MAX_PROBED = 20_000
"""Frames that the phone probe learns from and is tested on, evenly spaced: more change nothing but the time."""


@dataclass(frozen=True)
class SemanticSettings:
    """What a run does."""

    codecs: tuple[str, ...]
    out: Path
    items: Path | None = None
    """An `.item` file, instead of alignment by pocketsphinx."""
    budget: Budget = field(default_factory=Budget)
    max_items: int = 10
    """Of `abx`."""
    engine: Engine = "exact"
    """Of our own codecs."""


@dataclass(frozen=True)
class CodedClip:
    """The codes and features of one clip."""

    clip: Clip
    codes: NDArray[np.int64]
    stages: dict[str, Stage]


def run(settings: SemanticSettings, clips: Sequence[Clip]) -> Iterator[int]:
    """Examine each codec, and write `semantic.json`.

    Yields:
        How many steps are left, first and after each.

    Raises:
        ValueError: a codec without tokens, or one that cannot be had; nothing has been written then.
    """
    codecs = [_with_tokens(codec) for codec in open_codecs(settings.codecs, settings.engine)]
    aligned = _Alignments(settings.items)
    budget = asdict(settings.budget)
    journal = Journal(
        settings.out,
        {"alignment": aligned.backend, "language_model": budget, "abx_most": settings.max_items},
        "semantic",
    )
    left = len(clips) * (1 + len(codecs))
    yield left
    phones_of: dict[str, list[Phone]] = {}
    why_not: dict[str, str] = {}
    for clip in clips:
        try:
            phones_of[clip.name] = aligned.cached(clip, journal)
        except AlignmentError as error:
            why_not[clip.name] = str(error)
        left -= 1
        yield left
    # A codec's row depends on these; with other clips, or other phones in them, it is computed anew.
    basis = _digest([(clip.name, [astuple(phone) for phone in phones_of.get(clip.name, [])]) for clip in clips])
    rows = []
    for codec in codecs:
        row = next((r["row"] for r in journal.records if r.get("of") == [codec.identity, basis]), None)
        if row is None:
            coded = []
            for clip in clips:
                coded.append(CodedClip(clip, *stages(codec, clip.read(codec.sample_rate))))
                left -= 1
                yield left
            row = examine(codec, coded, phones_of, settings)
            journal.add([{"of": [codec.identity, basis], "row": row}])
        else:
            left -= len(clips)
            yield left
        rows.append(row | {"label": codec.label})
    speakers = sorted({_speaker_or_source(clip) for clip in clips if clip.name in phones_of})
    write_json(
        settings.out / "semantic.json",
        {
            "kind": "semantic",
            "clips": len(clips),
            "seconds": sum(clip.seconds for clip in clips),
            "aligned": len(phones_of),
            "phones": sum(map(len, phones_of.values())),
            "speakers": speakers,
            "alignment": aligned.backend,
            "not_aligned": {reason: list(why_not.values()).count(reason) for reason in sorted(set(why_not.values()))},
            "language_model": budget,
            "codecs": rows,
        },
    )


def examine(
    codec: Tokenizer, coded: Sequence[CodedClip], phones_of: dict[str, list[Phone]], settings: SemanticSettings
) -> Record:
    """All measures of one codec's tokens."""
    rate = codec.tokenizer.frame_rate
    row: Record = {"label": codec.label, "identity": codec.identity, "kbps": codec.kbps, "missing": {}}

    def attempt(name: str, measure: Callable[[], Any]) -> None:
        try:
            found = measure()
            try:
                json.dumps(found, allow_nan=False)
            except ValueError:
                raise ValueError(f"the measure is nan or infinite: {found}") from None
            row[name] = found
        except ValueError as error:  # what the corpus does not allow; anything else is a bug and ends the run
            row["missing"][name] = str(error)

    codes = [each.codes for each in coded]
    statistics = code_statistics(codes, codec.codebook_size)
    row["codes"] = asdict(statistics) | {"entropy_kbps": statistics.kbps(rate), "frame_rate": rate}
    for stage in STAGES:
        if stage not in coded[0].stages:
            row["missing"][f"abx: {stage}"] = "the codec has none"
    with_phones = [each for each in coded if each.clip.name in phones_of]
    for context in ("any", "triphone"):
        for across in (False, True):
            for stage in coded[0].stages:
                name = f"abx {context} {'across' if across else 'within'}: {stage}"
                items = _abx_items(with_phones, phones_of, stage, rate, context == "triphone")
                distance = coded[0].stages[stage].distance
                attempt(name, lambda i=items, a=across, d=distance: asdict(abx(i, a, d, settings.max_items)))  # type: ignore[misc]
    attempt("phones", lambda: asdict(_phones(with_phones, phones_of, rate)))
    attempt("language_model", lambda: asdict(predictability(codes, codec.codebook_size, rate, settings.budget)))
    attempt("stability", lambda: _stability(codec, [each.clip for each in coded]))
    for stage in PROBED:
        attempt(f"probe phone: {stage}", lambda s=stage: asdict(_probe_phones(with_phones, phones_of, s, rate)))  # type: ignore[misc]
        attempt(f"probe speaker: {stage}", lambda s=stage: asdict(_probe_clips(coded, s, _speaker)))  # type: ignore[misc]
        attempt(f"probe sound: {stage}", lambda s=stage: asdict(_probe_clips(coded, s, _sound_class(coded))))  # type: ignore[misc]
    return row


class _Alignments:
    """Phones of clips, from a file or by alignment."""

    def __init__(self, items: Path | None) -> None:
        self._items = read_items(items) if items else None
        self._aligner = None if items else PhoneAligner()
        self.backend = f"{items.name}" if items else package_version("pocketsphinx")

    def cached(self, clip: Clip, journal: Journal) -> list[Phone]:
        """From the journal, or else aligned and written there; an `.item` file is quicker read again."""
        if self._items is not None:
            return self(clip)
        asked = [clip.name, clip.first, clip.samples, clip.text]
        for record in journal.records:
            if record.get("aligned") == asked:
                if record["error"]:
                    raise AlignmentError(record["error"])
                return [Phone(*phone) for phone in record["phones"]]
        phones: list[Phone] = []
        try:
            phones = self(clip)
        except AlignmentError as error:
            journal.add([{"aligned": asked, "error": str(error)}])
            raise
        journal.add([{"aligned": asked, "error": None, "phones": [astuple(phone) for phone in phones]}])
        return phones

    def __call__(self, clip: Clip) -> list[Phone]:
        if self._items is not None:
            if clip.item.path.stem not in self._items:
                raise AlignmentError("not in the item file")
            start = clip.first / clip.item.sample_rate
            shifted = [
                Phone(phone.start - start, phone.end - start, phone.phone, phone.before, phone.after)
                for phone, _ in self._items[clip.item.path.stem]
            ]
            return [phone for phone in shifted if phone.start >= 0 and phone.end <= clip.seconds]
        assert self._aligner is not None
        if clip.item.domain in ("music", "sound"):
            raise AlignmentError("not speech")
        if clip.text is None:
            raise AlignmentError("no transcript")
        if clip.item.language not in (None, "en"):
            raise AlignmentError(f"the language is {clip.item.language}, the aligner's is en")
        return self._aligner(clip.read(RATE), clip.text)


def _with_tokens(codec: object) -> Tokenizer:
    if not isinstance(codec, Tokenizer):
        label = getattr(codec, "label", codec)
        raise ValueError(f"{label} has no tokens; this is for codecs that a language model could use")
    return codec


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _speaker(clip: Clip) -> str | None:
    return clip.item.speaker


def _speaker_or_source(clip: Clip) -> str:
    """The speaker for ABX: where the corpus names none, one for each of its sources."""
    return clip.item.speaker or clip.item.source or "unknown"


def _abx_items(
    coded: Sequence[CodedClip], phones_of: dict[str, list[Phone]], stage: str, rate: float, triphone: bool
) -> list[Item]:
    """Single phones in any context, or phones with their neighbours, to be compared in the same context."""
    items = []
    for each in coded:
        features = each.stages[stage].features
        phones = phones_of[each.clip.name]
        speaker = _speaker_or_source(each.clip)
        for index, phone in enumerate(phones):
            span = phone.frames(rate, len(features))
            context = None
            if triphone:
                whole = _with_its_neighbours(phones, index)
                if whole is None:
                    continue
                span = whole.frames(rate, len(features))
                context = (phone.before, phone.after)
            if span.stop > span.start:
                items.append(Item(features[span], phone.phone, speaker, context))
    return items


def _with_its_neighbours(phones: Sequence[Phone], index: int) -> Phone | None:
    """From the start of the phone before to the end of the one after, if they are contiguous."""
    if not 0 < index < len(phones) - 1:
        return None
    before, phone, after = phones[index - 1 : index + 2]
    if not (
        math.isclose(before.end, phone.start, abs_tol=0.011) and math.isclose(phone.end, after.start, abs_tol=0.011)
    ):
        return None
    return Phone(before.start, after.end, phone.phone, phone.before, phone.after)


def _labelled(each: CodedClip, phones_of: dict[str, list[Phone]], rate: float) -> tuple[NDArray[np.int64], list[str]]:
    """The frames of a clip that lie in a phone, and which."""
    frames: list[int] = []
    names: list[str] = []
    for phone in phones_of[each.clip.name]:
        span = phone.frames(rate, each.codes.shape[1])
        frames += range(span.start, span.stop)
        names += [phone.phone] * (span.stop - span.start)
    return np.array(frames, dtype=np.int64), names


def _phones(coded: Sequence[CodedClip], phones_of: dict[str, list[Phone]], rate: float) -> Any:
    phones: list[str] = []
    tokens: list[NDArray[np.int64]] = []
    for each in coded:
        frames, names = _labelled(each, phones_of, rate)
        phones += names
        tokens.append(each.codes[0, frames])
    if not tokens:
        raise ValueError("no clip has phones")
    return phone_measures(phones, np.concatenate(tokens))


def _probe_phones(coded: Sequence[CodedClip], phones_of: dict[str, list[Phone]], stage: str, rate: float) -> Any:
    vectors: list[NDArray[np.float32]] = []
    labels: list[str] = []
    groups: list[int] = []
    for group, each in enumerate(coded):
        frames, names = _labelled(each, phones_of, rate)
        vectors.append(each.stages[stage].features[frames])
        labels += names
        groups += [group] * len(names)
    if not vectors:
        raise ValueError("no clip has phones")
    every = max(1, len(labels) // MAX_PROBED)
    return probe(np.concatenate(vectors)[::every], labels[::every], groups[::every])


def _probe_clips(coded: Sequence[CodedClip], stage: str, label: Callable[[Clip], str | None]) -> Any:
    """By the mean over time of each clip."""
    known = [(name, each.stages[stage].features.mean(0)) for each in coded if (name := label(each.clip)) is not None]
    if not known:
        raise ValueError("the corpus does not say")
    # Clips of a class stand together in most corpora, and every fourth is tested: so all classes are on both sides.
    known.sort(key=lambda pair: pair[0])
    return probe(np.stack([vector for _, vector in known]), [name for name, _ in known], range(len(known)))


def _sound_class(coded: Sequence[CodedClip]) -> Callable[[Clip], str | None]:
    """Captions of sounds where they are classes (four clips each), else speech, music or sound."""
    captions = [each.clip.text for each in coded if each.clip.item.domain == "sound"]
    classes = {caption for caption in captions if caption and captions.count(caption) >= 4}
    if len(classes) >= 2:
        return lambda clip: clip.text if clip.text in classes else None
    return lambda clip: clip.item.domain


def _stability(codec: Tokenizer, clips: Sequence[Clip]) -> Record:
    some = [clip.read(codec.sample_rate) for clip in clips[:: max(1, len(clips) // STABILITY_CLIPS)]]
    found = stability(codec.encode, some[:STABILITY_CLIPS], codec.tokenizer.hop_length)
    return {name: asdict(each) for name, each in found.items()}


__all__ = ["STAGES", "SemanticSettings", "run"]
