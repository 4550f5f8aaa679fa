"""From one line per clip to one row per codec: `summary.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcodec.evaluate import asr
from xcodec.evaluate.clips import Clip
from xcodec.evaluate.codecs import EvaluatedCodec, Tokenizer
from xcodec.evaluate.metrics import METRICS, Measure
from xcodec.evaluate.token_measures import code_statistics
from xcodec.utils.json_lines import Record, read_lines

# Confidence intervals and paired tests: resampling of clips, with no assumption about distributions.
#
# Every quantity is a ratio of sums over clips. For a score the denominators are ones, which makes it the mean; for a
# word error rate they are words, for a bitrate seconds.

Values = NDArray[np.float64]
RESAMPLES = 4000
SEED = 2408


@dataclass(frozen=True)
class Estimate:
    """A ratio of sums, and the 95 % interval in which it would lie with other clips of the same kind."""

    mean: float
    low: float
    high: float
    clips: int

    def __str__(self) -> str:
        """For tables.

        >>> str(Estimate(0.5, 0.25, 0.8125, 10))
        '0.5 [0.25, 0.812]'
        """
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class Comparison:
    """Whether `first` and `second` differ on the clips they share."""

    first: str
    second: str
    difference: float
    """First minus second."""
    p: float
    """How often chance alone makes a difference as large."""
    p_corrected: float
    """The same, corrected by Holm for the number of pairs compared."""
    clips: int


def estimate(numerators: Values, denominators: Values) -> Estimate:
    """Bootstrap over clips, by percentiles.

    Raises:
        ValueError: no clips, or nothing to divide by.
    """
    count = len(numerators)
    if count == 0 or denominators.sum() == 0:
        raise ValueError("no clips to take a mean of")
    picks = np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))
    below = denominators[picks].sum(1)
    resampled = numerators[picks].sum(1)[below > 0] / below[below > 0]
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(float(numerators.sum() / denominators.sum()), float(low), float(high), count)


def permutation_test(first: tuple[Values, Values], second: tuple[Values, Values]) -> tuple[float, float]:
    """Difference of two ratios on the same clips, and its p-value.

    Under the hypothesis that the codecs are alike, it would not matter if on any clip they changed places.

    Args:
        first: numerators and denominators, by clip.
        second: the same, of the other codec.
    """
    rng = np.random.default_rng(SEED)
    swaps = rng.integers(0, 2, size=(RESAMPLES, len(first[0]))).astype(np.float64)
    observed = first[0].sum() / first[1].sum() - second[0].sum() / second[1].sum()
    sums = [(a.sum() + swaps @ (b - a), b.sum() + swaps @ (a - b)) for a, b in zip(first, second, strict=True)]
    (first_top, second_top), (first_below, second_below) = sums
    chance = first_top / first_below - second_top / second_below
    # The observed arrangement is one of those that chance can make; rounding must not count it out.
    extreme = np.abs(chance) >= abs(observed) * (1 - 1e-9) - 1e-12
    return float(observed), float((1 + extreme.sum()) / (1 + RESAMPLES))


def holm(p_values: list[float]) -> list[float]:
    """Holm's correction: the chance of even one false alarm among all is kept at the level tested.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


OWN = (
    Measure("kbps", "kbps", "lower", "bitrate"),
    Measure("encode_speed", "× real time", "higher", "encoding speed"),
    Measure("decode_speed", "× real time", "higher", "decoding speed"),
)
NOT_COMPARED = ("kbps", "encode_speed", "decode_speed")


def measures() -> dict[str, Measure]:
    """All that a line may hold, by name, in the order of tables."""
    every = [measure for metric in METRICS.values() for measure in metric.measures]  # type: ignore[attr-defined]
    return {measure.name: measure for measure in (*every, *asr.MEASURES, *OWN)}


def summarise(
    folder: Path, codecs: Sequence[EvaluatedCodec], clips: Sequence[Clip], backends: dict[str, str], costs: Record
) -> Record:
    """Means with intervals by codec and domain, and paired tests between codecs, of the clips and codecs given."""
    wanted = {(clip.name, codec.identity) for clip in clips for codec in codecs}
    lines = [line for line in read_lines(folder / "clips.jsonl") if (line["clip"], line["identity"]) in wanted]
    known = measures()
    used = {name for line in lines for name in (*line["scores"], *line["ratios"], *line["undefined"])}
    return {
        "kind": "reconstruction",
        "clips": {
            domain: len({line["clip"] for line in lines if line["domain"] == domain}) for domain in _domains(lines)
        },
        "seconds": sum(clip.seconds for clip in clips),
        "measures": {
            name: {"title": each.title, "unit": each.unit, "better": each.better, "backend": _backend(name, backends)}
            for name, each in known.items()
            if name in used
        },
        "undefined": _undefined(lines, list(known)),
        "codecs": [_codec(folder, codec, clips, lines, list(known)) | _cost(codec, costs) for codec in codecs],
        "paired": {
            domain: _paired([line for line in lines if line["domain"] == domain], codecs, list(known))
            for domain in _domains(lines)
        },
    }


