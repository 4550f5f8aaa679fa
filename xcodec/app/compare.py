"""The tab Compare: a clip through several codecs, blind, and the ratings as CSV."""

from __future__ import annotations

import csv
import io
import random
from typing import Any

from xcodec import audio
from xcodec.app import html
from xcodec.app.clips import JOB, SAMPLES, AppError, chosen, errors_shown, read_clip, sound_input
from xcodec.evaluate.codecs import open_codecs

MOST = 6
"""Codecs at a time."""
LETTERS = "ABCDEF"[:MOST]
RATINGS = [("1 bad", 1), ("2 poor", 2), ("3 fair", 3), ("4 good", 4), ("5 excellent", 5)]
OFFERED = ["original", "xcodec-mini@4", "xcodec-mini@2", "xcodec-mini@1", "opus@6", "opus@12", "codec2@3.2"]


ACOUSTIC = SAMPLES.parent / "checkpoints/xcodec-mini-acoustic"
"""Of xcodec-mini, without the semantic branch; in a checkout."""


def tab(models: list[str]) -> None:
    """Build it, inside Gradio's Blocks."""
    import gradio as gr

    twin = [(f"{ACOUSTIC.name}@4", f"{ACOUSTIC}@4")] if ACOUSTIC.is_dir() else []
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            file = sound_input("compare")
            codecs = gr.CheckboxGroup(
                [*OFFERED, *twin, *models[1:]],
                value=["original", "xcodec-mini@4", "opus@6"],
                label=f"Codecs, at most {MOST}",
            )
            more = gr.Textbox("", label="Others", placeholder="NAME@KBPS or FOLDER@KBPS, separated by blanks")
            blind = gr.Checkbox(True, label="Blind: shuffled, without names")
            button = gr.Button("Code the clip", variant="primary", elem_id="compare-run")
        with gr.Column(scale=2, min_width=300):
            about = "Open a recording: here you will hear it through each codec, and rate what you hear."
            result = gr.HTML(html.hint(about), elem_id="compare-result")
            ratings = [
                gr.Radio(RATINGS, label=f"Rating of {letter}", visible=False, elem_id=f"compare-rating-{letter}")
                for letter in LETTERS
            ]
            with gr.Row():
                reveal = gr.Button("Show the names", visible=False, elem_id="compare-reveal")
                save = gr.Button("Save the ratings", visible=False, elem_id="compare-save")
            names = gr.HTML(elem_id="compare-names")
    compared = gr.State()
    outputs = [result, compared, names, reveal, save, *ratings]
    button.click(errors_shown()(_compare), [file, codecs, more, blind], outputs, **JOB)
    reveal.click(lambda compared: named(compared[1]), compared, names, api_visibility="private")
    save.click(_ratings, [compared, *ratings], names, api_visibility="private")


def _compare(file: str | None, *given: Any) -> list[Any]:
    import gradio as gr

    shown, order = compare(file, *given)
    visible = [gr.Radio(visible=index < len(order), value=None) for index in range(MOST)]
    return [shown, (chosen(file).name, order), "", gr.Button(visible=True), gr.Button(visible=True), *visible]


def compare(file: str | None, codecs: list[str], more: str, blind: bool) -> tuple[str, list[str]]:
    """The players, and the codecs behind them."""
    path, opened = chosen(file), open_codecs([*codecs, *more.split()])
    if not 1 <= len(opened) <= MOST:
        raise AppError(f"Choose 1 to {MOST} codecs, not {len(opened)}.")
    if blind:
        random.shuffle(opened)
    parts = []
    for letter, codec in zip(LETTERS, opened, strict=False):
        coded = codec(read_clip(path, codec.sample_rate))
        title = letter if blind else f"{letter}: {codec.label}"
        wav = audio.resample(coded.audio[None], codec.sample_rate, 16_000)[0]  # one rate: it would tell them apart
        parts.append(html.player(title, wav, 16_000, picture=not blind))
    return html.players(parts), [codec.label for codec in opened]


def named(order: list[str]) -> str:
    """Which letter is which codec."""
    return html.facts(dict(zip(LETTERS, order, strict=False)))


def _ratings(compared: tuple[str, list[str]], *values: int | None) -> str:
    clip, order = compared
    return named(order) + html.downloads({"ratings.csv": ratings_csv(clip, order, values)})


def ratings_csv(clip: str, order: list[str], values: Any) -> bytes:
    """A line per codec: clip, letter, codec, rating from 1 (bad) to 5 (excellent), empty if there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "letter", "codec", "rating"])
    writer.writerows([clip, letter, codec, value] for letter, codec, value in zip(LETTERS, order, values, strict=False))
    return text.getvalue().encode()
