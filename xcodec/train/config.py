"""Everything a training run depends on, as frozen dataclasses that check themselves, and as YAML files."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from xcodec.codec.config import SpectralConfig, TeacherConfig, XCodecConfig
from xcodec.data.augmentation import AugmentationConfig
from xcodec.data.crops import CorpusConfig, CropConfig
from xcodec.lm.config import ALIGNED_CODEBOOKS, CodecSpec, LMConfig
from xcodec.utils.config import ConfigError
from xcodec.utils.config import require as _require

PRECISIONS = ("auto", "no", "fp16", "bf16")
SCHEDULES = ("constant", "cosine", "exponential")
DISCRIMINATOR_KINDS = ("stft", "period", "resolution")
TASKS = ("speech", "music", "sound")


@dataclass(frozen=True)
class DataConfig:
    """The audio to train and validate on."""

    train: list[CorpusConfig] = field(default_factory=list)
    """The mixture to learn from."""
    validation: list[CorpusConfig] = field(default_factory=list)
    """The mixture to measure on; may be empty."""
    validation_crops: int = 32
    """Always the same ones."""
    seconds: float = 3.0
    """Length of a crop: a whole number of the codec's frames."""
    distinct_crops: int | None = None
    """Train on this many crops over and over, for ``crop_cache``; ``null``: no crop is repeated."""
    gain_db: tuple[float, float] = (0.0, 0.0)
    """Each crop is made louder by a number of decibels drawn from this range."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """Equalisation, reverberation and noise; none by default, and none in validation."""
    max_broken_files: int = 20
    """Broken or missing files that are skipped; the next one ends the run."""
    workers: int = 2
    """Processes that read audio ahead of the training, for each rank; 0 reads in between steps."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain_db", tuple(self.gain_db))  # YAML gives lists
        _require(self.validation_crops > 0, f"data.validation_crops must be positive, not {self.validation_crops}")
        _require(
            self.distinct_crops is None or self.distinct_crops > 0,
            f"data.distinct_crops must be positive or null, not {self.distinct_crops}",
        )
        _require(self.seconds > 0, f"data.seconds must be positive, not {self.seconds}")
        _require(self.workers >= 0, f"data.workers must not be negative, not {self.workers}")

    def crops(self, sample_rate: int) -> CropConfig:
        """The crops of a codec with that sample rate."""
        return CropConfig(
            seconds=self.seconds,
            sample_rate=sample_rate,
            gain_db=self.gain_db,
            augmentation=self.augmentation,
            max_broken_files=self.max_broken_files,
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning rate over the steps. The discriminators have the same one, from when they start."""

    lr: float = 2e-4
    """Learning rate after warm-up."""
    encoder_scale: float = 1.0
    """From ``quantize_from`` on, the learning rate of what lies before the quantiser over that of what lies after it.
    With small batches the codebooks average over many steps, and follow an encoder only if it moves slowly."""
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    clip: float = 2.0
    """Largest norm of the gradient; longer ones are shortened to it."""
    warmup: int = 0
    """Steps over which the learning rate rises from zero."""
    schedule: str = "exponential"
    """After warm-up: ``constant``; ``cosine`` falls to ``final_lr`` at the last step; ``exponential`` is multiplied by
    ``decay`` every ``decay_every`` steps."""
    final_lr: float = 0.0
    decay: float = 0.999
    decay_every: int = 1000

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        _require(self.lr > 0, f"optimizer.lr must be positive, not {self.lr}")
        _require(self.encoder_scale >= 0, f"optimizer.encoder_scale must not be negative, not {self.encoder_scale}")
        _require(self.clip > 0, f"optimizer.clip must be positive, not {self.clip}")
        _require(self.warmup >= 0, f"optimizer.warmup must not be negative, not {self.warmup}")
        _require(self.decay_every > 0, f"optimizer.decay_every must be positive, not {self.decay_every}")
        _require(
            self.schedule in SCHEDULES,
            f"optimizer.schedule is {self.schedule!r}; known: {', '.join(SCHEDULES)}",
        )

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of a step (the first is 0) of a run of ``steps``: a pure function, so nothing to resume.

        >>> schedule = OptimizerConfig(lr=1.0, warmup=10, schedule="cosine", final_lr=0.1)
        >>> [round(schedule.lr_at(step, 110), 2) for step in (0, 4, 9, 10, 60, 110)]
        [0.1, 0.5, 1.0, 1.0, 0.55, 0.1]
        """
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "cosine":
            progress = min(1.0, (step - self.warmup) / max(1, steps - self.warmup))
            return self.final_lr + (self.lr - self.final_lr) * (1 + math.cos(math.pi * progress)) / 2
        if self.schedule == "exponential":
            return self.lr * self.decay ** (step // self.decay_every)
        return self.lr


@dataclass(frozen=True)
class LossWeights:
    """One weight for each loss; logs use the same names. A loss of weight 0 is not computed."""

    spectra: float = 0.0
    """L1 between compressed magnitudes, of a spectral decoder: the one loss that needs no phases, and so no audio."""
    perceptual: float = 0.0
    """L1 between the hidden states of ``perceptual_model`` for the decoder's spectra and for the true ones, of a
    spectral decoder."""
    amplitude: float = 0.0
    """L1 between log magnitudes of a vocoder's spectra and the true ones."""
    phase: float = 0.0
    """Of a vocoder's spectra: instantaneous frequency, and phase after time alignment of each window."""
    consistency: float = 0.0
    """L1 between a vocoder's spectra and those of the waveform synthesised from them."""
    mel: float = 0.0
    """Multi-scale log-mel L1."""
    stft: float = 1.0
    """Multi-resolution STFT: spectral convergence + log magnitude (Parallel WaveGAN; the release)."""
    subband_stft: float = 1.0
    """The same on six sub-bands (the release)."""
    semantic: float = 100.0
    """Mean squared error of the teacher's features (paper §3.2)."""
    commitment: float = 1.0
    """Of the encoder to the codes."""
    adversarial: float = 1.0
    """Least-squares GAN."""
    feature_matching: float = 20.0
    """L1 between the discriminators' features."""

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            weight = getattr(self, each.name)
            _require(weight >= 0, f"losses.{each.name} must not be negative, not {weight}")


@dataclass(frozen=True)
class SpectraConfig:
    """Resolutions of the losses ``mel`` and ``stft``. One transform per resolution serves both."""

    resolutions: tuple[tuple[int, ...], ...] = ((512, 120, 40), (1024, 240, 80), (2048, 300, 160))
    """FFT size, hop and number of mel bands of each (the release's FFT sizes and hops)."""

    def __post_init__(self) -> None:
        rows = tuple(tuple(row) for row in self.resolutions)
        object.__setattr__(self, "resolutions", rows)
        _require(
            all(len(row) == 3 and min(row) > 0 for row in rows),
            f"spectra.resolutions must be rows of 3 positive numbers, not {[list(row) for row in rows]}",
        )


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminators, and when they take part."""

    kinds: tuple[str, ...] = ("stft",)
    """Any of ``stft`` (the release's), ``period`` (HiFi-GAN) and ``resolution`` (UnivNet, DAC)."""
    width: int = 32
    """Channels of their first layers."""
    stft_hops: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    """Of the ``stft`` kind; the FFT size is four hops."""
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    resolutions: tuple[int, ...] = (512, 1024, 2048)
    """FFT sizes of the ``resolution`` kind; the hop is a quarter."""
    start: int = 0
    """First step at which they take part."""
    clips: int | None = None
    """How many clips of a batch they are given; all if ``null``. Where they are the slowest part, few will do."""

    def __post_init__(self) -> None:
        for name in ("kinds", "stft_hops", "periods", "resolutions"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for kind in self.kinds:
            _require(
                kind in DISCRIMINATOR_KINDS,
                f"discriminators.kinds has {kind!r}; known: {', '.join(DISCRIMINATOR_KINDS)}",
            )
        for name in ("width", "clips"):
            value = getattr(self, name)
            _require(value is None or value > 0, f"discriminators.{name} must be positive, not {value}")


@dataclass(frozen=True)
class RunConfig:
    """What every run has, of codecs and of language models."""

    name: str = "xcodec"
    """The run lives in ``runs/NAME`` (see ``runs``)."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 400_000
    accumulation: int = 1
    """Passes per step."""
    seed: int = 0
    """All randomness is a function of it and the step."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is then what gets validated; 0 keeps none."""
    init_from: str | None = None
    """A model to start from: a codec that :func:`xcodec.load` loads, or the folder of a language model. Weights only;
    ``--resume`` takes up a whole run."""

    log_every: int = 20
    validate_every: int = 1000
    checkpoint_every: int = 1000
    keep: int = 3
    """Newest checkpoints that stay."""
    runs: str = "runs"
    """Folder of all runs."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Besides ``log.jsonl``: any that accelerate knows, ``tensorboard``, ``wandb``, ``trackio`` or ``mlflow``."""
    device: str = "auto"
    """``auto`` or ``cpu``."""
    precision: str = "no"
    """Mixed precision: ``no``, ``bf16`` or ``fp16``; ``auto`` is ``bf16`` on a GPU that has it, else ``no``."""
    threads: int | None = None
    """CPU threads of each rank; torch's own choice if ``null``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "trackers", tuple(self.trackers))
        for name in ("steps", "accumulation", "log_every", "validate_every", "checkpoint_every", "keep"):
            _require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        _require(0 <= self.ema < 1, f"ema must lie in [0, 1), not {self.ema}")
        _require(self.precision in PRECISIONS, f"precision is {self.precision!r}; known: {', '.join(PRECISIONS)}")
        _require(self.device in ("auto", "cpu"), f"device is {self.device!r}; known: auto, cpu")

    @property
    def folder(self) -> Path:
        """Where the run keeps its checkpoints and logs."""
        return Path(self.runs) / self.name

    @property
    def mixed_precision(self) -> str:
        """``precision``, with ``auto`` decided for this machine. A CPU gains nothing: most of them emulate bf16."""
        import torch

        if self.precision != "auto":
            return self.precision
        return "bf16" if self.device != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON or YAML."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """A whole training run of a codec."""

    model: dict[str, Any] = field(default_factory=dict)
    """The codec, as :class:`~xcodec.codec.config.XCodecConfig` writes itself; what is missing is the paper's."""
    data: DataConfig = field(default_factory=DataConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    spectra: SpectraConfig = field(default_factory=SpectraConfig)
    discriminators: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    batch_size: int = 8
    """Crops of each rank in one pass."""
    semantic_share: float | None = None
    """Of the variance of what is quantised, how much the semantic branch has when training starts. It then starts as
    the principal directions of the teacher's features. ``null`` initialises both at random, as the release does."""
    semantic_directions: str | None = None
    """A safetensors file with the `directions` [frames, teacher's width, width] in which the semantic branch starts
    instead: of each frame alone (1) or between its neighbours (3). Such as those that tell phones apart
    (experiments/xcodec_mini/first_codebook.py)."""
    semantic_levels: int | None = None
    """Levels of the quantiser that code the semantic channels; the later ones spend all their entries on acoustics.
    ``null``: all of them code both, as the paper's do."""
    gain_invariant: bool = False
    """Let the entries of the first codebook differ in the shape of the spectrum and not in how loud it is, so that its
    codes change less with the level of a recording; the second codes what that leaves. For spectral encoders."""
    tokens_stay: bool = False
    """Train only what lies after the quantiser, of the codec that ``init_from`` names: its tokens stay what they are,
    and language models trained on them stay usable."""
    perceptual_model: dict[str, Any] | None = None
    """The Whisper of ``losses.perceptual``, written as :class:`~xcodec.codec.config.TeacherConfig` is."""
    quantize_from: int = 0
    """Before this step the codec is a plain autoencoder; at it, k-means initialises the codebooks."""
    kmeans_batches: int = 8
    """Batches (of all ranks) that k-means is given, so that every entry starts among enough vectors."""
    crop_cache: str | None = None
    """A folder that caches what is frozen of each crop: the teacher's features or, with ``tokens_stay``, its codes.
    Pays with ``data.distinct_crops``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.batch_size > 0, f"batch_size must be positive, not {self.batch_size}")
        for name in ("quantize_from", "kmeans_batches"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, not {getattr(self, name)}")
        _require(
            self.semantic_share is None or 0 < self.semantic_share < 1,
            f"semantic_share must lie between 0 and 1, not {self.semantic_share}",
        )
        codec = self.codec
        _require(
            self.semantic_levels is None or 0 < self.semantic_levels <= codec.quantizer.codebooks,
            f"semantic_levels must lie in 1 … {codec.quantizer.codebooks}, not {self.semantic_levels}",
        )
        _require(
            self.semantic_levels is None or codec.semantic is not None,
            "semantic_levels needs a semantic branch",
        )
        _require(
            not self.gain_invariant or isinstance(codec.acoustic, SpectralConfig),
            "gain_invariant needs a spectral encoder (acoustic.kind: spectral)",
        )
        _require(
            not self.tokens_stay or self.init_from is not None,
            "tokens_stay needs a codec whose tokens they are: name it with init_from",
        )
        _require(
            not self.losses.perceptual
            or (self.perceptual_model is not None and isinstance(codec.acoustic, SpectralConfig)),
            "losses.perceptual needs a perceptual_model, and a spectral encoder and decoder (acoustic.kind: spectral)",
        )
        _require(
            not self.losses.perceptual or self.batch_size > 1,
            "losses.perceptual is relative to how clips of a batch differ; batch_size must be at least 2",
        )
        samples = self.data.crops(codec.sample_rate).samples
        _require(
            samples % codec.hop_length == 0,
            f"data.seconds = {self.data.seconds:g} is {samples / codec.hop_length:g} frames; take a whole number",
        )

    @property
    def codec(self) -> XCodecConfig:
        """The codec to train."""
        return XCodecConfig.from_dict({"name": self.name, **self.model})

    @property
    def perceptual_teacher(self) -> TeacherConfig:
        """``perceptual_model`` as a config."""
        assert self.perceptual_model is not None, "asked for by losses.perceptual"
        return TeacherConfig.from_dict(self.perceptual_model, "perceptual_model.")


@dataclass(frozen=True)
class TokenDataConfig:
    """What is read, and how it becomes examples."""

    table: str = ""
    """Folder that `xcodec tokenize` made."""
    sources: tuple[str, ...] = ()
    """Clips of these sources only; empty takes all."""
    domains: tuple[str, ...] = ()
    """Clips of these domains only; empty takes those of the task's name."""
    min_seconds: float = 0.3
    """Shorter clips are left out."""
    max_seconds: float = 15.0
    """Longer clips are left out; of music, a random piece of this length is taken."""
    batch_positions: int = 6000
    """Positions of a batch of each rank in one pass, padding included."""
    validation_batches: int = 4
    """Always the same ones."""
    prompt_seconds: tuple[float, float] = (1.0, 3.0)
    """Speech: length of the prompts, drawn from this range."""
    prompt_share: float = 0.5
    """Speech: how many clips come with another clip of the same voice before them. The others begin by themselves, or
    (for a non-autoregressive model) with a prompt cut from their own beginning."""
    unconditional_share: float = 0.1
    """How many examples are learnt without their text or caption, for classifier-free guidance."""
    codec: str | None = None
    """With which validation is made audible, as :func:`xcodec.load` takes it; null: the codec in the package."""

    def __post_init__(self) -> None:
        for name in ("sources", "domains", "prompt_seconds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # YAML gives lists
        low, high = self.prompt_seconds
        _require(0 < low <= high, f"data.prompt_seconds must go from low to high, not from {low} to {high}")
        _require(0 <= self.min_seconds < self.max_seconds, "data.min_seconds must lie below data.max_seconds")
        for name in ("prompt_share", "unconditional_share"):
            _require(0 <= getattr(self, name) <= 1, f"data.{name} must lie in [0, 1], not {getattr(self, name)}")
        for name in ("batch_positions", "validation_batches"):
            _require(getattr(self, name) > 0, f"data.{name} must be positive, not {getattr(self, name)}")


@dataclass(frozen=True)
class LMTrainConfig(RunConfig):
    """A whole training run of a language model."""

    task: str = "speech"
    """``speech`` (text to codes), ``music`` (codes go on) or ``sound`` (captions to codes)."""
    model: dict[str, Any] = field(default_factory=dict)
    """The model, as :class:`~xcodec.lm.config.LMConfig` writes itself, without ``codec``: the table knows that."""
    data: TokenDataConfig = field(default_factory=TokenDataConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.task in TASKS, f"task is {self.task!r}; known: {', '.join(TASKS)}")
        sketch = self.language_model(CodecSpec("unknown", "0" * 16, codebooks=64))
        _require((self.task == "speech") == (sketch.text is not None), "model.text is for task speech, and only for it")
        _require(
            (self.task == "sound") == (sketch.captions is not None),
            "model.captions is for task sound, and only for it",
        )

    def language_model(self, codec: CodecSpec) -> LMConfig:
        """The model to train, on the codes of a codec."""
        longest = round(self.data.max_seconds * codec.frame_rate)
        return LMConfig.from_dict({**self.model, "codec": vars(codec), "longest": longest})

    @property
    def codebooks_read(self) -> int:
        """How many codebooks of the table are needed: those of the model, and those that clips are aligned by."""
        aligned = (self.model.get("text") or {}).get("aligned", False)
        return max(self.model.get("codebooks", 1), ALIGNED_CODEBOOKS if aligned else 1)

    @property
    def domains(self) -> tuple[str, ...]:
        """Whose clips are read."""
        return self.data.domains or (self.task,)


# Configs of training runs as people write them: a YAML file with the fields of its dataclass, and ``key=value`` changes
# to it. ``base: other.yaml`` starts from another file, so that a variant says only what it varies.

AnyRun = TypeVar("AnyRun", bound=RunConfig)


def load_config(path: str | Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read the run of a codec; see :func:`read_run`."""
    return read_run(path, changes, TrainConfig)


def read_run(path: str | Path, changes: Sequence[str], kind: type[AnyRun]) -> AnyRun:
    """Read a YAML file and apply ``key=value`` changes, such as ``optimizer.lr=1e-3`` or ``data.train.0.path=x``.

    Args:
        path: of the file.
        changes: to it.
        kind: of run that it describes.

    Raises:
        ConfigError: a file that is missing or not YAML, an unknown key, or a value that cannot be; in one line.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    values = _read_yaml(Path(path))
    try:
        for change in changes:
            key, equals, _ = change.partition("=")
            if not equals or not key:
                raise ConfigError(f"{change!r} is not of the form key=value")
            value = OmegaConf.from_dotlist([f"value={change[len(key) + 1 :]}"])["value"]
            OmegaConf.update(values, key, value)
        if "tensorboard" in values:  # what `trackers` was in former versions
            values["trackers"] = ["tensorboard"] if values.pop("tensorboard") else []
        typed = OmegaConf.merge(OmegaConf.structured(kind), values)
        return OmegaConf.to_object(typed)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0]
        where = getattr(error, "full_key", None)
        raise ConfigError(f"{path}: {message}" + (f" (at {where})" if where else "")) from error


def is_language_model(path: str | Path) -> bool:
    """Whether a YAML file describes the training of a language model, by its ``task``.

    Raises:
        ConfigError: the file is missing or not YAML.
    """
    return "task" in _read_yaml(Path(path))


def _read_yaml(path: Path, above: tuple[Path, ...] = ()) -> Any:
    """The file merged over its ``base``, and that over its own; ``above`` are those that it is the base of."""
    import yaml
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = OmegaConf.load(path)
    except FileNotFoundError:
        raise ConfigError(f"no config at {path}") from None
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(values, DictConfig):
        raise ConfigError(f"{path} must hold keys and values")
    base = values.pop("base", None)
    if base is None:
        return values
    above = (*above, path.resolve())
    if (path.parent / str(base)).resolve() in above:
        raise ConfigError(f"{path}: its base {base} is based on itself")
    return OmegaConf.merge(_read_yaml(path.parent / str(base), above), values)
