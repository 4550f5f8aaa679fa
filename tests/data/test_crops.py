from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from xcodec.data.crops import CorpusConfig, CropConfig, RandomCrops, ShardedSteps, crop_loader
from xcodec.data.manifest import AudioItem, BrokenAudioError, DataError, read_corpus, read_span
from xcodec.train.init import RepeatedCrops

RATE = 8000
CONFIG = CropConfig(seconds=0.25, sample_rate=RATE)


def write_clip(path: Path, seconds: float, level: float = 0.5, rate: int = RATE, **about: object) -> AudioItem:
    """A clip of noise around `level`, so that its sign and size tell where samples came from."""
    noise = np.random.default_rng(len(str(path))).uniform(0.5, 1.0, int(seconds * rate))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, level * noise, rate, subtype="PCM_16")
    return AudioItem(path, rate, int(seconds * rate), **{"domain": "speech", "source": "test", **about})


@pytest.fixture
def corpus(tmp_path: Path) -> list[AudioItem]:
    lengths = (0.1, 0.15, 0.4, 2.0, 0.12)
    return [write_clip(tmp_path / f"{i}.wav", seconds, speaker=f"s{i % 2}") for i, seconds in enumerate(lengths)]


def stream(corpus: list[AudioItem], config: CropConfig = CONFIG, seed: int = 1) -> RandomCrops:
    return RandomCrops([(corpus, 1.0)], config, seed)


def batches(crops: RandomCrops, **how: object) -> torch.Tensor:
    """All the crops of some batches, [N, 1, T]."""
    return torch.cat([batch.audio for batch in crop_loader(crops, **how)])


def test_every_crop_has_the_same_shape_whatever_its_clips_are(corpus: list[AudioItem]) -> None:
    for crop in map(stream(corpus).__getitem__, range(40)):
        assert crop.audio.shape == (1, CONFIG.samples)
        assert crop.audio.dtype == torch.float32
        assert set(crop.files) <= {str(item.path) for item in corpus}


