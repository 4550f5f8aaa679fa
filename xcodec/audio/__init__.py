"""Audio files, in and out: nothing else in the project touches them.

Audio is a float32 array `[C, T]` (channels, samples), nominally in [-1, 1]. What a file holds is kept: values
beyond ±1 in float files stay as they are. What cannot be right is refused: NaN or infinite samples, a file
without samples, and above all a file that was cut short, which most readers answer with less audio and no
word.

Read: WAV, AIFF, FLAC, OGG (Vorbis) and Opus through libsndfile, which can seek; all else through FFmpeg (PyAV): MP3,
M4A, MP4, MOV, MKV, WebM, AAC, G.722 (raw, by its suffix `.g722`), CAF, W64, AU, AC-3, AMR, WavPack, TTA, APE, WMA,
VOC, 8SVX, RealMedia and other rare ones, what a WAV or OGG may hold beside plain samples, and FLAC that is read whole.
Written: WAV, FLAC, OGG (Vorbis) and Opus.

Lengths: `n` samples at `from_rate` become `floor(n * to_rate / from_rate + 1/2)` samples at `to_rate` (soxr's
rule), but at least one. A compressed file is as long as it says itself, without its encoder's padding; tags and
padding around it are no audio; streams joined one after another are read to the end of the last. A WAV whose length
its writer left open, or that wrapped at 4 GB, is read to the end of the file. Bare frames (MP3 without a length tag,
AAC, AC-3, AMR, G.722, DTS), what is recorded as it is broadcast (MPEG-TS, FLV), and the rare containers (but VOC and
8SVX) promise no length: there, and only there, a cut may look like an end.

    >>> import numpy as np
    >>> tone = np.sin(np.arange(44_100, dtype=np.float32) / 10)[np.newaxis]
    >>> resample(tone, 44_100, 16_000).shape
    (1, 16000)

`reading.py` and `writing.py` hold what is offered here; `containers.py` sees what a file is and whether it is whole,
and `decoding.py` opens it.
"""

from xcodec.audio.containers import AudioError
from xcodec.audio.decoding import format_of
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
    "format_of",
    "info",
    "read",
    "resample",
    "stated_seconds",
    "stream",
    "write",
]
