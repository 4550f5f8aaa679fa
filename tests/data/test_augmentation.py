"""Augmentation does what its numbers say, and leaves crops a function of their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from xcodec.data.augmentation import AugmentationConfig, add_noise, equalise, hiss, reverberate
from xcodec.data.crops import CropConfig, RandomCrops
from xcodec.data.manifest import AudioItem

RATE = 16000


def level(samples: np.ndarray) -> float:
    return float(10 * np.log10((samples.astype(np.float64) ** 2).mean()))


def test_the_equaliser_bends_the_spectrum_within_its_range() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(RATE).astype(np.float32)
    bent = equalise(noise, RATE, 6.0, rng)
    change = 20 * np.log10(np.abs(np.fft.rfft(bent)) / np.abs(np.fft.rfft(noise)))
    assert np.abs(change).max() < 6.1
    assert change.std() > 1
    assert np.abs(np.diff(change)).max() < 0.5, "smoothly"


def test_a_room_rings_for_its_time_below_the_direct_sound() -> None:
    click = np.zeros(RATE, np.float32)
    click[100] = 1
    wet = reverberate(click, RATE, 0.2, 10.0, np.random.default_rng(0))
    assert wet[100] == pytest.approx(1, abs=1e-4)
    assert np.abs(wet[:100]).max() < 1e-6, "nothing sounds before it is struck"
    assert 10 * np.log10((wet[101:] ** 2).sum()) == pytest.approx(-10, abs=0.5)
    early, late = wet[101 : 101 + RATE // 100], wet[100 + RATE // 10 : 110 + RATE // 10 + RATE // 100]
    assert level(early) - level(late) == pytest.approx(30, abs=4), "60 dB in its 0.2 s"
    assert np.abs(wet[100 + RATE // 5 :]).max() < 1e-4


def test_noise_lies_so_far_below() -> None:
    rng = np.random.default_rng(0)
    speech, noise = rng.standard_normal(RATE).astype(np.float32) * 0.1, hiss(RATE, rng)
    noisy = add_noise(speech, noise, 20.0)
    assert level(noisy - speech) - level(speech) == pytest.approx(-20, abs=0.01)
    assert np.array_equal(add_noise(speech, np.zeros_like(speech), 20.0), speech)


def test_augmented_crops_depend_on_their_number_only(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(2 * RATE), RATE)
    items = [AudioItem(tmp_path / "a.wav", RATE, 2 * RATE, domain="speech", source="test")]
    everything = AugmentationConfig(equalise=1, reverberate=1, noise=1)
    clean, augmented, again = (
        RandomCrops([(items, 1.0)], CropConfig(0.5, RATE, augmentation=how), 1)
        for how in (AugmentationConfig(), everything, everything)
    )
    for index in range(4):
        assert augmented[index].audio.shape == (1, RATE // 2)
        assert augmented[index].audio.dtype == torch.float32
        assert torch.equal(augmented[index].audio, again[index].audio)
        assert not torch.equal(augmented[index].audio, clean[index].audio)


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match="noise is a share"):
        AugmentationConfig(noise=1.5)
