"""Train a language model on a token table. Read :meth:`Objective.forward` first: it is what a step minimises."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xcodec.codec.model import XCodec
from xcodec.data.token_table import read_table
from xcodec.lm.alignment import HMMAligner
from xcodec.lm.checkpoint import load as load_model
from xcodec.lm.checkpoint import save
from xcodec.lm.config import CodecSpec
from xcodec.lm.generation import Limits, Request, Sampling, generate, generate_nar
from xcodec.lm.layout import IGNORED, context
from xcodec.lm.model import AutoregressiveLM, CodeLM, NonAutoregressiveLM, build_model, is_aligned
from xcodec.lm.text import CaptionEncoder
from xcodec.train.config import LMTrainConfig
from xcodec.train.lm_data import Examples, LengthBuckets, LMBatch
from xcodec.train.logging import Validation, sum_of_ranks
from xcodec.train.loop import Trainer, WeightAverage
from xcodec.utils.checkpoint_io import CheckpointError
from xcodec.utils.config import ConfigError

CLIPS = 2
"""Audio examples of a validation: clips, and the model's continuations of their beginnings."""


def load_audio_examples(codec: str | None, examples: Examples, log: Callable[[str], None]) -> AudioExamples | None:
    """Audio examples decoded by a codec, or a logged reason for having none."""
    try:
        loaded = XCodec.from_pretrained(codec)
    except CheckpointError as error:
        log(f"no audio examples of validation: {error}")
        return None
    if loaded.fingerprint.tokens != examples.model.codec.model_hash:
        log(f"no audio examples of validation: data.codec is {loaded.config.name}, not the one that made the tokens")
        return None
    return AudioExamples(loaded, examples)


