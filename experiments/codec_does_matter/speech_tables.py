"""Tables of speech: WER, speaker similarity, DNSMOS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.codec_does_matter.comparison import SPEECH_KINDS, Comparison
from experiments.codec_does_matter.judge import read_rows
from experiments.codec_does_matter.more_speech import HELD_OUT_VOICE
from xcodec.evaluate.summary import estimate, permutation_test

PAPER = {"acoustic": ("22.32", "7.70"), "semantic": ("5.27 / 4.83", "4.07 / 3.26")}
"""Word error rates of the paper, in percent: AR, AR + NAR; semantic teachers HuBERT / WavLM."""


def speech(comparison: Comparison) -> Iterator[str]:
    """Every kind of audio, and the differences between the codecs. What has not been scored is left out."""
    folder = comparison.scores / "speech"
    if not folder.exists():
        return
    columns = ("audio", "WER % [95 %]", "capped", "seen speakers", "unseen speaker", "speaker similarity", "DNSMOS")
    yield f"| {' | '.join(columns)} | utterances |"
    yield "|---|---|---|---|---|---|---|---|"
    kinds = {"original": ["original"]}
    for what, own in SPEECH_KINDS.items():
        for codec in comparison.codecs:
            each = [f"{codec.name}-{what}-{seed}" for seed in own or comparison.seeds]
            kinds |= {kind: [kind] for kind in each}
            if len(each) > 1:
                kinds[f"{codec.name}-{what}, all seeds"] = each
    for kind, names in kinds.items():
        journals = [read_rows(folder / f"{name}.jsonl") for name in names]
        rows, capped = _pooled(journals), _pooled([[_capped(row) for row in rows] for rows in journals])
        if rows:
            of_voice = [[row for row in rows if (HELD_OUT_VOICE in row["name"]) == new] for new in (False, True)]
            wer, at_most, seen, unseen = (_word_error_rate(some) for some in (rows, capped, *of_voice))
            similarity, mos = (_rating(rows, key) for key in ("speaker", "dnsmos"))
            yield f"| {kind} | {wer} | {at_most} | {seen} | {unseen} | {similarity} | {mos} | {len(rows)} |"
    yield from _differences(comparison, folder)
    (acoustic_ar, acoustic_both), (semantic_ar, semantic_both) = PAPER["acoustic"], PAPER["semantic"]
    yield f"\nThe paper's WER %: acoustic codec {acoustic_ar} (AR), {acoustic_both} (AR + NAR);"
    yield f"X-Codec {semantic_ar} (AR), {semantic_both} (AR + NAR).\n"


def _interval(numerators: list[float], denominators: list[float] | None = None, scale: float = 1.0) -> str:
    below = np.array(denominators if denominators is not None else np.ones(len(numerators)), float)
    return str(estimate(scale * np.array(numerators, float), below))


def _pooled(journals: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per utterance that every seed has: words and errors summed over seeds, means of the rest.

    Two seeds saying one sentence are no two sentences: resampled are utterances, each with all that was made of it.
    """
    by_name = [{row["name"]: row for row in journal} for journal in journals]
    shared = sorted(set.intersection(*(set(rows) for rows in by_name)))
    pooled = []
    for name in shared:
        rows = [each[name] for each in by_name]
        sums = {key: sum(row[key] for row in rows) for key in ("word_errors", "words")}
        rated = {key: [row[key] for row in rows if key in row] for key in ("speaker", "dnsmos")}
        pooled.append({"name": name, **sums, **{key: float(np.mean(of)) for key, of in rated.items() if of}})
    return pooled


def _capped(row: dict[str, Any]) -> dict[str, Any]:
    """Errors capped at the number of words: Whisper may repeat itself on unintelligible speech, and one such utterance
    outweighs dozens."""
    return row | {"word_errors": min(row["word_errors"], row["words"])}


def _word_error_rate(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    return _interval([row["word_errors"] for row in rows], [row["words"] for row in rows], 100)


def _rating(rows: list[dict[str, Any]], key: str) -> str:
    """Mean of the ratings; silence has none."""
    found = [row[key] for row in rows if key in row]
    return _interval(found) if found else ""


def _differences(comparison: Comparison, folder: Path) -> Iterator[str]:
    """Semantic minus acoustic, on the same utterances with the same seeds."""
    yield "\n| semantic − acoustic | WER, points | p | capped | p | utterances | seeds |\n|---|---|---|---|---|---|---|"
    for what, own in SPEECH_KINDS.items():
        seeds = own or comparison.seeds
        journals = [
            [read_rows(folder / f"{codec.name}-{what}-{seed}.jsonl") for seed in seeds] for codec in comparison.codecs
        ]
        # A seed that was scored for only one of the two allows no comparison.
        scored = [seed for seed in range(len(seeds)) if all(journal[seed] for journal in journals)]
        if not scored:
            continue
        of_both = [[journal[seed] for seed in scored] for journal in journals]
        plain = _difference([_pooled(of_one) for of_one in of_both])
        capped = _difference([_pooled([[_capped(row) for row in rows] for rows in of_one]) for of_one in of_both])
        if plain and capped:
            yield f"| {what} | {plain[0]} | {capped[0]} | {plain[1]} | {len(scored)} |"


def _difference(codecs: list[list[dict[str, Any]]]) -> tuple[str, int] | None:
    """Difference of two WERs with the p-value of a permutation test; the number of utterances."""
    rows = [{row["name"]: row for row in of_one} for of_one in codecs]
    shared = sorted(rows[0].keys() & rows[1].keys())
    if not shared:
        return None
    first, second = (
        np.array([[of[name]["word_errors"], of[name]["words"]] for name in shared], float).T for of in rows
    )
    difference, p = permutation_test((first[0], first[1]), (second[0], second[1]))
    return f"{100 * difference:+.1f} | {p:.3g}", len(shared)
