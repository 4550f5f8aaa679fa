"""Each metric against an analytic case, or a value that the reference package gave once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xcodec import audio
from xcodec.evaluate.metrics import RATE, MetricError, Signal
from xcodec.evaluate.metrics.learned import Dnsmos, Speaker, Utmos, WavLmSpeaker
from xcodec.evaluate.metrics.signal import LogMel, MultiStft, Pesq, Pitch, SiSdr, Stoi, track_pitch

SAMPLES = Path(__file__).parents[3] / "samples"


def tone(hertz: float, seconds: float = 1.0, harmonics: int = 1) -> Signal:
    time = np.arange(round(seconds * RATE)) / RATE
    parts = [np.sin(2 * np.pi * hertz * number * time) / number for number in range(1, harmonics + 1)]
    return (0.3 * np.sum(parts, axis=0)).astype(np.float32)


# --- SI-SDR -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [0.1, 1.0, -2.0])
def test_si_sdr_of_orthogonal_distortion_is_the_ratio_of_energies_at_any_gain(gain: float) -> None:
    # Whole periods, so the two tones are orthogonal; a tenth of the amplitude is 20 dB.
    decoded = gain * (tone(500) + 0.1 * tone(750))
    assert SiSdr()(tone(500), decoded)["si_sdr"] == pytest.approx(20, abs=1e-3)


def test_si_sdr_of_a_copy_is_infinite_and_so_refused() -> None:
    with pytest.raises(MetricError, match="infinite"):
        SiSdr()(tone(500), 0.5 * tone(500))


# --- spectra ----------------------------------------------------------------------------------------------------------


def test_log_mel_of_half_the_amplitude_is_six_decibels(noise: Callable[..., Signal]) -> None:
    assert LogMel()(noise(), 0.5 * noise())["log_mel"] == pytest.approx(20 * np.log10(2), abs=1e-4)


def test_stft_of_half_the_amplitude_is_known(noise: Callable[..., Signal]) -> None:
    # Relative error 1/2, and a difference of ln 2 in every bin above the floor: all but some of noise.
    assert MultiStft()(noise(), 0.5 * noise())["stft"] == pytest.approx(0.5 + np.log(2), abs=1e-3)


def test_spectra_of_a_copy_do_not_differ(speech: Signal) -> None:
    assert LogMel()(speech, speech) == {"log_mel": 0.0}
    assert MultiStft()(speech, speech) == {"stft": 0.0}


# --- pitch ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hertz", [70, 110.5, 220, 330.3, 480])
def test_pitch_of_a_harmonic_tone_is_found_to_a_few_cents(hertz: float) -> None:
    inside = track_pitch(tone(hertz, harmonics=8))[5:-5]
    assert np.isfinite(inside).all()
    assert np.abs(1200 * np.log2(inside / hertz)).max() < 5


def test_noise_has_no_pitch(noise: Callable[..., Signal]) -> None:
    assert np.isnan(track_pitch(noise())).mean() > 0.99


def test_f0_error_is_the_interval_in_cents() -> None:
    semitone = 2 ** (1 / 12)
    scores = Pitch()(tone(200, harmonics=5), tone(200 * semitone, harmonics=5))
    assert scores["f0_rmse"] == pytest.approx(100, abs=3)
    assert scores["voicing_error"] < 5


def test_voicing_error_is_the_share_of_frames_that_lost_their_voice(noise: Callable[..., Signal]) -> None:
    voiced = tone(200, 2.0, harmonics=5)
    half = np.concatenate([voiced[:RATE], noise(seconds=1)])
    assert Pitch()(voiced, half)["voicing_error"] == pytest.approx(50, abs=3)


def test_no_common_voice_has_no_f0_error(noise: Callable[..., Signal]) -> None:
    with pytest.raises(MetricError, match="no frame is voiced"):
        Pitch()(tone(200), noise(seconds=1))


# --- speech -----------------------------------------------------------------------------------------------------------


def test_pesq_and_stoi_of_a_copy_are_their_maxima(speech: Signal) -> None:
    assert Pesq()(speech, speech)["pesq"] == pytest.approx(4.644, abs=0.001)
    scores = Stoi()(speech, speech)
    assert scores["stoi"] == pytest.approx(1)
    assert scores["estoi"] == pytest.approx(1)


def test_pesq_and_stoi_are_the_packages(speech: Signal, noise: Callable[..., Signal]) -> None:
    from pesq import pesq
    from pystoi import stoi

    noisy = speech + 0.1 * noise(seconds=4)
    assert Pesq()(speech, noisy)["pesq"] == pytest.approx(pesq(RATE, speech, noisy, "wb"))
    assert Stoi()(speech, noisy)["stoi"] == pytest.approx(stoi(speech, noisy, RATE))
    assert Stoi()(speech, noisy)["estoi"] == pytest.approx(stoi(speech, noisy, RATE, extended=True))


def test_stoi_of_too_little_speech_has_no_value(speech: Signal) -> None:
    with pytest.raises(MetricError, match="STOI"):
        Stoi()(speech[: RATE // 4], speech[: RATE // 4])


def test_pesq_of_too_little_audio_has_no_value(speech: Signal) -> None:
    with pytest.raises(MetricError, match="PESQ"):
        Pesq()(speech[: RATE // 8], speech[: RATE // 8])


# --- networks ---------------------------------------------------------------------------------------------------------


def read(name: str) -> Signal:
    return audio.read(SAMPLES / f"{name}.flac", RATE)[0][0]


# speechmos 0.0.1.1: dnsmos.run(sound, 16000, "dnsmos") on the first sample, and on it repeated to 12.5 s.
@pytest.mark.parametrize(("seconds", "whole", "speech_alone"), [(None, 3.29553, 3.56409), (12.5, 3.28219, 3.56078)])
def test_dnsmos_is_what_the_reference_package_says(seconds: float | None, whole: float, speech_alone: float) -> None:
    sound = read("english-please-stay-on-the-line")
    if seconds is not None:
        sound = np.tile(sound, 3)[: round(seconds * RATE)]
    scores = Dnsmos()(sound, sound)
    assert scores == pytest.approx({"dnsmos": whole, "dnsmos_speech": speech_alone}, abs=1e-3)


# Resemblyzer 0.1.4: VoiceEncoder.embed_utterance after normalize_volume, on whole samples.
@pytest.mark.parametrize(
    ("one", "other", "similarity"),
    [
        ("english-please-stay-on-the-line", "english-not-in-service", 0.9607),
        ("english-please-stay-on-the-line", "spanish-not-at-the-desk", 0.7582),
        ("english-not-in-service", "spanish-not-at-the-desk", 0.7463),
    ],
)
def test_speaker_similarity_is_what_the_reference_package_says(one: str, other: str, similarity: float) -> None:
    speaker = Speaker()
    assert float(speaker.embed(read(one)) @ speaker.embed(read(other))) == pytest.approx(similarity, abs=2e-3)


def test_a_voice_is_itself(speech: Signal) -> None:
    # Both are below -30 dBFS, to which quiet audio is raised.
    assert Speaker()(0.1 * speech, 0.05 * speech)["speaker"] == pytest.approx(1, abs=1e-3)


def test_utmos_that_cannot_be_fetched_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load", offline)
    with pytest.raises(
        ValueError, match=r"UTMOS could not be fetched from GitHub \(OSError\); run once with a network"
    ):
        Utmos()


def test_wavlm_that_is_nowhere_says_how(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="could not be fetched; get it with: hf download"):
        WavLmSpeaker(str(tmp_path / "nothing"))


def test_wavlm_speaker_runs_a_model_from_a_folder(tmp_path: Path, speech: Signal) -> None:
    from transformers import WavLMConfig, WavLMForXVector

    config = WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        max_bucket_distance=100,
        tdnn_dim=[8] * 5,
        xvector_output_dim=8,
    )
    WavLMForXVector(config).save_pretrained(tmp_path)
    metric = WavLmSpeaker(str(tmp_path))
    assert metric(speech, 0.5 * speech)["wavlm_speaker"] == pytest.approx(1, abs=1e-3)  # its input is normalised
    assert -1 <= metric(speech, speech[::-1].copy())["wavlm_speaker"] < 0.9999
