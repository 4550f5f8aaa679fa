"""Do words survive? Read by Whisper-base, and by a recogniser that is no relative of the teacher.

    python -m experiments.xcodec_mini.words data/valid-english data/models/whisper-base runs/xcodec-mini-2/model@1 …

pocketsphinx (hidden Markov models of 2016) misreads much of the original too, so its errors are counted against what it
read there, as Whisper's are. What falls is how much a codec changes for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from experiments.xcodec_mini.first_codebook import RATE, word_error_rate
from xcodec import audio
from xcodec.codec.model import XCodec
from xcodec.evaluate.asr import Recogniser

Reader = Callable[[np.ndarray], str]


def main(
    validation: Annotated[Path, typer.Argument(help="Speech, FLAC files.")],
    whisper: Annotated[str, typer.Argument(help="Whisper-base as a CTranslate2 folder.")],
    codecs: Annotated[list[str], typer.Argument(help="MODEL@CODEBOOKS, such as runs/xcodec-mini-2/model@1.")],
) -> None:
    """Print a line of JSON for each codec."""
    torch.set_num_threads(1)
    recogniser = Recogniser(whisper)
    readers: dict[str, Reader] = {"whisper": lambda samples: recogniser.transcribe(samples, "en"), "sphinx": sphinx()}
    clips = [audio.read(path, RATE)[0][0] for path in sorted(validation.glob("*.flac"))]
    references = {name: [read(clip) for clip in clips] for name, read in readers.items()}
    for each in codecs:
        source, _, codebooks = each.rpartition("@")
        codec = XCodec.from_pretrained(source)
        made = [coded(codec, clip, int(codebooks)) for clip in clips]
        result = {"codec": each}
        for name, read in readers.items():
            wer = word_error_rate(references[name], [read(clip) for clip in made])
            result[f"wer_{name}"] = f"{wer:.1f}"
        print(json.dumps(result), flush=True)


def coded(codec: XCodec, samples: np.ndarray, codebooks: int) -> np.ndarray:
    """[T] through so many codebooks, and back: [T]."""
    codes = codec.encode(torch.from_numpy(samples))[:, :codebooks]
    return codec.decode(codes)[0, 0, : len(samples)].numpy()


def sphinx() -> Reader:
    """pocketsphinx with its own language model of US English."""
    import pocketsphinx

    decoder = pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL")

    def read(samples: np.ndarray) -> str:
        decoder.start_utt()
        decoder.process_raw(np.rint(samples.clip(-1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""

    return read


if __name__ == "__main__":
    typer.run(main)
