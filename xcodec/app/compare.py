"""The tab Compare: a clip through several codecs, blind, and the ratings as CSV."""

from __future__ import annotations

import csv
import io
import random
from typing import Any

from xcodec import audio
from xcodec.app import html
from xcodec.app.clips import JOB, AppError, chosen, read_clip, samples, shows_errors
from xcodec.evaluate.codecs import open_codecs

MOST = 6
"""Codecs at a time."""
OFFERED = ["original", "xcodec-mini@4", "xcodec-mini@2", "xcodec-mini@1", "opus@6", "opus@12", "codec2@3.2"]


def tab(models: list[str]) -> None:
    """Build it, inside Gradio's Blocks."""
    import gradio as gr

    others = [f"{model}@4" for model in models[1:]]
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            file = gr.File(label="A recording", type="filepath", height=140, elem_id="compare-file")
            microphone = gr.Audio(sources=["microphone"], type="filepath", label="Microphone")
            sample = gr.Dropdown([("none", ""), *samples().items()], value="", label="Sample")
            codecs = gr.CheckboxGroup(
                [*OFFERED, *others], value=["original", "xcodec-mini@4", "opus@6"], label=f"Codecs, at most {MOST}"
            )
            more = gr.Textbox(label="Others: NAME@KBPS or FOLDER@KBPS, separated by blanks")
            blind = gr.Checkbox(True, label="Blind: shuffled, without names")
            button = gr.Button("Code the clip", variant="primary", elem_id="compare-run")
        with gr.Column(scale=2, min_width=300):
            result = gr.HTML(elem_id="compare-result")
            ratings = [
                gr.Slider(1, 5, 3, step=1, label=f"Rating of {letter}", visible=False) for letter in "ABCDEF"[:MOST]
            ]
            reveal = gr.Button("Show the names", visible=False, elem_id="compare-reveal")
            save = gr.Button("Make the table of ratings", visible=False, elem_id="compare-save")
            names = gr.HTML(elem_id="compare-names")
    order = gr.State([])
    inputs = [file, microphone, sample, codecs, more, blind]
    button.click(shows_errors(_compare), inputs, [result, order, names, reveal, save, *ratings], **JOB)
    reveal.click(named, order, names, api_visibility="private")
    save.click(shows_errors(_ratings), [file, microphone, sample, order, *ratings], names, api_visibility="private")


def _compare(*given: Any) -> list[Any]:
    import gradio as gr

    shown, order = compare(*given)
    visible = [gr.Slider(visible=index < len(order), value=3) for index in range(MOST)]
    return [shown, order, "", gr.Button(visible=True), gr.Button(visible=True), *visible]


def compare(
    file: str | None, microphone: str | None, sample: str, codecs: list[str], more: str, blind: bool
) -> tuple[str, list[str]]:
    """The players, and the codecs behind them."""
    specs = [*codecs, *more.split()]
    opened = open_codecs(specs)
    if not 1 <= len(opened) <= MOST:
        raise AppError(f"Choose 1 to {MOST} codecs, not {len(opened)}.")
    path = chosen(file, microphone, sample)
    if blind:
        random.shuffle(opened)
    parts = []
    for letter, codec in zip("ABCDEF", opened, strict=False):
        coded = codec(read_clip(path, codec.sample_rate))
        title = letter if blind else f"{letter}: {codec.label}"
        wav = audio.resample(coded.audio[None], codec.sample_rate, 16_000)[0]  # one rate: it would tell them apart
        parts.append(html.player(title, wav, 16_000, picture=not blind))
    return html.players(parts), [codec.label for codec in opened]


def named(order: list[str]) -> str:
    """Which letter is which codec."""
    return html.facts(dict(zip("ABCDEF", order, strict=False)))


def _ratings(file: str | None, microphone: str | None, sample: str, order: list[str], *values: float) -> str:
    clip = chosen(file, microphone, sample).name
    return named(order) + html.downloads({"ratings.csv": ratings_csv(clip, order, values)})


def ratings_csv(clip: str, order: list[str], values: Any) -> bytes:
    """A line per codec: clip, letter, codec, rating from 1 (bad) to 5 (excellent)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "letter", "codec", "rating"])
    writer.writerows(
        [clip, letter, codec, value] for letter, codec, value in zip("ABCDEF", order, values, strict=False)
    )
    return text.getvalue().encode()
