"""Tables of music and sounds: a measure of single clips, and Fréchet distances of all together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from experiments.codec_does_matter.comparison import MODELS, MUSIC_RESYNTHESIS, Comparison
from xcodec.evaluate.summary import estimate, permutation_test

Scores = dict[str, Any]
"""What `judge.py` wrote of one folder of audio: `clips`, by name, and `frechet`, by embedding."""


def music(comparison: Comparison) -> Iterator[str]:
    """Continuations beside the true ones, original and resynthesised."""
    scores = _read(comparison, "music")
    through = [f"{codec.name}-{what}-0" for what in MUSIC_RESYNTHESIS for codec in comparison.codecs]
    references = [name for name in ("any other", *through) if name in scores]
    yield from _table(comparison, scores, references, MODELS["music"], "nearness to what really follows", 1)


def sound(comparison: Comparison) -> Iterator[str]:
    """Sounds made from captions."""
    scores = _read(comparison, "sound")
    yield from _table(comparison, scores, [], ("sound",), "% right, by a probe", 100)
    for score in list(scores.values())[:1]:
        yield f"Accuracy of the probe on real sounds: {100 * score['on_real']:.1f} % (cross-validated).\n"


def _read(comparison: Comparison, task: str) -> dict[str, Scores]:
    paths = sorted((comparison.scores / task).glob("*.json"))
    return {path.stem: json.loads(path.read_text("utf-8")) for path in paths}


def _table(
    comparison: Comparison,
    scores: dict[str, Scores],
    references: Sequence[str],
    models: Sequence[str],
    measure: str,
    scale: float,
) -> Iterator[str]:
    embeddings = next((list(score["frechet"]) for score in scores.values() if score["frechet"]), None)
    if embeddings is None:  # chance alone has been judged
        return
    yield f"| audio | {measure} [95 %] | {' | '.join(f'Fréchet, {name}' for name in embeddings)} | clips |"
    yield f"|---|---|{'---|' * len(embeddings)}---|"
    rows = {name: [name] for name in references}
    for model in models:
        for codec in comparison.codecs:
            names = [f"{codec.name}-{model}-{seed}" for seed in _judged(comparison, scores, model)]
            rows |= {name: [name] for name in names}
            if len(names) > 1:
                rows[f"{codec.name}-{model}, all seeds"] = names
    for name, of in rows.items():
        values = np.array(list(_mean_of_seeds(scores, of).values()))
        found = estimate(scale * values, np.ones(len(values)))
        distances = " | ".join(_frechet([scores[one] for one in of], embedding) for embedding in embeddings)
        yield f"| {name} | {found} | {distances} | {found.clips} |"
    yield f"\n| semantic − acoustic | {measure} | p | clips | seeds |\n|---|---|---|---|---|"
    for model in models:
        seeds = _judged(comparison, scores, model)
        if seeds:
            yield f"| {model} | {_difference(comparison, scores, model, seeds, scale)} | {len(seeds)} |"
    yield ""


def _judged(comparison: Comparison, scores: dict[str, Scores], model: str) -> list[int]:
    """Seeds that were scored for all codecs; the others allow no comparison."""
    names = {seed: [f"{codec.name}-{model}-{seed}" for codec in comparison.codecs] for seed in comparison.seeds}
    return [seed for seed, of in names.items() if all(name in scores for name in of)]


def _mean_of_seeds(scores: dict[str, Scores], names: Sequence[str]) -> dict[str, float]:
    """Scores of each clip that every seed has, pooled: two seeds of one excerpt are not two independent samples."""
    of_seeds = [scores[name]["clips"] for name in names]
    shared = sorted(set.intersection(*(set(of) for of in of_seeds)))
    return {clip: float(np.mean([of[clip] for of in of_seeds])) for clip in shared}


def _frechet(of_seeds: Sequence[Scores], embedding: str) -> str:
    """Mean of the seeds; nothing where none was taken."""
    found = [score["frechet"][embedding] for score in of_seeds if embedding in score["frechet"]]
    return f"{np.mean(found):.3g}" if found else ""


def _difference(
    comparison: Comparison, scores: dict[str, Scores], model: str, seeds: Sequence[int], scale: float
) -> str:
    """Semantic minus acoustic on the same clips, with the p-value of a permutation test."""
    first, second = (
        _mean_of_seeds(scores, [f"{codec.name}-{model}-{seed}" for seed in seeds]) for codec in comparison.codecs
    )
    shared = sorted(first.keys() & second.keys())
    ones = np.ones(len(shared))
    values = [np.array([of[clip] for clip in shared]) for of in (first, second)]
    difference, p = permutation_test((values[0], ones), (values[1], ones))
    return f"{scale * difference:+.3g} | {p:.3g} | {len(shared)}"
