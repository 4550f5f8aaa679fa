"""Results as HTML that holds all of its audio, pictures and files as data addresses."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from xcodec.app.clips import Wav
from xcodec.audio import resample
from xcodec.evaluate.report.figures import data_address, spectrogram_png, token_png

CSS = """
.xc-players {display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem}
.xc figure {margin: 0 0 .5rem} .xc audio {width: 100%; display: block} .xc figcaption {font-weight: 600}
.xc img {width: 100%; height: 9rem; image-rendering: pixelated; border-radius: .4rem; margin: .3rem 0}
.xc-row {display: flex; flex-wrap: wrap; gap: .6rem; margin: .6rem 0}
.xc a.xc-button, .xc button {padding: .45rem .9rem; border-radius: .5rem; border: 1px solid currentColor;
  color: inherit; text-decoration: none; cursor: pointer; background: none; font: inherit}
.xc button {margin-top: .5rem} .xc td {white-space: nowrap}
.xc dl {display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .5rem 1rem; margin: .6rem 0}
.xc dt {opacity: .75; font-size: .9em} .xc dd {margin: 0; font-variant-numeric: tabular-nums}
.xc table {border-collapse: collapse; width: 100%} .xc th, .xc td {text-align: right; padding: .15rem .5rem}
.xc-live::-webkit-media-controls-timeline, .xc-live::-webkit-media-controls-time-remaining-display {display: none}
.xc .xc-scroll {overflow-x: auto} .xc .xc-hint {opacity: .75; padding: 2rem 1rem; text-align: center}
"""
SWITCH = (
    "const p = [...this.closest('.xc').querySelectorAll('audio')];"
    "const i = Math.max(0, p.findIndex((a) => !a.paused)), from = p[i], to = p[(i + 1) % p.length];"
    "from.pause(); to.currentTime = from.currentTime; to.play();"
)
"""Of a button: the next player goes on where this one is."""


def wav_bytes(wav: Wav, sample_rate: int) -> bytes:
    """A WAV file, 16 bits."""
    file = io.BytesIO()
    soundfile.write(file, wav, sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def player(title: str, wav: Wav, sample_rate: int, picture: bool = True) -> str:
    """A player, with a spectrogram."""
    image = ""
    if picture:
        at_16k = resample(wav[None], sample_rate, 16_000)[0]
        image = f'<img alt="Spectrogram: {escape(title)}" src="{spectrogram_png(at_16k)}">'
    sound = data_address(wav_bytes(wav, sample_rate), "audio/wav")
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{image}"
        f'<audio controls aria-label="{escape(title)}" src="{sound}"></audio></figure>'
    )


def live(address: str) -> str:
    """A player of what is still being made, and how long it will be is not known."""
    sound = f'<audio class="xc-live" controls autoplay aria-label="As it is made" src="{address}"></audio>'
    return f'<div class="xc">{sound}</div>'


def players(parts: Sequence[str], switch: bool = True) -> str:
    """Players side by side, and a button that switches between them at the same position."""
    button = f'<button type="button" onclick="{SWITCH}">Switch, at the same position</button>' if switch else ""
    return f'<div class="xc"><div class="xc-players">{"".join(parts)}</div>{button}</div>'


def hint(text: str) -> str:
    """What will be here."""
    return f'<div class="xc"><p class="xc-hint">{escape(text)}</p></div>'


def facts(values: Mapping[str, str]) -> str:
    """Names and values."""
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in values.items())
    return f'<div class="xc"><dl>{rows}</dl></div>'


def token_map(codes: NDArray[Any], codebook_size: int) -> str:
    """A picture of codes `[K, F]`."""
    address = token_png(codes, codebook_size)
    return (
        f'<div class="xc"><figure><img alt="Map of codes over time, a row per codebook" src="{address}">'
        "A row for each codebook, the coarsest on top; a colour for each code; time from left to right.</figure></div>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in columns."""
    line = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows)
    return f'<div class="xc"><div class="xc-scroll"><table><tr>{line}</tr>{body}</table></div></div>'


def downloads(files: Mapping[str, bytes]) -> str:
    """Links that save files, by name."""
    kinds = {"wav": "audio/wav", "json": "application/json", "csv": "text/csv"}
    links = "".join(
        f'<a class="xc-button" download="{escape(name)}" '
        f'href="{data_address(content, kinds.get(name.rpartition(".")[2], "application/octet-stream"))}">'
        f"Save {escape(name)}</a>"
        for name, content in files.items()
    )
    return f'<div class="xc"><div class="xc-row">{links}</div></div>'


def tokens_json(codes: NDArray[Any], **about: Any) -> bytes:
    """Codes `[K, F]`, a list per codebook, with what they are of."""
    return json.dumps({**about, "codes": np.asarray(codes).tolist()}).encode()
