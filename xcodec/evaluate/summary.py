"""From one line per clip to one row per codec: `summary.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from xcodec.evaluate import asr
from xcodec.evaluate.clips import Clip
from xcodec.evaluate.codecs import Contender, Tokenizer
from xcodec.evaluate.codes import code_statistics
from xcodec.evaluate.journal import Record, read_lines
from xcodec.evaluate.metrics import METRICS, Measure
from xcodec.evaluate.statistics import Comparison, Values, estimate, holm, permutation_test

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
    folder: Path, codecs: Sequence[Contender], clips: Sequence[Clip], backends: dict[str, str], costs: Record
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
        "codecs": [_codec(folder, codec, clips, lines, list(known)) | _cost(codec, costs) for codec in codecs],
        "paired": {
            domain: _paired([line for line in lines if line["domain"] == domain], codecs, list(known))
            for domain in _domains(lines)
        },
    }


def _domains(lines: list[Record]) -> list[str]:
    return sorted({line["domain"] for line in lines})


def _backend(name: str, backends: dict[str, str]) -> str:
    return backends.get(name) or backends.get("wer" if name in {each.name for each in asr.MEASURES} else "") or "xcodec"


def _cost(codec: Contender, costs: Record) -> Record:
    return {"cost": costs[codec.label]} if codec.label in costs else {}


def _codec(folder: Path, codec: Contender, clips: Sequence[Clip], lines: list[Record], names: list[str]) -> Record:
    own = [line for line in lines if line["identity"] == codec.identity]
    row: Record = {"label": codec.label, "identity": codec.identity, "kbps": codec.kbps, "domains": {}}
    for domain in _domains(own):
        here = [line for line in own if line["domain"] == domain]
        cells = {name: cell for name in names if (cell := _cell(here, name)) is not None}
        row["domains"][domain] = {"clips": len(here), "measures": cells}
    if isinstance(codec, Tokenizer):
        files = [folder / "clips" / codec.label / f"{clip.key}.npy" for clip in clips]
        found = code_statistics([np.load(file) for file in files], codec.codebook_size)
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


def _paired(lines: list[Record], codecs: Sequence[Contender], names: list[str]) -> dict[str, list[Record]]:
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
