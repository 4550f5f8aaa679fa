"""Which codec should the long run train? Candidates that differ in one thing each, trained for equal processor time.

    python -m recipes.open_audio.prepare        # and data/teachers, see docs/xcodec-mini.md
    python -m experiments.xcodec_mini.ablations [--seconds 75] [NAME …]

A candidate is a shipped config and changes to it. Its schedule follows the time, not the steps: whatever a step costs,
all warm up for 3 % of the time, place their codebooks (on as much audio, which counts) after 30 %, as xcodec-mini did,
and end with the same small learning rate. One thread, and processor time, which means the same on a machine that is
busy. Then each is judged on the validation split: nothing here looks at data kept for evaluation.

Results are kept in runs/candidates: what is there is not trained again, so a comparison can be interrupted, and grows
by naming more candidates. The table goes to standard output (docs/xcodec-mini.md has one).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import re
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pesq import pesq
from pystoi import stoi
from torch import Tensor

from xcodec import audio
from xcodec.codec.model import XCodec
from xcodec.data.crops import CropBatch
from xcodec.evaluate.metrics.learned import Dnsmos
from xcodec.train.codec import CodecTrainer
from xcodec.train.config import load_config

ROOT = Path(__file__).parents[2]
RATE = 16_000
COUNTS = (1, 2, 8)
"""Numbers of codebooks evaluated: 0.5, 1 and 4 kbps."""
RATED = 4
"""Clips rated by DNSMOS, with all codebooks only: each takes two seconds."""
TICKS = 100_000
"""What a budget is divided into; schedules are in ticks."""
NEVER = 1_000_000_000
ALL_ALIKE = (
    f"steps={TICKS}",
    f"optimizer.warmup={3 * TICKS // 100}",
    f"quantize_from={30 * TICKS // 100}",
    "model.quantizer.kmeans_iterations=4",  # more would take a quarter of a short run
    *(f"{key}={NEVER}" for key in ("log_every", "validate_every", "checkpoint_every")),
    "trackers=[]",
    "data.workers=0",  # reading counts too
    "threads=1",
)
# The release's, with the release's ratio of their losses to each other, which make about a quarter of the total here.
# They get two of ten clips, or they would take nearly all of the time.
DISCRIMINATORS = (
    "losses.adversarial=0.2",
    "losses.feature_matching=4",
    "discriminators.width=16",
    "discriminators.clips=2",
)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What is trained."""

    name: str
    changes: tuple[str, ...] = ()
    config: str = "xcodec-mini-acoustic"
    budgets: int = 1
    kmeans_batches: int = 20


CANDIDATES = (
    Candidate("as shipped"),
    Candidate("as shipped, another seed", ("seed=1",)),
    Candidate("narrower: 192 × 4, 240 × 6", ("model.acoustic={encoder_width: 192, decoder_width: 240}",)),
    Candidate("wider: 384 × 4, 480 × 6", ("model.acoustic={encoder_width: 384, decoder_width: 480}",)),
    Candidate("shallower: 256 × 2, 320 × 3", ("model.acoustic={encoder_layers: 2, decoder_layers: 3}",)),
    Candidate("deeper: 256 × 8, 320 × 12", ("model.acoustic={encoder_layers: 8, decoder_layers: 12}",)),
    Candidate("batches of 5", ("batch_size=5",), kmeans_batches=40),
    Candidate("batches of 20", ("batch_size=20",), kmeans_batches=10),
    Candidate("discriminators from half way", (*DISCRIMINATORS, f"discriminators.start={TICKS // 2}")),
    Candidate("discriminators from the start", DISCRIMINATORS),
    Candidate("semantic: teacher's layer 3, as shipped", config="xcodec-mini"),
    Candidate("semantic: mean of layers", ("model.semantic.teacher.layers=mean",), "xcodec-mini"),
    Candidate("semantic: last layer", ("model.semantic.teacher.layers=4",), "xcodec-mini"),
    Candidate("as shipped, 2 × the time", budgets=2),
    Candidate("as shipped, 4 × the time", budgets=4),
)


class TimedTrainer(CodecTrainer):
    """A trainer whose ``step`` is the processor time used, in ticks, so that every schedule is one of time."""

    seconds: float
    done = 0

    def batches(self) -> Iterator[list[CropBatch]]:
        """Batches while there is time."""
        began = time.process_time()  # building networks and reading validation clips does not count
        for batches in super().batches():
            self.step = int(TICKS * (time.process_time() - began) / self.seconds)
            if self.step >= TICKS:
                return
            self.done += 1
            yield batches


def train(candidate: Candidate, seconds: float, runs: Path) -> TimedTrainer:
    """Train a candidate until its time is up."""
    name = re.sub("[^a-z0-9]+", "-", candidate.name)[:31]  # as long as a codec's name may be
    batches = f"kmeans_batches={candidate.kmeans_batches}"
    changes = (*ALL_ALIKE, f"runs={runs}", f"name={name}", batches, *candidate.changes)
    trainer = TimedTrainer(load_config(ROOT / "configs" / f"{candidate.config}.yaml", changes))
    trainer.seconds = candidate.budgets * seconds
    shutil.rmtree(trainer.config.folder, ignore_errors=True)  # of one that was interrupted
    trainer.start(resume=False)
    trainer.train()
    if trainer.step < TICKS:
        raise SystemExit(f"{candidate.name} was stopped before its time was up; its results are not kept")
    return trainer


