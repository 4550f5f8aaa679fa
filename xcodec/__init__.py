"""X-Codec: a neural audio codec whose tokens carry meaning (arXiv 2408.17175).

import xcodec

codec = xcodec.load()
wav = xcodec.read_audio("speech.mp3", codec.sample_rate)  # float [T]
codes = codec.encode(wav, bandwidth=4)  # float [B, 1, T] or [T] -> int64 [B, K, F]
audio = codec.decode(codes)             # -> float [B, 1, F × hop_length]
xcodec.write_audio("decoded.wav", audio, codec.sample_rate)

tts = xcodec.TextToSpeech()
audio = tts("Good morning.")            # -> float [1, T] at tts.sample_rate
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xcodec.audio.tensors import read_audio, write_audio
    from xcodec.codec.config import XCodecConfig
    from xcodec.codec.model import XCodec
    from xcodec.engine.engine import Codec, load
    from xcodec.generate.speech import TextToSpeech
    from xcodec.inference.streaming import StreamingDecoder, StreamingEncoder

__version__ = "0.1.0"
__all__ = [
    "Codec",
    "StreamingDecoder",
    "StreamingEncoder",
    "TextToSpeech",
    "XCodec",
    "XCodecConfig",
    "__version__",
    "load",
    "read_audio",
    "write_audio",
]

# Imported when first asked for: torch takes seconds, and `xcodec --help` needs none of it.
_HOMES = {
    "XCodec": ".codec.model",
    "XCodecConfig": ".codec.config",
    "Codec": ".engine.engine",
    "StreamingDecoder": ".inference.streaming",
    "StreamingEncoder": ".inference.streaming",
    "TextToSpeech": ".generate.speech",
    "load": ".engine.engine",
    "read_audio": ".audio.tensors",
    "write_audio": ".audio.tensors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