class AudioExamples:
    """Validation clips and the model's continuations of them, always of the same clips."""

    def __init__(self, codec: XCodec, examples: Examples) -> None:
        self.codec = codec
        self.examples = examples
        self.chosen = list(range(min(CLIPS, len(examples.clips))))

    def __call__(self, model: CodeLM) -> tuple[Tensor, Tensor]:
        """The clips [n, 1, T] and the model's continuations [n, 1, T], padded to the longest."""
        pairs = [self._pair(model, index) for index in self.chosen]
        longest = max(wav.shape[-1] for pair in pairs for wav in pair)
        padded = [[torch.nn.functional.pad(wav, (0, longest - wav.shape[-1])) for wav in pair] for pair in pairs]
        return torch.stack([pair[0] for pair in padded]), torch.stack([pair[1] for pair in padded])

    def _pair(self, model: CodeLM, index: int) -> tuple[Tensor, Tensor]:
        clip = self.examples.clips[index]
        max_frames = self.examples.max_frames
        codes = torch.from_numpy(clip.item.codes[: model.config.codebooks, :max_frames].astype("int64"))
        frames = codes.shape[1]
        begun = min(self.examples.prompt[0], frames // 2)
        if isinstance(model, NonAutoregressiveLM):
            aligned_text = self.examples.aligned_texts[index] if self.examples.aligned_texts else None
            made = generate_nar(
                model, clip.text, None, codes[:1, begun:], prefix=codes[:, :begun], aligned_text=aligned_text
            )
        else:
            condition = None
            if model.config.captions is not None:
                condition, begun = self.examples.embedded[clip.item.text or ""][0], 0
            aligned_text = self.examples.aligned_texts[index] if self.examples.aligned_texts else None
            text = clip.text if model.config.text is not None and aligned_text is None else None
            before = context(model.vocabulary, model.pattern, text)
            request = Request(
                before,
                codes[:, :begun],
                Limits(max(1, frames - begun)),
                Sampling(top_p=0.9),
                condition=condition,
                aligned_text=aligned_text,
            )
            made = generate(model, request)[0].codes.cpu()
        whole = torch.cat([codes[:, :begun], made], dim=1)
        return self._wav(codes), self._wav(whole)

    def _wav(self, codes: Tensor) -> Tensor:
        if not codes.shape[1]:
            return torch.zeros(1, 1)
        return self.codec.decode(codes[None])[0].clone()


DURATION_WEIGHT = 0.1
"""Weight of the durations in the loss."""


class Objective(nn.Module):
    """A language model and its training loss: next-token cross entropy, and durations if the text is aligned."""

    def __init__(self, model: CodeLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: LMBatch) -> dict[str, Tensor]:
        """One pass.

        Returns:
            ``loss``, the mean cross entropy of all tokens asked for, in nats, and, for an
            autoregressive model of aligned text, the weighted loss of its duration model; and ``counted`` [K, 3]: for
            each codebook the summed cross entropy, the number of correct top-1 predictions, and that of tokens.
        """
        symbols = text_states = None
        if self.model.text_encoder is not None:
            assert batch.text_positions is not None
            symbols = self.model.text_encoder(batch.text)
            text_states = self.model.text_encoder.upsample(symbols, batch.text_positions)
        logits, right, codebook = self._predictions(batch, text_states)
        nats = F.cross_entropy(logits.float(), right, reduction="none")
        scores = torch.stack([nats.detach(), (logits.argmax(-1) == right).float(), torch.ones_like(nats)], dim=1)
        counted = scores.new_zeros(self.model.config.codebooks, 3)
        coded = codebook >= 0  # END is learnt, but is no code
        counted.index_add_(0, codebook[coded], scores[coded])
        loss = nats.mean()
        if isinstance(self.model, AutoregressiveLM) and symbols is not None:
            loss = loss + DURATION_WEIGHT * self._duration_loss(self.model, symbols, batch)
        return {"loss": loss, "counted": counted}

    def _duration_loss(self, model: AutoregressiveLM, symbols: Tensor, batch: LMBatch) -> Tensor:
        """The loss of the duration model."""
        assert model.duration_model is not None
        assert batch.text is not None
        assert batch.durations is not None
        return model.duration_model.loss(symbols, batch.text, batch.durations)

    def _predictions(self, batch: LMBatch, text_states: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [n, V], labels [n], and the codebook of each [n] (negative for END)."""
        model = self.model
        if isinstance(model, NonAutoregressiveLM):
            assert batch.level is not None
            asked = batch.labels != IGNORED
            level = batch.level[:, None].expand_as(asked)[asked]
            return model(batch.ids, asked, batch.level, text_states), batch.labels[asked], level
        found = model.losses(batch.ids, batch.labels, batch.condition, batch.conditioned, text_states)
        vocabulary = model.vocabulary
        codebooks = []
        for stream, each in enumerate(found):
            code = each.labels - vocabulary.first_code(0)
            own = code.div(vocabulary.codebook_size, rounding_mode="floor")
            codebooks.append(own if len(found) == 1 else torch.where(code < 0, -1, stream))
        return (
            torch.cat([each.logits for each in found]),
            torch.cat([each.labels for each in found]),
            torch.cat(codebooks),
        )


class TokenStatistics:
    """Perplexity and accuracy of each codebook since the last report."""

    def __init__(self, codebooks: int) -> None:
        self.counts = torch.zeros(codebooks, 3)

    def add(self, counted: Tensor) -> None:
        """Count what :meth:`Objective.forward` counted."""
        self.counts = self.counts.to(counted.device) + counted

    def report(self) -> dict[str, float]:
        """``perplexity/k`` and ``accuracy/k`` of each codebook; then start anew."""
        values = {}
        for codebook, (nats, right, count) in enumerate(sum_of_ranks(self.counts).tolist(), start=1):
            if count:
                values[f"perplexity/{codebook}"] = math.exp(min(nats / count, 50.0))
                values[f"accuracy/{codebook}"] = right / count
        self.counts.zero_()
        return values


class LMTrainer(Trainer[LMBatch]):
    """One run of a language model."""

    def __init__(self, config: LMTrainConfig) -> None:
        super().__init__(config)
        self.config = config
        data = config.data
        if not data.table:
            raise ConfigError("data.table is empty: name the folder that xcodec tokenize made")
        table = read_table(data.table, domains=config.domains, sources=data.sources, codebooks=config.codebooks_read)
        facts = CodecSpec(**vars(table.info))
        model_config = config.language_model(facts)
        captions = None
        if model_config.captions is not None:
            captions = CaptionEncoder(model_config.captions.encoder, model_config.captions.tokens)
            if captions.width != model_config.captions.width:
                raise ConfigError(
                    f"model.captions.width is {model_config.captions.width}, but the encoder's is {captions.width}"
                )
        of_split = {name: [item for item in table.items if item.split == name] for name in ("train", "valid")}
        self.examples = Examples(of_split["train"], model_config, data, captions)
        model_config = self.examples.with_durations()
        self.validation = Examples(of_split["valid"], model_config, data, captions) if of_split["valid"] else None
        self.buckets = LengthBuckets(self.examples.lengths, data.batch_positions, config.seed)
        torch.manual_seed(config.seed)
        model = build_model(model_config)
        if is_aligned(model_config):
            self._align(model)
        self.trainable = dict(model.named_parameters())
        self.objective, self.optimizer = self.accelerator.prepare(Objective(model), self._adamw(model))
        self.average = WeightAverage(self.trainable, config.ema) if config.ema else None
        self.audio_examples: AudioExamples | None = None

    def _align(self, model: CodeLM) -> None:
        """Align the clips with their texts; an autoregressive model keeps the aligner, for continuing recordings."""
        self.accelerator.print("aligning clips with their texts")
        aligner = self.examples.learn_alignment()
        for examples in (self.examples, self.validation):
            if examples is not None:
                examples.align(aligner)
        if isinstance(model, AutoregressiveLM):
            assert isinstance(model.aligner, HMMAligner)
            model.aligner.load_state_dict(aligner.state_dict())

    def _adamw(self, model: nn.Module) -> torch.optim.AdamW:
        """Only matrices decay; gains and embeddings are not to be small."""
        config = self.config.optimizer
        decays = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d)}
        groups = [
            {"params": [p for p in model.parameters() if id(p) in decays], "weight_decay": config.weight_decay},
            {"params": [p for p in model.parameters() if id(p) not in decays], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)

    @property
    def network(self) -> CodeLM:
        """The model without what accelerate wraps around it."""
        return self.accelerator.unwrap_model(self.objective).model

    def initialise(self) -> None:
        """From ``init_from``, if it is set."""
        if self.config.init_from:
            self.load_model(Path(self.config.init_from))

    def load_model(self, folder: Path) -> None:
        """Take the weights of a language model of the same shape."""
        try:
            self.network.load_state_dict(load_model(folder).state_dict())
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"{folder} holds another network than this config's: {reason}") from error

    def train(self) -> None:
        """From wherever the run stands to its last step."""
        config, facts = self.config, self.network.config.codec
        clips = self.examples.clips
        per_clip = sum(clip.item.frames for clip in clips) / len(clips) / facts.frame_rate
        per_batch = len(clips) / max(1, len(self.buckets.first_epoch))
        reporter = self.reporter(
            TokenStatistics(self.network.config.codebooks),
            facts.sample_rate,
            per_clip * per_batch * config.accumulation * self.accelerator.num_processes,
        )
        reporter.display.print(
            f"{len(clips)} clips, {sum(clip.item.frames for clip in clips) / facts.frame_rate / 3600:.2f} h;"
            f" {self.examples.unreadable} without a text that can be read;"
            f" {sum(each.numel() for each in self.trainable.values()) / 1e6:.1f} M weights"
        )
        if self.validation is not None and "tensorboard" in config.trackers and self.accelerator.is_main_process:
            self.audio_examples = load_audio_examples(config.data.codec, self.validation, reporter.display.print)
        self.objective.train()
        self.run_steps(reporter)

    def batches(self) -> Iterator[list[LMBatch]]:
        """The batches of each step still to come: one for each pass of this rank."""
        passes, ranks, rank = self.config.accumulation, self.accelerator.num_processes, self.accelerator.process_index

        def stream() -> Iterator[LMBatch]:
            for index in itertools.count(self.step * passes):
                number = index * ranks + rank
                yield self.examples.batch(self.buckets[number], number, self.config.seed)

        batches = stream()
        for _ in range(self.step, self.config.steps):
            yield list(itertools.islice(batches, passes))

    def train_step(self, batch: LMBatch, number: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """One pass."""
        made = self.objective(batch.to(self.accelerator.device))
        values = {"total": made["loss"]}
        self.accelerator.backward(made["loss"])
        if self.accelerator.sync_gradients:
            values["gradient"] = self.accelerator.clip_grad_norm_(self.trainable.values(), self.config.optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return values, made["counted"]

    def accumulated(self) -> list[nn.Module]:
        """The model."""
        return [self.objective]

    def describe(self, batch: LMBatch) -> str:
        """Which clips."""
        return f"clips {', '.join(batch.clips[:10])}"

    def set_learning_rates(self) -> dict[str, float]:
        """One for all."""
        lr = self.config.optimizer.lr_at(self.step, self.config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return {"lr": lr}

    @torch.no_grad()
    def validate(self) -> Validation | None:
        """Perplexity and accuracy of each codebook on held-out clips, and audio examples. The same on every rank."""
        if self.validation is None:
            return None
        objective = self.accelerator.unwrap_model(self.objective)
        objective.eval()
        buckets = LengthBuckets(self.validation.lengths, self.config.data.batch_positions, seed=0)
        totals, statistics = [], TokenStatistics(self.network.config.codebooks)
        with self.averaged():
            for number in range(self.config.data.validation_batches):
                batch = self.validation.batch(buckets[number], number, seed=0).to(self.accelerator.device)
                made = objective(batch)
                totals.append(float(made["loss"]))
                statistics.add(made["counted"])
            examples = (torch.zeros(0, 1, 1),) * 2
            if self.audio_examples is not None:
                examples = self.audio_examples(self.network)
        objective.train()
        found = {"total": sum(totals) / len(totals), **statistics.report()}
        return Validation({f"valid/{name}": value for name, value in found.items()}, *examples)

    def write_model(self, folder: Path) -> None:
        """The language model, in a folder of its own."""
        save(self.network, folder)


def run(config: LMTrainConfig, resume: bool = False) -> None:
    """Train, from the beginning or from the newest intact checkpoint.

    Raises:
        ConfigError: a run of that name exists and ``resume`` is false, or has another network.
        DataError: the table cannot be read, or has nothing for this task.
        DivergedError: a loss became NaN or infinite.
    """
    trainer = LMTrainer(config)
    trainer.start(resume)
    trainer.train()
