"""Tiny language models."""

from __future__ import annotations

from typing import Any

import torch

from xcodec.lm.config import CodecSpec, LMConfig, TextConfig, TransformerConfig
from xcodec.lm.model import AutoregressiveLM, NonAutoregressiveLM, build_model

FACTS = CodecSpec("tiny", "0011223344556677", codebooks=4, codebook_size=16)
SIZES = TransformerConfig(width=16, layers=2, heads=2, inner=24, dropout=0.0)


def config(**changes: Any) -> LMConfig:
    return LMConfig(**{"codec": FACTS, "transformer": SIZES, **changes})


def autoregressive(**changes: Any) -> AutoregressiveLM:
    torch.manual_seed(0)
    model = build_model(config(**changes))
    assert isinstance(model, AutoregressiveLM)
    _sharpen(model)
    return model.eval()


def nonautoregressive(**changes: Any) -> NonAutoregressiveLM:
    torch.manual_seed(0)
    model = build_model(
        config(**{"codebooks": 4, "non_autoregressive": True, "text": TextConfig("characters"), **changes})
    )
    assert isinstance(model, NonAutoregressiveLM)
    _sharpen(model)
    return model.eval()


def _sharpen(model: torch.nn.Module) -> None:
    """Weights so large that what stands before matters, unlike those that training starts from."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name:
                weight.mul_(12)
