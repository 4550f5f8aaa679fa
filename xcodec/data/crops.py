"""An endless stream of random crops in which crop number `i` depends on nothing but the seed and `i`.

That one property gives all the rest: a run resumes by knowing an integer, any number of ranks and workers
together see the stream that one process alone would see, and a crop that made the loss NaN can be looked at
again.

    stream index of crop j of rank r at step s  =  s · (ranks · batch) + r · batch + j
"""

from __future__ import annotations

import dataclasses
import logging
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from xcodec import audio
from xcodec.data.augmentation import AugmentationConfig, add_noise, equalise, hiss, reverberate
from xcodec.data.manifest import AudioItem, BrokenAudioError, DataError, read_corpus, read_span

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger(__name__)

_ATTEMPTS = 100
"""Draws in a row that may fail for one crop before the corpus as a whole is taken to be broken."""


@dataclass(frozen=True)
class CorpusConfig:
    """One corpus of a mixture."""

    path: str
    """A folder, a text list, a `manifest.jsonl`, a Lhotse cut manifest or a Lhotse Shar folder."""
    split: str | None = None
    """`train`, `valid` or `test`; `None` takes all of it."""
    domains: tuple[str, ...] = ()
    """Take these domains only (`speech`, `music`, `sound`); empty takes all."""
    licences: tuple[str, ...] = ()
    """Take clips under these licences only, as their manifest names them; empty takes all, whatever it says."""
    weight: float = 1.0
    """Share of the crops, against the other corpora of the mixture."""
    default_domain: str = "unknown"
    """The domain of clips whose corpus does not tell one, such as a folder."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "domains", tuple(self.domains))  # YAML gives lists
        object.__setattr__(self, "licences", tuple(self.licences))
        if self.weight <= 0:
            raise DataError(f"the weight of corpus {self.path} must be positive, not {self.weight}")


@dataclass(frozen=True)
class CropConfig:
    """What a crop is."""

    seconds: float = 3.0
    sample_rate: int = 16000
    """Hz of the crops; files at other rates are resampled."""
    gain_db: tuple[float, float] = (0.0, 0.0)
    """Each crop is made louder by a number of decibels drawn from this range, and never beyond full scale."""
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    pause_seconds: tuple[float, float] = (0.05, 0.3)
    """Silence between short clips that are joined to fill a crop."""
    max_broken_files: int = 20
    """Broken or missing files that one process tolerates; the next one ends the run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain_db", tuple(self.gain_db))
        object.__setattr__(self, "pause_seconds", tuple(self.pause_seconds))
        if self.seconds <= 0 or self.sample_rate <= 0:
            raise DataError("seconds and sample_rate of a crop must be positive")
        for name in ("gain_db", "pause_seconds"):
            low, high = getattr(self, name)
            if low > high:
                raise DataError(f"{name} must go from low to high, not from {low} to {high}")

    @property
    def samples(self) -> int:
        """Length of a crop."""
        return round(self.seconds * self.sample_rate)


@dataclass(frozen=True)
class Crop:
    """A crop and where it is from."""

    audio: Tensor
    """float32 [1, T]."""
    files: tuple[str, ...]
    """The files in it; several when short clips were joined."""
    domain: str
    index: int
    """Its number in the stream."""


@dataclass(frozen=True)
class CropBatch:
    """Crops of one step of one rank."""

    audio: Tensor
    """float32 [B, 1, T]."""
    files: list[tuple[str, ...]] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    first_index: int = 0

    @staticmethod
    def of(crops: Sequence[Crop]) -> CropBatch:
        """Stack crops."""
        return CropBatch(
            torch.stack([crop.audio for crop in crops]),
            [crop.files for crop in crops],
            [crop.domain for crop in crops],
            crops[0].index,
        )

    def pin_memory(self) -> CropBatch:
        """The same in page-locked memory; a `DataLoader` asks for it by this name."""
        return dataclasses.replace(self, audio=self.audio.pin_memory())


class _Pool:
    """The items of one corpus, drawn in proportion to duration × weight."""

    def __init__(self, items: Sequence[AudioItem]) -> None:
        self.items = [item for item in items if item.samples > 0 and item.weight > 0]
        if not self.items:
            raise DataError("a corpus without a single clip of positive length and weight")
        self._ends = np.cumsum([item.seconds * item.weight for item in self.items])

    def draw(self, rng: np.random.Generator) -> int:
        return int(np.searchsorted(self._ends, rng.random() * self._ends[-1], side="right"))


