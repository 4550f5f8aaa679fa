"""The tab Listen: a recording through a codec, beside the original."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xcodec import audio
from xcodec.app import html
from xcodec.app.clips import JOB, LONGEST_SECONDS, AppError, Wav, chosen, codec_of, errors_shown, read_clip, sound_input
from xcodec.engine.engine import Codec
from xcodec.evaluate.codecs import fix_length
from xcodec.evaluate.metrics import MetricError, MissingBackendError, compute, make
from xcodec.tokens.stream import open_tokens
from xcodec.tokens.xc_file import MAGIC, TokenFile, to_bytes


def tab(models: list[str]) -> None:
    """Build it, inside Gradio's Blocks."""
    import gradio as gr

    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            file = sound_input("listen", "A recording, or an .xc file")
            model = gr.Dropdown(models, value=models[0], allow_custom_value=True, label="Model: name or folder")
            choices, best = _bandwidths(models[0])
            bandwidth = gr.Radio(
                choices=choices, value=best, label="Bandwidth, kbit/s", elem_id="listen-bandwidth", interactive=True
            )
            engine = gr.Radio(["exact", "fast"], value="exact", label="Engine")
            button = gr.Button("Encode and decode", variant="primary", elem_id="listen-run")
        with gr.Column(scale=2, min_width=300):
            result = gr.HTML(
                html.hint("Open a recording: here you will hear it beside what the codec makes of it."),
                elem_id="listen-result",
            )
    inputs = [file, model, bandwidth, engine]
    model.change(errors_shown()(_radio), model, bandwidth, **JOB)
    button.click(errors_shown()(listen), inputs, result, **JOB)
    again = lambda file, *chosen: listen(file, *chosen) if file else gr.skip()  # noqa: E731
    bandwidth.input(errors_shown()(again), inputs, result, **JOB)


def _bandwidths(model: str) -> tuple[list[str], str]:
    """Choices, and the one that is chosen."""
    offered = [f"{each:g}" for each in codec_of(model).bandwidths]
    return offered, offered[-1]


def _radio(model: str) -> Any:
    import gradio as gr

    choices, value = _bandwidths(model)
    return gr.Radio(choices=choices, value=value)


def listen(file: str | None, model: str, kbps: str, engine: str) -> str:
    """What the tab shows."""
    path, codec = chosen(file), codec_of(model, engine)
    with path.open("rb") as opened:
        if opened.read(len(MAGIC)) == MAGIC:
            return _decoded_file(path, codec)
    wav = read_clip(path, codec.sample_rate)
    start = time.perf_counter()
    codes = codec.encode(wav, float(kbps))
    middle = time.perf_counter()
    decoded = fix_length(codec.decode(codes)[0, 0].cpu().numpy(), len(wav))
    end = time.perf_counter()
    seconds = len(wav) / codec.sample_rate
    content, files = _files(codec, codes[0].cpu().numpy(), decoded)
    values = {
        "Length": f"{seconds:.2f} s",
        "Bitrate": f"{8 * len(content) / seconds / 1000:.2f} kbit/s on disk",
        "Size": f"{len(content):,} bytes",
        **scores(wav, decoded, codec.sample_rate),
        "Encoded": f"{seconds / (middle - start):.0f} × real time",
        "Decoded": f"{seconds / (end - middle):.0f} × real time",
    }
    both = [html.player("Original", wav, codec.sample_rate), html.player("Decoded", decoded, codec.sample_rate)]
    return html.players(both) + html.facts(values) + html.downloads(files)


def _decoded_file(path: Path, codec: Codec) -> str:
    with open_tokens(path) as tokens:
        header = tokens.header
        header.expect(codec.config.name, bytes.fromhex(codec.fingerprint.tokens), path.name)
        if header.samples > LONGEST_SECONDS * header.sample_rate or header.channels != 1:
            raise AppError(f"{path.name} has {header.channels} channels and {header.samples} samples: too much here.")
        codes = np.concatenate(list(tokens.blocks()), axis=2)[0]  # (1, K, F) -> (K, F)
    decoded = fix_length(codec.decode(torch.from_numpy(codes))[0, 0].cpu().numpy(), header.samples)
    content, files = _files(codec, codes, decoded)
    seconds = header.samples / header.sample_rate
    values = {"Length": f"{seconds:.2f} s", "Codebooks": str(len(codes)), "Size": f"{len(content):,} bytes"}
    shown = html.players([html.player("Decoded", decoded, codec.sample_rate)], switch=False)
    return shown + html.facts(values) + html.downloads(files)


def _files(codec: Codec, codes: Any, decoded: Wav) -> tuple[bytes, dict[str, bytes]]:
    """The .xc file of codes `[K, F]`; and all that can be saved, by name."""
    name, tokens = codec.config.name, codec.fingerprint.tokens
    file = TokenFile(
        codes[None], codec.codebook_size, codec.sample_rate, len(decoded), codec.hop_length, name, bytes.fromhex(tokens)
    )
    content = to_bytes(file)
    as_json = html.tokens_json(codes, model=name, tokens=tokens, samples=len(decoded))
    return content, {
        "sound.xc": content,
        "decoded.wav": html.wav_bytes(decoded, codec.sample_rate),
        "tokens.json": as_json,
    }


def scores(original: Wav, decoded: Wav, sample_rate: int) -> dict[str, str]:
    """STOI and PESQ, or why there is none."""
    values: dict[str, str] = {}
    both = [audio.resample(each[None], sample_rate, 16_000)[0] for each in (original, decoded)]
    for name, title in {"stoi": "STOI", "pesq": "PESQ-WB"}.items():
        try:
            values[title] = f"{compute(make([name])[0], *both)[name]:.3f}"
        except (MetricError, MissingBackendError) as error:
            values[title] = f"none: {error}"
    return values