def read_clips(manifest: Path, count: int) -> list[Tensor]:
    """Clips [1, 1, T] of human speech of 3 to 6 s of the validation split, in an order that no one picks."""
    rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == "valid" and row["domain"] == "speech" and 3 <= row["seconds"] <= 6]
    rows = [row for row in rows if not row["source"].startswith("synthetic")]
    random.Random(0).shuffle(rows)
    return [torch.from_numpy(audio.read(manifest.parent / row["path"], RATE)[0])[None] for row in rows[:count]]


@torch.inference_mode()
def judge(codec: XCodec, batches: list[Tensor], clips: list[Tensor]) -> dict[str, Any]:
    """What a codec makes of the trainer's validation crops, batches of [B, 1, T], and of clips of speech [1, 1, T]."""
    codec.eval()
    found: dict[str, list[float]] = {"spectra": [], "stoi": [], "pesq": [], "dnsmos": []}
    told, there = [], []
    dnsmos = Dnsmos()
    coded = [codec.encode(clip) for clip in clips]
    for count in COUNTS:
        errors = []
        for batch in batches:
            output = codec(batch, torch.full((len(batch),), count), with_audio=False)
            assert output.spectra is not None, "all candidates are spectral"
            assert output.true_spectra is not None
            errors += (output.spectra - output.true_spectra).abs().mean((1, 2)).tolist()
            if count == 1 and output.semantic is not None and output.teacher is not None:
                told.append(output.semantic)
                there.append(output.teacher)
        found["spectra"].append(statistics.mean(errors))
        originals = [clip[0, 0].numpy() for clip in clips]
        decoded = [codec.decode(codes[:, :count])[0, 0].numpy() for codes in coded]
        pairs = [(wav, made[: len(wav)]) for wav, made in zip(originals, decoded, strict=True)]
        found["stoi"].append(statistics.mean(float(stoi(*pair, RATE)) for pair in pairs))
        found["pesq"].append(statistics.mean(pesq(RATE, *pair, "wb") for pair in pairs))
    found["dnsmos"].append(statistics.mean(dnsmos(*pair)["dnsmos"] for pair in pairs[:RATED]))
    return {**found, "meaning": explained(torch.cat(told), torch.cat(there)) if told else None}


def explained(told: Tensor, there: Tensor) -> float:
    """Of the variance between clips of the teacher's features [B, D, F], the share that the codes tell.

    A teacher also says where in its window a frame lies. That is no meaning, and the same in all crops: their mean at
    each frame is taken out of what there is to tell.
    """
    return 1 - float(F.mse_loss(told, there) / F.mse_loss(there.mean(0, keepdim=True).expand_as(there), there))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| candidate | steps | audio, min | weights, M | spectra | STOI | PESQ-WB | DNSMOS | meaning |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["name"], f"{row['steps']:,}", f"{row['audio'] / 60:.0f}", f"{row['weights'] / 1e6:.1f}"]
        for measure, digits in (("spectra", 4), ("stoi", 3), ("pesq", 2), ("dnsmos", 2)):
            cells.append(" · ".join(f"{value:.{digits}f}" for value in row[measure]))
        cells.append("" if row["meaning"] is None else f"{100 * row['meaning']:.0f} %")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="how the names of candidates begin; all of them by default")
    parser.add_argument("--seconds", type=float, default=75, help="of processor time for each")
    parser.add_argument("--clips", type=int, default=12, help="of speech to judge by")
    options = parser.parse_args()

    runs = Path("runs/candidates") / f"{options.seconds:g}"
    results = runs / "results.json"
    rows: dict[str, dict[str, Any]] = json.loads(results.read_text("utf-8")) if results.exists() else {}
    clips: list[Tensor] = []
    for each in CANDIDATES:
        if each.name in rows or (options.names and not each.name.startswith(tuple(options.names))):
            continue
        clips = clips or read_clips(ROOT / "data/open-audio/manifest.jsonl", options.clips)
        began = time.perf_counter()
        trainer = train(each, options.seconds, runs)
        assert trainer.validator is not None
        print(f"{each.name}: {trainer.done} steps in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        rows[each.name] = {
            "name": each.name,
            "steps": trainer.done,
            "audio": trainer.done * trainer.config.batch_size * trainer.config.data.seconds,
            "weights": sum(value.numel() for value in trainer.trainable.values()),
            **judge(trainer.network, trainer.validator.batches, clips),
        }
        runs.mkdir(parents=True, exist_ok=True)
        with audio.atomic_write(results) as beside:
            beside.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    print(table([rows[each.name] for each in CANDIDATES if each.name in rows]))


if __name__ == "__main__":
    main()
