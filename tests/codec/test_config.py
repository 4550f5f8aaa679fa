"""Configs check themselves, and survive a trip through JSON."""

from __future__ import annotations

import json

import pytest

from xcodec.codec.config import (
    ConfigError,
    DacConfig,
    QuantizerConfig,
    SemanticConfig,
    SpectralConfig,
    TeacherConfig,
    XCodecConfig,
)


def test_the_default_is_the_paper() -> None:
    config = XCodecConfig()
    assert (config.sample_rate, config.hop_length, config.frame_rate) == (16000, 320, 50)
    assert config.bandwidths == (0.5, 1, 1.5, 2, 4)
    assert config.quantizer.width == 256 + 768


@pytest.mark.parametrize(
    "config",
    [
        XCodecConfig(),
        XCodecConfig(semantic=None),
        XCodecConfig(acoustic=SpectralConfig(), sample_rate=24000, strides=(8, 5, 4, 6)),
        XCodecConfig(semantic=SemanticConfig(TeacherConfig({"model_type": "whisper"}, layers=-1, window=4.0))),
    ],
)
def test_json_round_trip(config: XCodecConfig) -> None:
    assert XCodecConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_bandwidth_that_the_model_lacks_lists_those_it_has() -> None:
    with pytest.raises(ValueError, match=r"no bandwidth of 3 kbps; it has 0\.5, 1, 1\.5, 2, 4$"):
        XCodecConfig().codebooks_for(3)


@pytest.mark.parametrize("bandwidth", [float("nan"), -1, 0])
def test_bandwidths_that_cannot_be(bandwidth: float) -> None:
    with pytest.raises(ValueError, match=r"it has 0\.5"):
        XCodecConfig().codebooks_for(bandwidth)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x" * 32}, "name must be 1 to 31 printable bytes"),
        ({"sample_rate": 0}, "sample_rate must be positive"),
        ({"strides": []}, "strides must be"),
        ({"bandwidth_codebooks": [1, 9]}, "asks for 9 codebooks"),
        ({"bandwidth_codebooks": [2, 1]}, "must rise"),
        ({"acoustic": {"kind": "wavelet"}}, "acoustic.kind is 'wavelet'; known: dac, spectral"),
        ({"acoustic": {"kind": "spectral", "window_hops": 3}}, "window_hops"),
        ({"semantic": {"teacher": {"architecture": {"model_type": "bert"}}}}, "known: hubert, wavlm"),
        ({"semantic": {"teachers": {}}}, "unknown config field semantic.teachers"),
        ({"quantiser": {}}, "unknown config field quantiser; known here: name"),
        ({"quantizer": {"decay": 1.0}}, "quantizer.decay"),
        ({"quantizer": {"codebooks": "eight"}}, "config quantizer"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        XCodecConfig.from_dict(values)


def test_twenty_five_hertz() -> None:
    config = XCodecConfig(
        sample_rate=24000,
        strides=(8, 5, 4, 6),
        acoustic=DacConfig(),
        quantizer=QuantizerConfig(codebook_size=4096),
    )
    assert config.frame_rate == 25
    assert config.bandwidths == (0.3, 0.6, 0.9, 1.2, 2.4)
