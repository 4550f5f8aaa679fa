"""Audio files, in and out: nothing else in the project touches them.

Audio is a float32 array `[C, T]` (channels, samples), nominally in [-1, 1]. What a file holds is kept: values
beyond ±1 in float files stay as they are. What cannot be right is refused: NaN or infinite samples, a file
without samples, and above all a file that was cut short, which most readers answer with less audio and no
word.

Read: WAV, AIFF, FLAC, OGG (Vorbis) and Opus through libsndfile; MP3, M4A, AAC, raw G.722 (`.g722`) and FLAC
of unstated length through FFmpeg (PyAV). Written: WAV, FLAC, OGG (Vorbis) and Opus.

Lengths: `n` samples at `from_rate` become `floor(n * to_rate / from_rate + 1/2)` samples at `to_rate` (soxr's
rule), but at least one. A compressed file is as long as it says itself, without its encoder's padding. MP3
without a length tag, raw AAC and G.722 promise no length: there, and only there, a cut may look like an end.

    >>> import numpy as np
    >>> tone = np.sin(np.arange(44_100, dtype=np.float32) / 10)[np.newaxis]
    >>> resample(tone, 44_100, 16_000).shape
    (1, 16000)

`reading.py` and `writing.py` hold what is offered here; `decoding.py` opens files, and `intact.py` sees
whether they are whole.
"""

from xcodec.audio.errors import AudioError
from xcodec.audio.reading import AUDIO_SUFFIXES, AudioInfo, find_audio, info, read, resample, stated_seconds, stream
from xcodec.audio.writing import Writer, write
from xcodec.utils.files import atomic_write

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioError",
    "AudioInfo",
    "Writer",
    "atomic_write",
    "find_audio",
    "info",
    "read",
    "resample",
    "stated_seconds",
    "stream",
    "write",
]
