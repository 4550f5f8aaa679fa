"""What a training step costs, per second of audio, against a loop that does what the release's does.

    python benchmarks/training_step.py [--config configs/xcodec-mini.yaml] [--rounds 5] [--batch 16]

The same network is trained by four loops, in turn, in one process:

- ours: `CodecTrainer.gan_step` with the config as it is, from `quantize_from` on (where its encoder may rest);
- ours, their losses: the same with the losses and discriminators of configs/xcodec-hubert-librispeech.yaml, which are
  the release's, and nothing at rest;
- release: those losses and discriminators, one clip of three seconds per step, the codec run twice: once to learn, and
  once more to give the discriminators something to learn from;
- release, batched: the same with our batch, so that what is left is the second run of the codec alone.

Weights are random (they do not change the time), audio is that of samples/. Times are CPU seconds, medians over the
rounds, so that they mean the same on a machine that is busy; on a GPU they mean nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from xcodec.data.crops import CorpusConfig
from xcodec.train.codec import CodecTrainer
from xcodec.train.config import TrainConfig, load_config
from xcodec.train.losses import adversarial_losses, discriminator_loss

ROOT = Path(__file__).parent.parent


def release_step(trainer: CodecTrainer, clips: Tensor, codebooks: Tensor) -> None:
    """The order of the release's trainer: the codec learns, then runs again for the discriminators."""
    discriminators = trainer.discriminators
    assert discriminators is not None
    output = trainer.codec(clips, codebooks)
    losses = trainer.losses(output, clips)
    with torch.no_grad():
        on_real = discriminators(clips)
    losses |= adversarial_losses(trainer.config.losses, on_real, discriminators(output.audio))
    trainer.losses.weighted(losses).backward()
    torch.nn.utils.clip_grad_norm_(trainer.trainable.values(), trainer.config.optimizer.clip)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()

    trainer.discriminator_optimizer.zero_grad()  # of what the codec's loss left there
    with torch.no_grad():
        fake = trainer.codec(clips, codebooks).audio
    discriminator_loss(discriminators(clips), discriminators(fake)).backward()
    torch.nn.utils.clip_grad_norm_(discriminators.parameters(), trainer.config.optimizer.clip)
    trainer.discriminator_optimizer.step()
    trainer.discriminator_optimizer.zero_grad()


def loop(config: TrainConfig, as_released: bool) -> Callable[[], float]:
    """A function that makes one step, and gives the CPU seconds it took per second of audio."""
    trainer = CodecTrainer(config)
    trainer.codec.train()
    batches = trainer.batches()

    def step() -> float:
        (batch,) = next(batches)
        trainer.quantizing = True
        trainer.before_step(print)
        codebooks = trainer.drawn[0]
        assert codebooks is not None
        begin = time.process_time()
        if as_released:
            release_step(trainer, batch.audio, codebooks)
        else:
            trainer.gan_step(batch.audio, codebooks)
        took = time.process_time() - begin
        trainer.step += 1
        return took / (len(batch.audio) * config.data.seconds)

    return step


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=ROOT / "configs" / "xcodec-mini.yaml", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, help="clips of our steps; by default the config's")
    options = parser.parse_args()

    ours = load_config(options.config)
    theirs = load_config(ROOT / "configs" / "xcodec-hubert-librispeech.yaml")
    with tempfile.TemporaryDirectory() as runs:
        data = dataclasses.replace(
            ours.data, train=[CorpusConfig(str(ROOT / "samples"))], validation=[], workers=0, distinct_crops=None
        )
        # quantize_from=0: the steps of almost all of a run
        ours = dataclasses.replace(
            ours, data=data, runs=runs, batch_size=options.batch or ours.batch_size, quantize_from=0, device="cpu"
        )
        everything_moves = dataclasses.replace(ours.optimizer, encoder_scale=1.0)
        their_losses = dataclasses.replace(
            ours,
            losses=theirs.losses,
            spectra=theirs.spectra,
            discriminators=theirs.discriminators,
            optimizer=everything_moves,
        )
        one_clip = dataclasses.replace(their_losses, batch_size=1, data=dataclasses.replace(data, seconds=3.0))
        loops = {
            "ours": loop(ours, as_released=False),
            "ours, their losses": loop(their_losses, as_released=False),
            "release": loop(one_clip, as_released=True),
            "release, batched": loop(their_losses, as_released=True),
        }
        for step in loops.values():
            step()  # places the codebooks
        rounds = [{name: step() for name, step in loops.items()} for _ in range(options.rounds)]

    print(f"{ours.name}, batches of {ours.batch_size} × {ours.data.seconds:g} s, {torch.get_num_threads()} threads")
    print(f"{'loop':<20}{'CPU s per s of audio':>22}{'release takes … times as long':>32}")
    for name in loops:
        cost = statistics.median(times[name] for times in rounds)
        ratio = statistics.median(times["release"] / times[name] for times in rounds)
        print(f"{name:<20}{cost:>22.3f}{ratio:>32.2f}")


if __name__ == "__main__":
    main()
