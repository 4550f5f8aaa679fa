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
from xcodec.train.discriminators import Discriminators, split_outputs
from xcodec.train.init import (
    CropCache,
    RepeatedCrops,
    cache_of_codes,
    cache_of_features,
    codebooks_initialised,
    freeze_all_but_decoder,
    init_codebooks,
    init_semantic_branch,
    keep_gain_invariant,
    limit_semantic_levels,
    load_teacher,
    read_directions,
    scale_semantic_branch,
)
from xcodec.train.logging import CodebookUsage, Validation, Validator
from xcodec.train.loop import Trainer, WeightAverage, load_weights
from xcodec.train.losses import CodecLosses, PerceptualLoss, VocoderLosses, adversarial_losses, discriminator_loss

BEFORE_QUANTIZER = ("acoustic_encoder.", "semantic_encoder.", "prior.")
"""How the names of the weights begin that lie before the quantiser."""


class CodecTrainer(Trainer[CropBatch]):
    """One run: the networks, their optimisers, and their losses."""

    def __init__(self, config: TrainConfig) -> None:
        if not config.data.train:
            raise ConfigError("data.train is empty: name a corpus, such as data.train='[{path: my/recordings}]'")
        super().__init__(config)
        self.config = config
        codec = XCodec(config.codec)
        if config.tokens_stay:
            freeze_all_but_decoder(codec)
        self.trainable = {name: value for name, value in codec.named_parameters() if value.requires_grad}
        self.codec, self.optimizer = self.accelerator.prepare(codec, self._adamw(self._parameter_groups()))
        self.average = WeightAverage(self.trainable, config.ema) if config.ema else None
        self.discriminators: nn.Module | None = None
        if config.discriminators.kinds and (config.losses.adversarial or config.losses.feature_matching):
            self._make_discriminators()
        perceptual, decoder = None, codec.acoustic_decoder
        if config.losses.perceptual and isinstance(decoder, SpectralDecoder):  # the config has seen to the latter
            perceptual = PerceptualLoss(config.perceptual_teacher, decoder.spectrogram, codec.sample_rate)
        vocoder = None
        if isinstance(decoder, SpectralDecoder) and decoder.vocoder is not None:
            vocoder = VocoderLosses(config.losses, decoder.spectrogram)
        self.losses = CodecLosses(config.losses, config.spectra, codec.sample_rate, perceptual, vocoder)
        self.losses.to(self.accelerator.device)
        crop = config.data.crops(codec.sample_rate)
        self.crops = RepeatedCrops.among(config.data.distinct_crops, config.data.train, crop, config.seed)
        self.cache: CropCache | None = None
        self.validator: Validator | None = None
        self.quantizing = False
        self.drawn: list[Tensor | None] = []

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """What lies before the quantiser and what lies after it, in this order."""
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
        discriminators = Discriminators(self.config.discriminators)
        self.discriminators, self.discriminator_optimizer = self.accelerator.prepare(
            discriminators, self._adamw(discriminators.parameters())
        )

    @property
    def network(self) -> XCodec:
        """The codec without what accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.codec)

    # --- one step ------------------------------------------------------------------------------------------

    def train_step(self, batch: CropBatch, number: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """One pass; see :meth:`gan_step`."""
        return self.gan_step(batch.audio.to(self.accelerator.device), self.drawn[number])

    def gan_step(self, clips: Tensor, codebooks: Tensor | None) -> tuple[dict[str, Tensor], Tensor | None]:
        """One pass: the codec runs once; the discriminators are updated on its output, then the codec is.

        Args:
            clips: float [B, 1, T].
            codebooks: int64 [B], how many each clip uses; None before there are any.

        Returns:
            Every loss by its name, and the codes int64 [B, K, F], if any.
        """
        accelerator, config = self.accelerator, self.config.discriminators
        clip_norm = self.config.optimizer.clip
        others: dict[str, Tensor] = {}  # what is logged, but not part of the codec's loss
        adversarial = self.discriminators is not None and self.step >= config.start
        with_audio = adversarial or self.losses.needs_audio
        output = self.codec(clips, codebooks, with_audio, **self.known(clips))
        losses = self.losses(output, clips)

        if self.discriminators is not None and adversarial:
            real, fake = clips[: config.clips], output.audio[: config.clips].float()

            # The discriminators' update.
            outputs = self.discriminators(torch.cat([real, fake.detach()]))
            others["discriminator"] = discriminator_loss(*split_outputs(outputs))
            accelerator.backward(others["discriminator"])
            if accelerator.sync_gradients:
                parameters = self.discriminators.parameters()
                others["discriminator_gradient"] = accelerator.clip_grad_norm_(parameters, clip_norm)
            self.discriminator_optimizer.step()
            self.discriminator_optimizer.zero_grad()

            # What they make of the codec's output from now on; they take no gradient from the codec's loss.
            discriminators = accelerator.unwrap_model(self.discriminators).requires_grad_(False)
            with accelerator.autocast():
                with torch.no_grad():
                    on_real = discriminators(real)
                on_fake = discriminators(fake)
            discriminators.requires_grad_(True)
            losses |= adversarial_losses(self.config.losses, on_real, on_fake)

        # The codec's update.
        total = self.losses.weighted(losses)
        accelerator.backward(total)
        if accelerator.sync_gradients:
            others["gradient"] = accelerator.clip_grad_norm_(self.trainable.values(), clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"total": total, **losses, **others}, output.codes

    # --- the run -------------------------------------------------------------------------------------------

    def start(self, resume: bool) -> None:
        """Take the weights from the newest checkpoint, from ``init_from``, or from the teacher's source."""
        super().start(resume)
        config = self.config
        if config.crop_cache is not None and config.tokens_stay:
            self.cache = cache_of_codes(self.network, Path(config.crop_cache))
        elif config.crop_cache is not None and self.network.teacher is not None:
            self.cache = cache_of_features(self.network, Path(config.crop_cache))
        if config.semantic_levels is not None:
            limit_semantic_levels(self.network, config.semantic_levels)
        if config.gain_invariant:
            keep_gain_invariant(self.network)

    def initialise(self) -> None:
        """From ``init_from``, or else the teacher from its source, and the semantic branch from the teacher."""
        config = self.config
        if config.init_from is not None:
            load_weights(config.init_from, self.network)
        elif self.network.teacher is not None:
            load_teacher(self.network.teacher)
            if config.semantic_share is not None:
                clips = self.first_clips()
                given = config.semantic_directions
                init_semantic_branch(self.network, clips, None if given is None else read_directions(given))
                scale_semantic_branch(self.network, clips, config.semantic_share)

    def train(self) -> None:
        """From wherever the run stands to its last step."""
        config, quantizer = self.config, self.config.codec.quantizer
        clips_per_step = config.accumulation * config.batch_size * self.accelerator.num_processes
        statistics = CodebookUsage(quantizer.codebooks, quantizer.codebook_size)
        reporter = self.reporter(statistics, config.codec.sample_rate, clips_per_step * config.data.seconds)
        self.validator = self._validator() if config.data.validation else None
        self.quantizing = codebooks_initialised(self.network)
        self.codec.train()
        self.run_steps(reporter)

    def before_step(self, log: Callable[[str], None]) -> None:
        """Initialise the codebooks when their time has come, and draw how many of them each clip uses."""
        if self.step >= self.config.quantize_from and not self.quantizing:
            log(f"step {self.step}: initialising the codebooks by k-means")
            self.init_codebooks()
            self.quantizing = True
        if self.quantizing and not self.config.optimizer.encoder_scale:
            self.freeze_encoder()
        self.drawn = list(self.draw_codebooks()) if self.quantizing else [None] * self.config.accumulation

    def freeze_encoder(self) -> None:
        """Freeze what lies before the quantiser, once: from then on it has no backward pass."""
        before, _ = self.optimizer.param_groups
        if not any(parameter.requires_grad for parameter in before["params"]):
            return
        for parameter in before["params"]:
            parameter.requires_grad_(False)
            parameter.grad = None
        # What synchronises gradients between ranks has counted them already, and would wait for these.
        self.codec = self.accelerator.prepare_model(self.network)

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

    def init_codebooks(self) -> None:
        """K-means on the latents of the batches to come."""
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
        init_codebooks(self.network, batches, config.semantic_levels, config.gain_invariant, self.known)

    def known(self, clips: Tensor) -> dict[str, Tensor]:
        """What the codec's pass over clips [B, 1, T] need not compute, as its arguments: nothing without a cache."""
        if self.cache is None:
            return {}
        if self.config.tokens_stay:
            return {"codes": self.cache(clips).long()}
        return {"teacher": self.cache(clips).float()}

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
        discriminators = None
        if self.discriminators is not None and self.step >= self.config.discriminators.start:
            discriminators = self.accelerator.unwrap_model(self.discriminators)
        counts = self.config.codec.bandwidth_codebooks if self.quantizing else (None,)
        with self.averaged():
            return self.validator(self.network, self.losses, discriminators, counts, self.known)

    def state(self) -> dict[str, Any]:
        """The discriminators and their optimiser."""
        if self.discriminators is None:
            return {}
        return {
            "discriminators": self.accelerator.unwrap_model(self.discriminators).state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
        }

    def load_state(self, training: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave. Discriminators that the run has gained since are initialised."""
        if self.discriminators is None:
            return
        try:
            self.accelerator.unwrap_model(self.discriminators).load_state_dict(training["discriminators"])
            self.discriminator_optimizer.load_state_dict(training["discriminator_optimizer"])
        except (KeyError, RuntimeError):
            self.accelerator.print("the checkpoint has no such discriminators; they are initialised anew")
            self._make_discriminators()

    def load_model(self, folder: Path) -> None:
        """The codec's weights."""
        load_weights(folder, self.network)

    def write_model(self, folder: Path) -> None:
        """The codec, in a folder of its own."""
        self.network.save_pretrained(folder)

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
            for group in self.discriminator_optimizer.param_groups:
                group["lr"] = lr
        return rates

    def accumulated(self) -> list[nn.Module]:
        """The codec, and its discriminators if there are any."""
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
