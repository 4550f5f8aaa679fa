"""The teacher: frozen, always evaluating, aligned with the codec's frames, and free to listen in windows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.conftest import TEACHERS, tiny_codec
from xcodec.codec.config import ConfigError, TeacherConfig
from xcodec.codec.semantic import Teacher, WhisperStates

KINDS = list(TEACHERS)


def teacher(kind: str, codec_rate: int = 16000, **changes: object) -> Teacher:
    torch.manual_seed(0)
    return Teacher(replace(TEACHERS[kind], **changes), codec_rate)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 50, 333])
def test_one_feature_per_codec_frame(kind: str, frames: int) -> None:
    assert teacher(kind)(torch.randn(2, 1, 320 * frames), frames).shape == (2, 16, frames)


@pytest.mark.parametrize("kind", KINDS)
def test_training_mode_does_not_reach_the_teacher(kind: str) -> None:
    codec = tiny_codec(teacher=kind)
    wav = torch.randn(2, 1, 6400)
    assert codec.teacher is not None
    before = codec.teacher(wav, 20)
    codec.train()
    assert not any(module.training for module in codec.teacher.modules())
    assert torch.equal(codec.teacher(wav, 20), before)  # dropout would show
    assert not any(parameter.requires_grad for parameter in codec.teacher.parameters())


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "wav2vec2"])
def test_the_mean_of_all_states_of_the_padded_waveform(kind: str) -> None:
    ours = teacher(kind)
    wav = torch.randn(1, 1, 6400)
    padded = torch.nn.functional.pad(wav[:, 0], (160, 160))
    with torch.no_grad():
        states = ours.network.model(padded, output_hidden_states=True).hidden_states
    assert len(states) == 3  # the input embedding and two layers
    torch.testing.assert_close(ours(wav, 20), torch.stack(states).mean(0).transpose(1, 2))
    one = teacher(kind, layers=1)
    torch.testing.assert_close(one(wav, 20), states[1].transpose(1, 2))


def test_whisper_states_are_those_of_transformers() -> None:
    """On exactly 30 s, the only length that ``transformers`` takes, the two must agree."""
    from transformers import WhisperFeatureExtractor

    ours = WhisperStates(replace(TEACHERS["whisper"], window=30.0, context=0.0)).eval()
    wav = 0.1 * torch.randn(1, 480000, generator=torch.Generator().manual_seed(0))
    spectrum = WhisperFeatureExtractor()(wav[0].numpy(), sampling_rate=16000, return_tensors="pt").input_features
    with torch.no_grad():
        theirs = ours.encoder(spectrum, output_hidden_states=True)
        states = ours(wav)
    assert len(states) == len(theirs.hidden_states)
    for our_state, their_state in zip(states, theirs.hidden_states, strict=True):
        torch.testing.assert_close(our_state, their_state, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2])
def test_whisper_runs_no_layer_in_vain(layer: int) -> None:
    wav = 0.1 * torch.randn(1, 6400, generator=torch.Generator().manual_seed(0))
    every = WhisperStates(replace(TEACHERS["whisper"], layers="mean")).eval()
    some = WhisperStates(replace(TEACHERS["whisper"], layers=layer)).eval()
    some.load_state_dict(every.state_dict())
    runs: list[object] = []
    for each in some.encoder.layers:
        each.register_forward_hook(lambda *of: runs.append(of))
    with torch.no_grad():
        assert torch.equal(some(wav)[layer], every(wav)[layer])
    assert len(runs) == (layer if layer >= 0 else 2)


def test_whisper_cannot_hear_more_than_thirty_seconds_at_once() -> None:
    with pytest.raises(ConfigError, match="at most 30 s"):
        teacher("whisper", window=29.0, context=1.0)
    with pytest.raises(ConfigError, match="at most 30 s"):
        teacher("whisper", window=None)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_hide_what_lies_beyond_them(kind: str) -> None:
    """One-second windows with a quarter of context: a change at 3 s must not move the features of the first 2.5 s."""
    windowed = teacher(kind, window=1.0, context=0.25)
    wav = torch.randn(1, 1, 16000 * 4)
    changed = wav.clone()
    changed[..., 16000 * 3 :] = torch.randn(16000)
    before, after = windowed(wav, 200), windowed(changed, 200)
    assert torch.equal(before[..., :100], after[..., :100])
    assert not torch.equal(before[..., 150:], after[..., 150:])


def test_other_sample_rates_and_frame_rates_are_resampled() -> None:
    hears = teacher("hubert", codec_rate=24000)
    assert hears(torch.randn(1, 1, 24000), 25).shape == (1, 16, 25)  # 50 Hz features to 25 Hz frames
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(48000) / 24000)[None, None]
    same_tone = torch.sin(2 * torch.pi * 440 * torch.arange(32000) / 16000)[None, None]
    resampled = hears(tone, 100)[..., 10:-10]
    direct = teacher("hubert")(same_tone, 100)[..., 10:-10]
    assert (resampled - direct).norm() / direct.norm() < 0.05


def test_unknown_teacher_is_named() -> None:
    with pytest.raises(ConfigError, match="'bert'; known: hubert, wavlm, wav2vec2, whisper"):
        TeacherConfig({"model_type": "bert"})
