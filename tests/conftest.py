"""Tiny codecs, one of every kind, that build and run in milliseconds."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import torch

from tests.browser import browser as browser  # a fixture for all tests of pages
from xcodec.codec.config import (
    AcousticConfig,
    DacConfig,
    QuantizerConfig,
    SemanticConfig,
    SpectralConfig,
    TeacherConfig,
    XCodecConfig,
)
from xcodec.codec.model import XCodec

# A shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C; some test Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

TRANSFORMER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
WAVEFORM = {**TRANSFORMER, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
TEACHERS: dict[str, TeacherConfig] = {
    "hubert": TeacherConfig({"model_type": "hubert", **WAVEFORM}),
    "wavlm": TeacherConfig({"model_type": "wavlm", **WAVEFORM, "max_bucket_distance": 100}),
    "wav2vec2": TeacherConfig({"model_type": "wav2vec2", **WAVEFORM}),
    "whisper": TeacherConfig(
        {
            "model_type": "whisper",
            "d_model": 16,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "max_source_positions": 1500,
        },
        padding=0,
        window=4.0,
        context=1.0,
    ),
}
ACOUSTIC: dict[str, AcousticConfig] = {
    "dac": DacConfig(width=8, encoder_width=2, decoder_width=32),
    "spectral": SpectralConfig(
        width=8, mel_bands=4, phase_iterations=2, encoder_width=16, encoder_layers=1, decoder_width=16, decoder_layers=1
    ),
}


def tiny_config(acoustic: str = "spectral", teacher: str | None = "hubert", **changes: Any) -> XCodecConfig:
    """A config whose network has a few thousand weights. ``teacher=None`` is the acoustic baseline."""
    values: dict[str, Any] = {
        "name": f"tiny-{acoustic}-{teacher}",
        "acoustic": ACOUSTIC[acoustic],
        "semantic": SemanticConfig(TEACHERS[teacher], blocks=1) if teacher else None,
        "quantizer": QuantizerConfig(codebooks=4, codebook_size=64, width=24, kmeans_iterations=3),
        "bandwidth_codebooks": (1, 2, 4),
        **changes,
    }
    return XCodecConfig(**values)


def tiny_codec(
    acoustic: str = "spectral",
    teacher: str | None = "hubert",
    seed: int = 0,
    semantic_gain: float = 1.0,
    **changes: Any,
) -> XCodec:
    """A codec with random weights, and codebooks placed among the latents of noise; in evaluation mode.

    The semantic branch is soft-spoken, untrained as it is. Where its codes are to tell what the teacher heard,
    ``semantic_gain`` makes it louder.
    """
    torch.manual_seed(seed)
    codec = XCodec(tiny_config(acoustic, teacher, **changes))
    with torch.no_grad():
        codec.prior.weight[:, codec.config.acoustic.width :] *= semantic_gain
    codec.train()
    with torch.no_grad():
        codec(torch.randn(4, 1, 32 * codec.hop_length), torch.full((4,), codec.config.quantizer.codebooks))
    return codec.eval()


@pytest.fixture(scope="session")
def codec() -> XCodec:
    """A tiny codec for tests to which any codec will do; do not change it."""
    return tiny_codec()
