"""Everything that can be judged, by name: `NAME`, `NAME@KBPS` or `NAME@all`.

    original                    the untouched clip
    opus@6 … opus@256           libopus
    codec2@0.7 … codec2@3.2     Codec 2
    hf:facebook/encodec_24khz   a codec of transformers: EnCodec, DAC, Mimi, X-Codec; also hf:FOLDER
    xcodec-mini, a folder, …    whatever `xcodec.load` takes

Without `@`, a codec is judged at its highest bandwidth (Codec 2 at 3.2, Opus at 12 kbps), with `@all` at each it has.
"""

from __future__ import annotations

from collections.abc import Sequence

from .base import Audio, Coded, Contender, Original, Tokenizer
from .codec2 import MODES, Codec2
from .opus import Opus

__all__ = ["Audio", "Coded", "Contender", "Original", "Tokenizer", "open_codecs"]


def open_codecs(specs: Sequence[str]) -> list[Contender]:
    """Contenders by name, in order; each model is loaded once, whatever the number of its bandwidths.

    Raises:
        ValueError: a name that nothing answers to, a bandwidth that a codec lacks, or the same contender twice.
    """
    loaded: dict[str, tuple[str, object]] = {}
    contenders = [contender for spec in specs for contender in _open(spec, loaded)]
    labels = [contender.label for contender in contenders]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"named twice: {', '.join(twice)}")
    return contenders


def _open(spec: str, loaded: dict[str, tuple[str, object]]) -> list[Contender]:
    name, _, rate = spec.rpartition("@") if "@" in spec else (spec, "", "")
    kbps = _kbps(rate, spec)
    if name == "original":
        if rate:
            raise ValueError("original has no bitrate")
        return [Original()]
    if name == "opus":
        if rate == "all":
            raise ValueError("opus has any bitrate from 6 to 256 kbps; name those to judge, such as opus@12")
        return [Opus(12.0 if kbps is None else kbps)]
    if name == "codec2":
        return [Codec2(each) for each in (MODES if rate == "all" else [MODES[-1] if kbps is None else kbps])]
    return _tokenizers(name, kbps, rate == "all", loaded)


def _kbps(rate: str, spec: str) -> float | None:
    if rate in ("", "all"):
        return None
    try:
        return float(rate)
    except ValueError:
        raise ValueError(f"{spec}: what follows @ must be kbps, or all, not {rate!r}") from None


def _tokenizers(name: str, kbps: float | None, every: bool, loaded: dict[str, tuple[str, object]]) -> list[Contender]:
    from xcodec.tokens import AudioTokenizer

    if name not in loaded:
        loaded[name] = _load(name)
    identity, tokenizer = loaded[name]
    assert isinstance(tokenizer, AudioTokenizer)
    offered = tokenizer.bandwidths
    if kbps is not None and not any(abs(kbps - each) < 0.005 for each in offered):
        raise ValueError(f"{name} has {', '.join(f'{each:g}' for each in offered)} kbps, not {kbps:g}")
    wanted = offered if every else [each for each in offered if kbps is None or abs(kbps - each) < 0.005][-1:]
    return [Tokenizer(f"{_short(name)}@{each:g}", f"{identity}@{each:g}", tokenizer, each) for each in wanted]


def _load(name: str) -> tuple[str, object]:
    """What is behind a name, and its exact identity, wherever it is kept."""
    short = _short(name)
    if name.startswith("hf:"):
        from importlib.metadata import version

        from .hub import HubTokenizer

        tokenizer = HubTokenizer(name.removeprefix("hf:"))
        revision = getattr(tokenizer.model.config, "_commit_hash", None) or "local"
        return f"{short} ({revision}), transformers {version('transformers')}", tokenizer
    from xcodec.codec.checkpoint import load, weights_hash

    codec = load(name)
    return f"{short} ({weights_hash(codec)})", codec


def _short(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]
