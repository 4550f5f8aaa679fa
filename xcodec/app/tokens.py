"""The tab Tokens: codes over time, how well they are used, and what becomes of the sound when some change."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xcodec.app import html
from xcodec.app.clips import JOB, chosen, codec_of, errors_shown, read_clip, sound_input
from xcodec.engine.engine import Codec
from xcodec.evaluate.codecs import fix_length
from xcodec.evaluate.token_measures import code_statistics

CHANGES = ["mute", "random codes", "in reverse", "shuffled in time"]


def tab(models: list[str]) -> None:
    """Build it, inside Gradio's Blocks."""
    import gradio as gr

    count = codec_of(models[0]).config.quantizer.codebooks
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            file = sound_input("tokens")
            model = gr.Dropdown(models, value=models[0], allow_custom_value=True, label="Model: name or folder")
            changed = gr.CheckboxGroup(
                [str(k + 1) for k in range(count)], label="Codebooks to change (1 is the coarsest)"
            )
            change = gr.Radio(CHANGES, value=CHANGES[0], label="Change")
            seed = gr.Number(0, precision=0, label="Seed")
            button = gr.Button("Show the tokens", variant="primary", elem_id="tokens-run")
        with gr.Column(scale=2, min_width=300):
            result = gr.HTML(
                html.hint("Open a recording: here you will see its codes, and hear what a change does."),
                elem_id="tokens-result",
            )
    button.click(errors_shown()(tokens), [file, model, changed, change, seed], result, **JOB)


def tokens(file: str | None, model: str, changed: list[str], change: str, seed: float) -> str:
    """What the tab shows."""
    codec, path = codec_of(model), chosen(file)
    wav = read_clip(path, codec.sample_rate)
    codes = codec.encode(wav)
    rows = [int(each) - 1 for each in changed if int(each) <= codes.shape[1]]
    other = with_change(codes, rows, change, codec.codebook_size, int(seed))
    whole = html.player("All codebooks", fix_length(codec.decode(codes)[0, 0].numpy(), len(wav)), codec.sample_rate)
    heard = fix_length(without(codec, other, rows if change == "mute" else [])[0, 0].numpy(), len(wav))
    parts = [whole, html.player(f"Changed: {', '.join(changed) or 'nothing'}", heard, codec.sample_rate)]
    measured = code_statistics([codes[0].numpy()], codec.codebook_size)
    bits = (codec.codebook_size - 1).bit_length()
    lines = [
        [str(k + 1), f"{entropy:.2f} of {bits}", f"{given:.2f}", f"{100 * usage:.1f} %", f"{100 * again:.1f} %"]
        for k, (entropy, given, usage, again) in enumerate(
            zip(measured.entropy, measured.bigram_entropy, measured.usage, measured.repetition, strict=True)
        )
    ]
    head = ["codebook", "entropy, bits", "given the code before", "entries used", "repeated"]
    return html.token_map(other[0].numpy(), codec.codebook_size) + html.players(parts) + html.table(head, lines)


def with_change(codes: Tensor, rows: list[int], change: str, codebook_size: int, seed: int) -> Tensor:
    """Codes int64 [B, K, F] with some codebooks replaced; those to be muted stay."""
    generator, changed = np.random.default_rng(seed), codes.clone()
    for k in rows:
        row: Any = codes[:, k].numpy()
        if change == "random codes":
            changed[:, k] = torch.from_numpy(generator.integers(codebook_size, size=row.shape))
        elif change == "in reverse":
            changed[:, k] = codes[:, k].flip(1)
        elif change == "shuffled in time":
            changed[:, k] = torch.from_numpy(generator.permutation(row, axis=1))
    return changed


@torch.no_grad()
def without(codec: Codec, codes: Tensor, muted: list[int]) -> Tensor:
    """Audio [B, 1, T] of codes [B, K, F], as if some codebooks added nothing."""
    network = codec.network
    levels = network.quantizer.first(codes.shape[1])
    vectors = [level.decode(codes[:, k]) * (k not in muted) for k, level in enumerate(levels)]
    return network.synthesise(torch.stack(vectors).sum(0).transpose(1, 2))  # (B, F, D) -> (B, D, F)