def test_a_crop_depends_on_seed_and_index_only(corpus: list[AudioItem]) -> None:
    forward = [stream(corpus)[i].audio for i in range(20)]
    backward = [stream(corpus)[i].audio for i in reversed(range(20))]
    assert all(torch.equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))
    other = [stream(corpus, seed=2)[i].audio for i in range(20)]
    assert not any(torch.equal(a, b) for a, b in zip(forward, other, strict=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_batches(corpus: list[AudioItem], workers: int) -> None:
    alone = batches(stream(corpus), batch_size=3, steps=5)
    assert torch.equal(batches(stream(corpus), batch_size=3, steps=5, workers=workers), alone)


def test_a_run_resumes_at_a_step(corpus: list[AudioItem]) -> None:
    whole = batches(stream(corpus), batch_size=3, steps=6)
    rest = batches(stream(corpus), batch_size=3, first_step=4, steps=2)
    assert torch.equal(rest, whole[4 * 3 :])


def test_two_ranks_tile_the_stream_of_one(corpus: list[AudioItem]) -> None:
    whole = batches(stream(corpus), batch_size=8, steps=3)
    ranks = [batches(stream(corpus), batch_size=4, rank=rank, ranks=2, steps=3) for rank in range(2)]
    tiled = torch.cat([ranks[rank][4 * step : 4 * step + 4] for step in range(3) for rank in range(2)])
    assert torch.equal(tiled, whole)


def test_the_stream_has_no_end(corpus: list[AudioItem]) -> None:
    sampler = ShardedSteps(2, rank=1, ranks=3, first_step=10**9)
    assert list(islice(sampler, 2)) == [[6 * 10**9 + 2, 6 * 10**9 + 3], [6 * 10**9 + 8, 6 * 10**9 + 9]]
    assert stream(corpus)[6 * 10**9].audio.shape == (1, CONFIG.samples)


@pytest.mark.parametrize(("batch_size", "rank", "ranks"), [(0, 0, 1), (4, 2, 2), (4, -1, 2)])
def test_impossible_shards_are_refused(batch_size: int, rank: int, ranks: int) -> None:
    with pytest.raises(DataError, match="rank"):
        ShardedSteps(batch_size, rank, ranks)


def test_only_the_crop_is_read_of_a_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = write_clip(tmp_path / "long.wav", 120.0)
    frames = []
    read = soundfile.SoundFile.read

    def counting(file: soundfile.SoundFile, *args: object, **kwargs: object) -> np.ndarray:
        audio = read(file, *args, **kwargs)
        frames.append(len(audio))
        return audio

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    crops = stream([item])
    for index in range(10):
        crops[index]
    assert sum(frames) == 10 * CONFIG.samples


def test_crops_come_from_all_over_a_long_file(tmp_path: Path) -> None:
    samples = 20 * RATE
    ramp = np.arange(samples) / samples
    soundfile.write(tmp_path / "ramp.wav", ramp, RATE, subtype="FLOAT")
    crops = stream(read_corpus(tmp_path))
    starts = torch.stack([crops[i].audio[0, 0] for i in range(300)])
    counts = torch.histc(starts, bins=4, min=0, max=1 - CONFIG.samples / samples)
    assert counts.min() > 50
    crop = crops[0].audio[0]
    torch.testing.assert_close(crop.diff(), torch.full_like(crop[1:], 1 / samples), atol=1e-6, rtol=0)


def test_short_clips_are_joined_with_others_of_their_speaker_only(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, pause_seconds=(0.02, 0.02))
    items = [write_clip(tmp_path / f"a{i}.wav", 0.08, 0.5, speaker="a") for i in range(5)]
    items += [write_clip(tmp_path / f"b{i}.wav", 0.08, -0.5, speaker="b") for i in range(5)]
    several = 0
    for index in range(30):
        crop = stream(items, config)[index]
        audio = crop.audio[0]
        speakers = {Path(file).name[0] for file in crop.files}
        assert len(speakers) == 1
        assert bool((audio >= 0).all()) if speakers == {"a"} else bool((audio <= 0).all())
        silence = int((audio == 0).sum())
        assert 0 < silence <= 4 * 0.02 * RATE, "only the pauses are silent"
        several += len(crop.files) > 1
    assert several > 20


def test_a_sound_starts_at_its_onset_and_a_lone_one_comes_again(tmp_path: Path) -> None:
    item = write_clip(tmp_path / "drum.wav", 0.05, domain="sound")
    recorded, _ = soundfile.read(item.path, dtype="float32")
    crops = stream([item], dataclasses.replace(CONFIG, pause_seconds=(0.05, 0.1)))
    for index in range(5):
        audio = crops[index].audio[0].numpy()
        np.testing.assert_array_equal(audio[: len(recorded)], recorded)
        assert (audio[len(recorded) :] != 0).any()


def test_files_at_another_rate_are_resampled(tmp_path: Path) -> None:
    rate = 22050
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "tone.wav", tone, rate)
    crop = stream(read_corpus(tmp_path))[3].audio[0]
    assert crop.shape == (CONFIG.samples,)
    spectrum = torch.fft.rfft(crop * torch.hann_window(len(crop))).abs()
    assert int(spectrum.argmax()) * RATE / len(crop) == pytest.approx(1000, abs=RATE / len(crop))


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "stereo.wav", np.tile([0.75, -0.25], (RATE, 1)), RATE, subtype="FLOAT")
    assert stream(read_corpus(tmp_path))[0].audio.unique().tolist() == [0.25]


def test_a_file_whose_rate_is_not_the_listed_one_is_broken(tmp_path: Path) -> None:
    item = dataclasses.replace(write_clip(tmp_path / "a.wav", 1.0), sample_rate=2 * RATE)
    with pytest.raises(BrokenAudioError, match=r"a\.wav: has 8000 Hz, not 16000 Hz"):
        read_span(item, 0, 100)


def test_gain_is_drawn_from_its_range_and_never_clips(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "level.wav", np.full(RATE, 0.25), RATE, subtype="FLOAT")
    quieter = stream(read_corpus(tmp_path), dataclasses.replace(CONFIG, gain_db=(-6.0, 6.0)))
    levels = torch.tensor([quieter[i].audio.max() for i in range(200)])
    decibels = 20 * torch.log10(levels / 0.25)
    assert decibels.min() >= -6.001
    assert decibels.max() <= 6.001
    assert decibels.std() > 2
    loud = stream(read_corpus(tmp_path), dataclasses.replace(CONFIG, gain_db=(40.0, 40.0)))
    assert loud[0].audio.max() == pytest.approx(1.0)


def test_clips_are_drawn_by_duration_times_weight(tmp_path: Path) -> None:
    items = [
        write_clip(tmp_path / "long.wav", 3.0, speaker="x"),
        write_clip(tmp_path / "short.wav", 1.0, speaker="y"),
        write_clip(tmp_path / "noisy.wav", 4.0, speaker="z", weight=0.25),
        write_clip(tmp_path / "never.wav", 4.0, speaker="w", weight=0.0),
    ]
    crops = stream(items)
    drawn = Counter(Path(crops[i].files[0]).stem for i in range(1000))
    assert drawn["long"] == pytest.approx(600, abs=60)
    assert drawn["short"] == pytest.approx(200, abs=50)
    assert drawn["noisy"] == pytest.approx(200, abs=50)
    assert drawn["never"] == 0