class RandomCrops(Dataset[Crop]):
    """Crop number `i` of an endless stream, as a pure function of the seed and `i`.

    A corpus is drawn by its weight, a clip of it by duration × weight, and a position in the clip; only the
    crop is read. A clip shorter than the crop is followed by others of the same speaker (of the same source,
    for sounds), with short pauses, and is entered at a random place as if the crop were cut from a long
    recording. Sounds are joined in the same way rather than padded or repeated: padding would spend steps on
    silence, and repeating would teach a period that is not in the sound. They start at their onset, which is
    most of what they are.
    """

    def __init__(self, corpora: Sequence[tuple[Sequence[AudioItem], float]], config: CropConfig, seed: int) -> None:
        """Mix the items of `corpora`, each with its weight."""
        if not corpora:
            raise DataError("no corpora to draw crops from")
        self.config = config
        self.seed = seed
        self._pools = [_Pool(items) for items, _ in corpora]
        self._ends = np.cumsum([weight for _, weight in corpora])
        # Pools of clips that may be joined, made once because a speaker's clips are spread over the manifest.
        self._groups: dict[tuple[int, tuple[str, str]], _Pool] = {}
        for number, pool in enumerate(self._pools):
            by_group = defaultdict(list)
            for item in pool.items:
                by_group[item.group].append(item)
            self._groups |= {(number, group): _Pool(items) for group, items in by_group.items()}
        self._broken: set[Path] = set()

    @classmethod
    def from_config(cls, corpora: Sequence[CorpusConfig], config: CropConfig, seed: int) -> Self:
        """Read the corpora and mix them."""
        limit = config.max_broken_files
        read = [
            (read_corpus(c.path, c.split, c.domains, c.default_domain, limit, c.licences), c.weight) for c in corpora
        ]
        return cls(read, config, seed)

    def __getitem__(self, index: int) -> Crop:
        """Crop number `index`, counted from 0 without end.

        Raises:
            DataError: More files are broken than the config tolerates.
        """
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng((self.seed, index, attempt))
            try:
                return self._crop(index, rng)
            except BrokenAudioError as error:
                self._count_broken(error)
        raise DataError(f"{_ATTEMPTS} draws in a row met broken audio; the corpus seems to be gone")

    def _count_broken(self, error: BrokenAudioError) -> None:
        if error.path in self._broken:
            return
        self._broken.add(error.path)
        logger.warning("skipped broken audio (%d so far): %s", len(self._broken), error)
        if len(self._broken) > self.config.max_broken_files:
            raise DataError(
                f"{len(self._broken)} broken audio files, more than max_broken_files = "
                f"{self.config.max_broken_files}; the last one: {error}"
            ) from error

    def _crop(self, index: int, rng: np.random.Generator) -> Crop:
        samples, items = self._clean(rng)
        if not self.config.augmentation.nothing:
            samples = self._augmented(samples, rng)
        files = tuple(dict.fromkeys(str(used.path) for used in items))
        return Crop(torch.from_numpy(self._with_gain(samples, rng))[None], files, items[0].domain, index)

    def _augmented(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        how, rate = self.config.augmentation, self.config.sample_rate
        if rng.random() < how.equalise:
            samples = equalise(samples, rate, how.equaliser_db, rng)
        if rng.random() < how.reverberate:
            samples = reverberate(samples, rate, rng.uniform(*how.room_seconds), rng.uniform(*how.direct_db), rng)
        if rng.random() < how.noise:
            noise = self._clean(rng)[0] if rng.random() < 0.5 else hiss(len(samples), rng)
            samples = add_noise(samples, noise, rng.uniform(*how.noise_db))
        return samples

    def _clean(self, rng: np.random.Generator) -> tuple[np.ndarray, list[AudioItem]]:
        """A crop [T] as it was recorded, and the clips in it."""
        corpus = int(np.searchsorted(self._ends, rng.random() * self._ends[-1], side="right"))
        pool = self._pools[corpus]
        item = pool.items[pool.draw(rng)]
        if self._length(item) >= self.config.samples:
            return self._piece(item, rng), [item]
        return self._joined(item, self._groups[corpus, item.group], rng)

    def _length(self, item: AudioItem) -> int:
        """Samples of `item` at the crops' rate."""
        return item.samples * self.config.sample_rate // item.sample_rate

    def _piece(self, item: AudioItem, rng: np.random.Generator) -> np.ndarray:
        """A crop [T] from a random place of a clip that is long enough."""
        wanted = -(-self.config.samples * item.sample_rate // self.config.sample_rate)  # rounded up
        count = min(wanted, item.samples)
        first = int(rng.integers(item.samples - count + 1))
        return self._resample(read_span(item, first, count), item.sample_rate)[: self.config.samples]

    def _joined(self, item: AudioItem, group: _Pool, rng: np.random.Generator) -> tuple[np.ndarray, list[AudioItem]]:
        """A crop [T] of short clips of one group, the first of which is `item`, and the clips."""
        sounds = item.domain == "sound"
        first = 0 if sounds else int(rng.integers(item.samples))
        parts = [self._resample(read_span(item, first, item.samples - first), item.sample_rate)]
        items, filled = [item], len(parts[0])
        while filled < self.config.samples:
            pause = np.zeros(round(rng.uniform(*self.config.pause_seconds) * self.config.sample_rate), np.float32)
            item = group.items[group.draw(rng)]
            # A long clip of the same group gives only as much as is still missing.
            missing = -(-(self.config.samples - filled) * item.sample_rate // self.config.sample_rate)
            clip = self._resample(read_span(item, 0, min(item.samples, missing)), item.sample_rate)
            parts += [pause, clip]
            items.append(item)
            filled += len(pause) + len(clip)
        return np.concatenate(parts)[: self.config.samples], items

    def _resample(self, samples: np.ndarray, rate: int) -> np.ndarray:
        resampled: np.ndarray = audio.resample(samples[None], rate, self.config.sample_rate)[0]
        return resampled

    def _with_gain(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        peak = float(np.abs(samples).max())
        gain = 10 ** (rng.uniform(*self.config.gain_db) / 20)
        if peak > 0:
            gain = min(gain, 1 / peak)
        return samples * np.float32(gain)


class ShardedSteps(Sampler[list[int]]):
    """Stream indices of each step's batch of one rank, from `first_step` on."""

    def __init__(
        self, batch_size: int, rank: int = 0, ranks: int = 1, first_step: int = 0, steps: int | None = None
    ) -> None:
        """Give `batch_size` indices per step, for `steps` steps or without end."""
        if batch_size < 1 or not 0 <= rank < ranks:
            raise DataError(f"no batches of {batch_size} for rank {rank} of {ranks}")
        self.batch_size, self.rank, self.ranks = batch_size, rank, ranks
        self.first_step, self.steps = first_step, steps

    def __iter__(self) -> Iterator[list[int]]:
        step = self.first_step
        while self.steps is None or step < self.first_step + self.steps:
            first = (step * self.ranks + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))
            step += 1


class _CropsOrErrors(Dataset["Crop | DataError"]):
    """Crops, or the error that takes their place.

    What a worker process raises reaches the main one as a traceback in the message of another error; what it gives,
    arrives as it is.
    """

    def __init__(self, crops: RandomCrops) -> None:
        self.crops = crops

    def __getitem__(self, index: int) -> Crop | DataError:
        try:
            return self.crops[index]
        except DataError as error:
            return error


def _batch(crops: Sequence[Crop | DataError]) -> CropBatch | DataError:
    errors = [crop for crop in crops if isinstance(crop, DataError)]
    return errors[0] if errors else CropBatch.of([crop for crop in crops if isinstance(crop, Crop)])


class CropLoader(DataLoader[Any]):
    """Gives `CropBatch`es; raises `DataError` here, whichever process met it."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, DataError):
                raise batch
            yield batch


def crop_loader(
    crops: RandomCrops,
    batch_size: int,
    *,
    rank: int = 0,
    ranks: int = 1,
    first_step: int = 0,
    steps: int | None = None,
    workers: int = 0,
    pin_memory: bool = False,
) -> CropLoader:
    """A loader of `CropBatch`es of one rank, from `first_step` on: the number of batches already used.

    Args:
        crops: The stream.
        batch_size: Crops per step of this rank.
        rank: This process, of `ranks`.
        ranks: Processes that share the stream.
        first_step: Batches of this rank to skip.
        steps: Batches to give; None for no end.
        workers: Processes that read; the batches do not depend on it.
        pin_memory: Put batches in memory that a GPU copies from faster.

    Raises:
        DataError: While it is read: more files are broken than the crops' config tolerates.
    """
    return CropLoader(
        _CropsOrErrors(crops),
        batch_sampler=ShardedSteps(batch_size, rank, ranks, first_step, steps),
        num_workers=workers,
        collate_fn=_batch,
        pin_memory=pin_memory,
        worker_init_fn=_outlive_signals,
    )


def _outlive_signals(_: int) -> None:
    """A scheduler or a Ctrl-C signals all processes of a job. The training one ends its step, and needs its readers."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
