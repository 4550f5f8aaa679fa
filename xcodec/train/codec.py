"""Train a codec. Read :meth:`CodecTrainer.gan_step` first: it is the whole of a training step.

The same code runs on one CPU, one GPU, or many of either under ``torchrun`` and ``accelerate launch``. All randomness
is a function of the seed and the step, so a run that is killed and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xcodec.codec.config import ConfigError
from xcodec.codec.model import XCodec
from xcodec.codec.spectral import SpectralDecoder
from xcodec.data.augmentation import AugmentationConfig
from xcodec.data.crops import CropBatch, crop_loader
from xcodec.train.config import TrainConfig
from xcodec.train.discriminators import Discriminators, halves
from xcodec.train.init import (
    RecurringCrops,
    balance_branches,
    codebooks_are_placed,
    load_teacher,
    place_codebooks,
    read_directions,
    remember_features,
    rest_but_decoder,
    spare_semantics,
    start_semantics,
)
from xcodec.train.logging import CodeStatistics, Reporter, Validation, Validator
from xcodec.train.loop import Run, WeightAverage, find_checkpoint, load_training, load_weights
from xcodec.train.losses import CodecLosses, Ear, adversarial_losses, discriminator_loss

BEFORE_QUANTIZER = ("acoustic_encoder.", "semantic_encoder.", "prior.")
"""How the names of the weights begin that lie before the quantiser."""


class CodecTrainer(Run[CropBatch]):
    """One run: the networks, their optimisers, and their losses."""

    def __init__(self, config: TrainConfig) -> None:
        if not config.data.train:
            raise ConfigError("data.train is empty: name a corpus, such as data.train='[{path: my/recordings}]'")
        super().__init__(config)
        self.config = config
        codec = XCodec(config.codec)
        if config.tokens_stay:
            rest_but_decoder(codec)
        self.trainable = {name: value for name, value in codec.named_parameters() if value.requires_grad}
        self.codec, self.optimizer = self.accelerator.prepare(codec, self._adamw(self._two_sides()))
        self.average = WeightAverage(self.trainable, config.ema) if config.ema else None
        self.discriminators: nn.Module | None = None
        if config.discriminators.kinds and (config.losses.adversarial or config.losses.feature_matching):
            self._make_discriminators()
        ear, decoder = None, codec.acoustic_decoder
        if config.losses.heard and isinstance(decoder, SpectralDecoder):  # the config has seen to the latter
            ear = Ear(config.heard_by, decoder.spectrogram, codec.sample_rate)
        spectrogram = decoder.spectrogram if isinstance(decoder, SpectralDecoder) else None
        self.losses = CodecLosses(config.losses, config.spectra, codec.sample_rate, ear, spectrogram)
        self.losses.to(self.accelerator.device)
        crop = config.data.crops(codec.sample_rate)
        self.crops = RecurringCrops.among(config.data.distinct_crops, config.data.train, crop, config.seed)
        self.validator: Validator | None = None
        self.quantizing = False
        self.drawn: list[Tensor | None] = []

    def _two_sides(self) -> list[dict[str, Any]]:
        """What lies before the quantiser and what lies after it, as parameter groups in this order."""
        before: list[Tensor] = []
        after: list[Tensor] = []
        for name, parameter in self.trainable.items():
            (before if name.startswith(BEFORE_QUANTIZER) else after).append(parameter)
        return [{"params": before}, {"params": after}]

    def _adamw(self, parameters: Any) -> torch.optim.AdamW:
        config = self.config.optimizer
        return torch.optim.AdamW(
            parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )

    def _make_discriminators(self) -> None:
        torch.manual_seed(self.config.seed + 1)  # the same ones whenever they join
        critics = Discriminators(self.config.discriminators)
        self.discriminators, self.discriminator_optimizer = self.accelerator.prepare(
            critics, self._adamw(critics.parameters())
        )

    @property
    def network(self) -> XCodec:
        """The codec without what accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.codec)

    # --- one step ------------------------------------------------------------------------------------------

    def gan_step(self, clips: Tensor, codebooks: Tensor | None) -> tuple[dict[str, Tensor], Tensor | None]:
        """One pass: the codec runs once; the discriminators learn from its output; then the codec learns.

        Args:
            clips: float [B, 1, T].
            codebooks: int64 [B], how many each clip uses; None before there are any.

        Returns:
            Every loss by its name, and the codes int64 [B, K, F], if any.
        """
        play = self.config.discriminators
        clip_norm, norms = self.config.optimizer.clip, {}
        critics_listen = self.discriminators is not None and play.play_at(self.step)
        output = self.codec(clips, codebooks, critics_listen or self.losses.hear_audio)
        losses = self.losses(output, clips)

        if self.discriminators is not None and critics_listen and output.audio is not None:
            real, fake = clips[: play.clips], output.audio[: play.clips].float()

            if play.learn_at(self.step):
                verdicts = self.discriminators(torch.cat([real, fake.detach()]))
                on_real, on_fake = halves(verdicts)
                mistakes = discriminator_loss(on_real, on_fake)
                self.accelerator.backward(mistakes)
                norms["discriminator"] = mistakes
                if self.accelerator.sync_gradients:
                    norms["discriminator_gradient"] = self.accelerator.clip_grad_norm_(
                        self.discriminators.parameters(), clip_norm
                    )
                self.discriminator_optimizer.step()
                self.discriminator_optimizer.zero_grad()

            critics = self.accelerator.unwrap_model(self.discriminators).requires_grad_(False)
            with self.accelerator.autocast():
                with torch.no_grad():
                    on_real = critics(real)
                on_fake = critics(fake)
            critics.requires_grad_(True)
            losses |= adversarial_losses(self.config.losses, on_real, on_fake)

        total = self.losses.weighted(losses)
        self.accelerator.backward(total)
        if self.accelerator.sync_gradients:
            norms["gradient"] = self.accelerator.clip_grad_norm_(self.trainable.values(), clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"total": total, **losses, **norms}, output.codes

    # --- the run -------------------------------------------------------------------------------------------

    def start(self, resume: bool) -> None:
        """Take the weights from the newest checkpoint, from ``init_from``, or from the teacher's source."""
        config, say = self.config, self.accelerator.print
        newest = find_checkpoint(self.checkpoints, resume, say)
        if newest is not None:
            load_weights(newest, self.network)
            self._resume(load_training(newest))
        elif config.init_from is not None:
            load_weights(config.init_from, self.network)
        elif self.network.teacher is not None:
            load_teacher(self.network.teacher)
            if config.semantic_share is not None:
                clips = self.first_clips()
                given = config.semantic_directions
                start_semantics(self.network, clips, None if given is None else read_directions(given))
                balance_branches(self.network, clips, config.semantic_share)
        if self.network.teacher is not None and config.teacher_cache is not None:
            remember_features(self.network.teacher, Path(config.teacher_cache))
        if config.semantic_levels is not None:
            spare_semantics(self.network, config.semantic_levels)
        if newest is None and self.average is not None:
            self.average.load(self.trainable)

    def train(self) -> None:
        """From wherever the run stands to its last step."""
        config, accelerator = self.config, self.accelerator
        clips_per_step = config.accumulation * config.batch_size * accelerator.num_processes
        reporter = Reporter(
            config.folder,
            CodeStatistics(config.codec.quantizer.codebooks, config.codec.quantizer.codebook_size),
            config.codec.sample_rate,
            self.step,
            config.steps,
            clips_per_step * config.data.seconds,
            main=accelerator.is_main_process,
            tensorboard=config.tensorboard,
        )
        self.validator = self._validator() if config.data.validation else None
        self.quantizing = codebooks_are_placed(self.network)
        self.codec.train()
        self.run_steps(reporter)

    def before_step(self, say: Callable[[str], None]) -> None:
        """Place the codebooks when their time has come, and draw how many of them each clip uses."""
        if self.step >= self.config.quantize_from and not self.quantizing:
            say(f"step {self.step}: placing the codebooks by k-means")
            self.place_codebooks()
            self.quantizing = True
        if self.quantizing and not self.config.optimizer.encoder_scale:
            self.freeze_encoder()
        self.drawn = list(self.draw_codebooks()) if self.quantizing else [None] * self.config.accumulation

    def freeze_encoder(self) -> None:
        """Take what lies before the quantiser out of training, once: nothing of it is computed backwards any more."""
        before, _ = self.optimizer.param_groups
        if not any(parameter.requires_grad for parameter in before["params"]):
            return
        for parameter in before["params"]:
            parameter.requires_grad_(False)
            parameter.grad = None
        # What synchronises gradients between ranks has counted them already, and would wait for these.
        self.codec = self.accelerator.prepare_model(self.network)

    def learn(self, batch: CropBatch, number: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """One pass; see :meth:`gan_step`."""
        return self.gan_step(batch.audio.to(self.accelerator.device), self.drawn[number])

    def describe(self, batch: CropBatch) -> str:
        """Which crops of which files."""
        files = sorted({name for names in batch.files for name in names})
        return f"crops from number {batch.first_index} on, of {', '.join(files)}"

    def batches(self) -> Iterator[list[CropBatch]]:
        """The batches of each step still to come: one for each pass of this rank."""
        config = self.config
        passes = config.accumulation
        loader = iter(
            crop_loader(
                self.crops,
                config.batch_size,
                rank=self.accelerator.process_index,
                ranks=self.accelerator.num_processes,
                first_step=self.step * passes,
                steps=(config.steps - self.step) * passes,
                workers=config.data.workers,
                pin_memory=self.accelerator.device.type == "cuda",
            )
        )
        while batches := list(itertools.islice(loader, passes)):
            yield batches

    def draw_codebooks(self) -> list[Tensor]:
        """How many codebooks each clip uses, for each pass of this rank: int64 [B].

        Drawn for all ranks from the seed and the step, so that two ranks of four clips draw what one of eight would.
        """
        config, accelerator = self.config, self.accelerator
        choices = torch.tensor(config.codec.bandwidth_codebooks)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        shape = (config.accumulation, accelerator.num_processes, config.batch_size)
        drawn = choices[torch.randint(len(choices), shape, generator=generator)]
        return [of_ranks[accelerator.process_index].to(accelerator.device) for of_ranks in drawn]

    def place_codebooks(self) -> None:
        """Start the codebooks where the latents of the batches to come are."""
        config, accelerator = self.config, self.accelerator
        loader = crop_loader(
            self.crops,
            config.batch_size,
            rank=accelerator.process_index,
            ranks=accelerator.num_processes,
            first_step=self.step * config.accumulation,
            steps=config.kmeans_batches,
        )
        batches = (batch.audio.to(accelerator.device) for batch in loader)
        place_codebooks(self.network, batches, self.config.semantic_levels)

    def first_clips(self) -> Tensor:
        """Clips [B, 1, T] of the first steps, the same on every rank."""
        loader = crop_loader(self.crops, self.config.batch_size, steps=4)
        return torch.cat([batch.audio for batch in loader]).to(self.accelerator.device)

    def validate(self) -> Validation | None:
        """Measure at every bandwidth, with the averaged weights if there are any.

        All ranks measure the same: those that wait instead would not be where the quantiser asks for them.
        """
        if self.validator is None:
            return None
        critics = None
        if self.discriminators is not None and self.step >= self.config.discriminators.start:
            critics = self.accelerator.unwrap_model(self.discriminators)
        counts = self.config.codec.bandwidth_codebooks if self.quantizing else (None,)
        with self.averaged():
            return self.validator(self.network, self.losses, critics, counts)

    def state(self) -> dict[str, Any]:
        """Optimisers and discriminators."""
        training: dict[str, Any] = {"optimizer": self.optimizer.state_dict()}
        if self.discriminators is not None:
            training["discriminators"] = self.accelerator.unwrap_model(self.discriminators).state_dict()
            training["discriminator_optimizer"] = self.discriminator_optimizer.state_dict()
        return training

    def write_model(self, folder: Path) -> None:
        """The codec, in a folder of its own."""
        self.network.save_pretrained(folder)

    def _resume(self, training: dict[str, Any]) -> None:
        """Take up what :meth:`save` wrote. What the run has gained since starts afresh."""
        self.step = training["step"]
        self.optimizer.load_state_dict(training["optimizer"])
        if self.discriminators is not None:
            try:
                self.accelerator.unwrap_model(self.discriminators).load_state_dict(training["discriminators"])
                self.discriminator_optimizer.load_state_dict(training["discriminator_optimizer"])
            except (KeyError, RuntimeError):
                self.accelerator.print("the checkpoint has no such discriminators; they start afresh")
                self._make_discriminators()
        if self.average is not None:
            self.average.load(training.get("average", self.trainable))
        if self.accelerator.scaler is not None and "scaler" in training:
            self.accelerator.scaler.load_state_dict(training["scaler"])

    def _validator(self) -> Validator:
        data, rate = self.config.data, self.config.codec.sample_rate
        unchanged = dataclasses.replace(data.crops(rate), gain_db=(0.0, 0.0), augmentation=AugmentationConfig())
        return Validator(data.validation, unchanged, data.validation_crops, self.config.batch_size)

    def set_learning_rates(self) -> dict[str, float]:
        """Learning rates of this step, by the names they have in the log."""
        config = self.config
        lr = config.optimizer.lr_at(self.step, config.steps)
        before, after = self.optimizer.param_groups
        before["lr"] = lr if self.step < config.quantize_from else lr * config.optimizer.encoder_scale
        after["lr"] = lr
        rates = {"lr": lr, "lr/encoder": before["lr"]}
        if self.discriminators is not None:
            factor = (config.discriminators.lr or config.optimizer.lr) / config.optimizer.lr
            rates["lr/discriminators"] = lr * factor
            for group in self.discriminator_optimizer.param_groups:
                group["lr"] = lr * factor
        return rates

    def accumulated(self) -> list[nn.Module]:
        """The codec, and its critics if there are any."""
        return [self.codec] if self.discriminators is None else [self.codec, self.discriminators]


def run(config: TrainConfig, resume: bool = False) -> None:
    """Train, from the beginning or from the newest intact checkpoint.

    Raises:
        ConfigError: a run of that name exists and ``resume`` is false, or has another network.
        DivergedError: a loss became NaN or infinite.
    """
    trainer = CodecTrainer(config)
    trainer.start(resume)
    trainer.train()