def test_a_mixture_gives_each_corpus_its_share_whatever_its_size(tmp_path: Path) -> None:
    write_clip(tmp_path / "speech/a.wav", 10.0)
    write_clip(tmp_path / "music/b.wav", 1.0)
    corpora = [
        CorpusConfig(str(tmp_path / "speech"), weight=3.0),
        CorpusConfig(str(tmp_path / "music"), weight=1.0),
    ]
    crops = RandomCrops.from_config(corpora, CONFIG, seed=0)
    drawn = Counter(Path(crops[i].files[0]).parent.name for i in range(1000))
    assert drawn["speech"] == pytest.approx(750, abs=60)


def test_recurring_crops_are_those_of_the_plain_stream(tmp_path: Path) -> None:
    for number in range(3):
        write_clip(tmp_path / f"{number}.wav", 0.1)
    corpora = [CorpusConfig(str(tmp_path), default_domain="sound")]
    plain = RandomCrops.from_config(corpora, CONFIG, seed=0)
    ring = RepeatedCrops.among(4, corpora, CONFIG, seed=0)
    for index in range(9):
        assert torch.equal(ring[index].audio, plain[index % 4].audio)
        assert ring[index].domain == "sound"


def test_broken_files_are_named_counted_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = write_clip(tmp_path / "good.wav", 1.0, speaker="g")
    gone = dataclasses.replace(good, path=tmp_path / "gone.wav", speaker="x")
    text = dataclasses.replace(good, path=tmp_path / "text.wav", speaker="y")
    text.path.write_text("not audio")
    short = write_clip(tmp_path / "short.wav", 0.1, speaker="z")
    short = dataclasses.replace(short, samples=RATE)
    not_finite = dataclasses.replace(good, path=tmp_path / "nan.wav", speaker="n")
    soundfile.write(not_finite.path, np.full(RATE, np.nan), RATE, subtype="FLOAT")

    crops = stream([good, gone, text, short, not_finite])
    with caplog.at_level(logging.WARNING):
        first = [crops[i] for i in range(30)]
    assert {file for crop in first for file in crop.files} == {str(good.path)}
    for name in ("gone.wav", "text.wav", "short.wav", "nan.wav"):
        assert sum(name in message for message in caplog.messages) == 1, f"{name} is named once"
    again = stream([good, gone, text, short, not_finite])
    assert all(torch.equal(crop.audio, again[crop.index].audio) for crop in first)


def test_too_many_broken_files_end_the_run(tmp_path: Path) -> None:
    good = write_clip(tmp_path / "good.wav", 1.0)
    missing = [dataclasses.replace(good, path=tmp_path / f"gone{i}.wav") for i in range(6)]
    crops = stream([good, *missing], dataclasses.replace(CONFIG, max_broken_files=3))
    with pytest.raises(DataError, match="4 broken audio files, more than max_broken_files = 3"):
        list(map(crops.__getitem__, range(100)))


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_worker_process_meets_is_one_line(tmp_path: Path, workers: int) -> None:
    missing = AudioItem(tmp_path / "gone.wav", RATE, RATE)
    crops = stream([missing], dataclasses.replace(CONFIG, max_broken_files=0))
    with pytest.raises(DataError, match=r"^1 broken audio files, more than max_broken_files = 0") as caught:
        batches(crops, batch_size=2, steps=1, workers=workers)
    assert "\n" not in str(caught.value)


def test_a_batch_can_be_pinned(corpus: list[AudioItem], monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch, which leaves types that it does not know as they are, unless they have that method."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    (batch,) = crop_loader(stream(corpus), 2, steps=1)
    pinned = pin_memory(batch)
    assert torch.equal(pinned.audio, batch.audio + 1)
    assert pinned.files == batch.files


def test_a_corpus_that_vanished_is_an_error_and_not_an_endless_search(tmp_path: Path) -> None:
    item = AudioItem(tmp_path / "gone.wav", RATE, RATE)
    with pytest.raises(DataError, match="seems to be gone"):
        stream([item])[0]


def test_nothing_to_draw_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no corpora"):
        RandomCrops([], CONFIG, 0)
    with pytest.raises(DataError, match="without a single clip"):
        stream([AudioItem(tmp_path / "a.wav", RATE, 0)])


def test_configs_refuse_nonsense() -> None:
    with pytest.raises(DataError, match="positive"):
        CropConfig(seconds=0)
    with pytest.raises(DataError, match="gain_db"):
        CropConfig(gain_db=(3.0, -3.0))
    with pytest.raises(DataError, match="weight of corpus x"):
        CorpusConfig("x", weight=0)
