"""Scores to tables, beside the paper's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiments.codec_does_matter.clip_tables import music, sound
from experiments.codec_does_matter.comparison import MODELS, ComparedCodec, Comparison
from experiments.codec_does_matter.judge import read_rows
from experiments.codec_does_matter.speech_tables import speech


def report(comparison: Comparison, target: Path) -> None:
    """Write the tables. What has not been measured is left out, not guessed."""
    parts = [
        *speech(comparison),
        *_tokens(comparison),
        *music(comparison),
        *sound(comparison),
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(parts) + "\n", "utf-8")


def draw_curves(comparison: Comparison, target: Path) -> None:
    """Cross entropy of held-out tokens over the steps of each training, a panel per model."""
    from matplotlib.figure import Figure

    models = [model for task in comparison.tasks for model in MODELS[task]]
    figure = Figure(figsize=(4 * len(models), 3.5), layout="constrained")
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for panel, model in zip(panels, models, strict=True):
        for color, codec in zip(("tab:blue", "tab:orange"), comparison.codecs, strict=True):
            for seed in comparison.seeds:
                rows = [row for row in _log(comparison, codec, model, seed) if "valid/total" in row]
                steps, nats = [row["step"] for row in rows], [row["valid/total"] for row in rows]
                if rows:
                    panel.plot(steps, nats, color=color, marker=".", label=f"{codec.name}, seed {seed}")
        panel.set(title=model, xlabel="step", ylabel="held-out cross entropy, nats per token")
        if panel.lines:
            panel.legend()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)


def _log(comparison: Comparison, codec: ComparedCodec, model: str, seed: int) -> list[dict[str, float]]:
    return read_rows(comparison.runs / comparison.run_name(codec, model, seed) / "log.jsonl")


def _tokens(comparison: Comparison) -> Iterator[str]:
    """Validation at the end of each training."""
    yield "| model | codec | seed | perplexity of held-out tokens, by codebook |\n|---|---|---|---|"
    for task in comparison.tasks:
        for model in MODELS[task]:
            for codec in comparison.codecs:
                for seed in comparison.seeds:
                    last = _last_validation(comparison, codec, model, seed)
                    if last:
                        yield f"| {model} | {codec.name} | {seed} | {last} |"
    yield ""


def _last_validation(comparison: Comparison, codec: ComparedCodec, model: str, seed: int) -> str:
    held_out = [row for row in _log(comparison, codec, model, seed) if "valid/total" in row]
    if not held_out:
        return ""
    found = {name.rpartition("/")[2]: value for name, value in held_out[-1].items() if "valid/perplexity/" in name}
    return ", ".join(f"{codebook}: {value:.1f}" for codebook, value in found.items())