def _undefined(lines: list[Record], names: list[str]) -> dict[str, dict[str, int]]:
    """By measure and reason, for how many pairs of clip and codec there is no value."""
    counts = {name: Counter(line["undefined"][name] for line in lines if name in line["undefined"]) for name in names}
    return {name: dict(sorted(reasons.items())) for name, reasons in counts.items() if reasons}


def _domains(lines: list[Record]) -> list[str]:
    return sorted({line["domain"] for line in lines})


def _backend(name: str, backends: dict[str, str]) -> str:
    return backends.get(name) or backends.get("wer" if name in {each.name for each in asr.MEASURES} else "") or "xcodec"


def _cost(codec: EvaluatedCodec, costs: Record) -> Record:
    return {"cost": costs[codec.label]} if codec.label in costs else {}


def _codec(folder: Path, codec: EvaluatedCodec, clips: Sequence[Clip], lines: list[Record], names: list[str]) -> Record:
    own = [line for line in lines if line["identity"] == codec.identity]
    row: Record = {"label": codec.label, "identity": codec.identity, "kbps": codec.kbps, "domains": {}}
    for domain in _domains(own):
        here = [line for line in own if line["domain"] == domain]
        cells = {name: cell for name in names if (cell := _cell(here, name)) is not None}
        row["domains"][domain] = {"clips": len(here), "measures": cells}
    if isinstance(codec, Tokenizer):
        files = [folder / "clips" / codec.label / f"{clip.key}.npy" for clip in clips]
        codes = [np.load(file) for file in files if file.exists()]  # a clip that the codec failed for has none
        if codes:
            found = code_statistics(codes, codec.codebook_size)
            row["codes"] = asdict(found) | {
                "entropy_kbps": found.kbps(codec.tokenizer.frame_rate),
                "frame_rate": codec.tokenizer.frame_rate,
                "codebook_size": codec.codebook_size,
            }
    return row


def _cell(lines: list[Record], name: str) -> Record | None:
    values = _values(lines, name)
    undefined = sum(name in line["undefined"] for line in lines)
    if not values:
        return {"undefined": undefined} if undefined else None
    numerators, denominators = np.array(list(values.values())).T
    return asdict(estimate(numerators, denominators)) | ({"undefined": undefined} if undefined else {})


def _values(lines: list[Record], name: str) -> dict[str, tuple[float, float]]:
    """By clip, numerator and denominator."""
    found = {}
    for line in lines:
        if name in line["scores"]:
            found[line["clip"]] = (line["scores"][name], 1.0)
        elif name in line["ratios"]:
            found[line["clip"]] = tuple(line["ratios"][name])
    return found


def _paired(lines: list[Record], codecs: Sequence[EvaluatedCodec], names: list[str]) -> dict[str, list[Record]]:
    result = {}
    for name in names:
        if name in NOT_COMPARED:
            continue
        values = {
            codec.label: _values([line for line in lines if line["identity"] == codec.identity], name)
            for codec in codecs
        }
        if compared := _comparisons(values):
            result[name] = [asdict(each) for each in compared]
    return result


def _comparisons(values: dict[str, dict[str, tuple[float, float]]]) -> list[Comparison]:
    found: list[tuple[str, str, float, float, int]] = []
    for first, second in combinations(values, 2):
        shared = sorted(values[first].keys() & values[second].keys())
        if len(shared) < 2:
            continue
        sides: Any = [_columns([values[label][clip] for clip in shared]) for label in (first, second)]
        found.append((first, second, *permutation_test(*sides), len(shared)))
    corrected = holm([p for *_, p, _ in found])
    return [
        Comparison(first, second, difference, p, fair, count)
        for (first, second, difference, p, count), fair in zip(found, corrected, strict=True)
    ]


def _columns(pairs: list[tuple[float, float]]) -> tuple[Values, Values]:
    numerators, denominators = np.array(pairs, dtype=np.float64).T
    return numerators, denominators
