"""Which network gives magnitudes their phases? Vocoders trained on true magnitudes for equal time.

    python -m experiments.xcodec_mini.learned_phase data/open-audio data/valid-english pulses none --minutes 10

No codes are involved: the magnitudes are those of the recordings. Judged by PESQ-WB and STOI on real speech that was
not trained on, and on clips of synthetic voices that were held out.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from xcodec import audio
from xcodec.codec.config import VocoderConfig
from xcodec.codec.spectral import mel_bands
from xcodec.codec.spectrogram import Spectrogram
from xcodec.codec.vocoder import Vocoder
from xcodec.data.crops import CorpusConfig, CropConfig, RandomCrops
from xcodec.train.config import LossWeights, SpectraConfig
from xcodec.train.losses import (
    ReconstructionLosses,
    consistency_distance,
    log_amplitude_distance,
    phase_distance,
    spectra_of,
)

RATE, WINDOW_HOP = 16_000, 160
CROP_SECONDS, BATCH = 0.64, 16
LEARNING_RATE = 5e-4
RESOLUTIONS = ((2048, 512, 128), (1024, 256, 80), (512, 128, 64))
"""Not shorter: windows that tell one pulse from the next would ask when they fall, which magnitudes do not tell."""
EVALUATED_SECONDS = 6.0

BASE = VocoderConfig()
CANDIDATES = {
    "pulses": (2, BASE),
    "pulses-small": (2, replace(BASE, width=192, layers=4)),
    "pulses-8": (2, replace(BASE, layers=8)),
    "pulses-100hz": (1, replace(BASE, layers=4)),
    "pulses-lookahead-1": (2, replace(BASE, lookahead=1)),
    "pulses-wide": (2, replace(BASE, width=384, layers=4)),
    "none": (2, replace(BASE, excitation=False)),
}
"""Name → windows of the spectrogram per frame, and the network."""


def main(
    corpus: Annotated[Path, typer.Argument(help="The folder of recipes/open-audio.")],
    validation: Annotated[Path, typer.Argument(help="Real speech, FLAC files.")],
    names: Annotated[list[str], typer.Argument(help=f"Of: {', '.join(CANDIDATES)}.")],
    minutes: Annotated[float, typer.Option(help="Of processor time, for each.")] = 10.0,
    every: Annotated[float, typer.Option(help="Minutes from one judgement to the next.")] = 5.0,
    threads: Annotated[int, typer.Option()] = 1,
    out: Annotated[Path | None, typer.Option(help="JSON lines to append to; networks lie beside it.")] = None,
) -> None:
    """Train each, and say how it does as it learns."""
    torch.set_num_threads(threads)
    manifest = str(corpus / "manifest.jsonl")
    english = CorpusConfig(manifest, "train", ("speech",), weight=0.8)
    other = CorpusConfig(manifest, "train", ("music",), weight=0.2)
    crops = RandomCrops.from_config([english, other], CropConfig(CROP_SECONDS, RATE, (-6.0, 3.0)), seed=0)
    rows = [json.loads(line) for line in Path(manifest).read_text("utf-8").splitlines()]
    held_out = [row for row in rows if row["split"] == "valid" and row["source"] == "synthetic-kokoro"]
    sets = {
        "real": [audio.read(path, RATE)[0][0] for path in sorted(validation.glob("*.flac"))[::2]],
        "synthetic": [audio.read(corpus / row["path"], RATE)[0][0] for row in held_out[:6]],
    }
    for name in names:
        train(name, crops, sets, minutes, every, out)


def train(
    name: str, crops: RandomCrops, sets: dict[str, list[np.ndarray]], minutes: float, every: float, out: Path | None
) -> None:
    """Train a candidate for so many minutes of processor time, and report on it."""
    torch.manual_seed(0)
    per_frame, config = CANDIDATES[name]
    spectrogram = Spectrogram(WINDOW_HOP)
    network = Vocoder(config, spectrogram, mel_bands(100, spectrogram.bins, RATE), per_frame, RATE)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, betas=(0.8, 0.99))
    mel = ReconstructionLosses(LossWeights(mel=1, stft=0, subband_stft=0), SpectraConfig(resolutions=RESOLUTIONS), RATE)

    def report(step: int, losses: dict[str, float]) -> None:
        result = {"candidate": name, "step": step, "minutes": round((time.process_time() - begin) / 60, 1)}
        result |= {key: round(value, 4) for key, value in losses.items()}
        for kind, clips in sets.items():
            result |= {f"{key}_{kind}": value for key, value in judge(network, clips).items()}
        line = json.dumps(result)
        print(line, flush=True)
        if out is not None:
            with out.open("a") as file:
                file.write(line + "\n")
            torch.save(network.state_dict(), out.with_name(f"vocoder-{name}.pt"))

    begin, step, next_report, losses = time.process_time(), 0, every, {}
    report(0, {})
    while (progress := (time.process_time() - begin) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / 100) * (1 - 0.9 * progress)
        wav = torch.stack([crops[step * BATCH + index].audio for index in range(BATCH)])
        losses = vocoder_losses(network, mel, wav)
        total = 15 * losses["mel"] + 1.5 * losses["amplitude"] + 2 * losses["phase"] + 5 * losses["consistency"]
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        step += 1
        if time.process_time() - begin > 60 * next_report:
            next_report += every
            report(step, {key: value.item() for key, value in losses.items()})
    report(step, {key: value.item() for key, value in losses.items()})


def vocoder_losses(network: Vocoder, mel: ReconstructionLosses, wav: Tensor) -> dict[str, Tensor]:
    """Of a batch [B, 1, T]."""
    spectrogram = network.spectrogram
    spectra = network(spectrogram.analyse(wav))
    made = network.to_audio(spectra)
    true, again = (spectra_of(spectrogram, each) for each in (wav, made))
    return {
        **mel(made, wav),
        "amplitude": log_amplitude_distance(spectra, true),
        "phase": phase_distance(spectra, true),
        "consistency": consistency_distance(spectra, again),
    }


def judge(network: Vocoder, clips: list[np.ndarray]) -> dict[str, float]:
    """Mean PESQ-WB and STOI of clips [T]."""
    from pesq import pesq
    from pystoi import stoi

    scores = []
    for clip in clips:
        count = min(len(clip), int(EVALUATED_SECONDS * RATE)) // 320 * 320
        wav = torch.from_numpy(clip[:count])[None, None]
        with torch.inference_mode():
            made = network.to_audio(network(network.spectrogram.analyse(wav)))[0, 0].numpy()
        scores.append((pesq(RATE, clip[:count], made, "wb"), stoi(clip[:count], made, RATE)))
    means = np.mean(scores, axis=0)
    return {"pesq": round(float(means[0]), 3), "stoi": round(float(means[1]), 4)}


if __name__ == "__main__":
    typer.run(main)
