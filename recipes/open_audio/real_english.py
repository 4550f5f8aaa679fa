"""Real English speech to validate on: 4.5 minutes of several speakers, from the test data of two packages.

    pip download --no-deps --no-binary :all: --dest data/wheels silero-vad==6.2.3
    pip download --no-deps --dest data/wheels moonshine-voice==0.1.5
    python -m recipes.open_audio.real_english data/wheels data/valid-english

The corpus has no English by human speakers but what is kept for evaluation, and a codec that is chosen on synthetic
voices is chosen for them. Both packages are under the MIT licence. Broadcast news with several speakers, a lecture,
and a page of Dickens read aloud, cut in pauses into pieces that fit the 30 s of a recogniser. There are no transcripts:
word errors are counted against what the recogniser reads in the original.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from recipes.open_audio.convert import SAMPLE_RATE, write_flac
from xcodec import audio

MEMBERS = {
    "silero_vad-*.tar.gz": {
        "silero_vad-6.2.3/examples/c++/aepyx.wav": "news",
        "silero_vad-6.2.3/tests/data/test.wav": "lecture",
    },
    "moonshine_voice-*.whl": {"moonshine_voice/assets/two_cities.wav": "dickens"},
}
MAX_SECONDS = 28.0
SEARCHED = 8.0
"""A piece ends at the quietest moment of its last seconds, so many."""


def main(wheels: Path, out: Path) -> None:
    for pattern, members in MEMBERS.items():
        archive = next(iter(sorted(wheels.rglob(pattern))), None)
        if archive is None:
            raise SystemExit(f"error: no {pattern} in {wheels}; download it as this file's first lines say")
        for member, name in members.items():
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                file.write(read_member(archive, member))
                file.flush()
                samples = audio.read(Path(file.name), SAMPLE_RATE)[0][0]  # (1, T) -> (T,)
            for number, piece in enumerate(pieces(samples)):
                write_flac(out / f"{name}-{number}.flac", piece)


def read_member(archive: Path, member: str) -> bytes:
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).read(member)
    with tarfile.open(archive) as opened:
        file = opened.extractfile(member)
        assert file is not None, "a file, not a folder"
        return file.read()


def pieces(samples: np.ndarray) -> list[np.ndarray]:
    """[T] -> pieces that fit, cut where it is quiet."""
    cut = []
    while len(samples) > MAX_SECONDS * SAMPLE_RATE:
        end = int(MAX_SECONDS * SAMPLE_RATE)
        start = int((MAX_SECONDS - SEARCHED) * SAMPLE_RATE)
        energy = np.convolve(samples[start:end] ** 2, np.ones(SAMPLE_RATE // 5), "valid")
        middle = start + int(energy.argmin()) + SAMPLE_RATE // 10
        cut.append(samples[:middle])
        samples = samples[middle:]
    return [*cut, samples]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
