"""What a published checkpoint has beside config and weights: a model card, and what makes `transformers` load it.

AutoModel.from_pretrained(folder, trust_remote_code=True)     # a module with encode and decode, on this package
AutoFeatureExtractor.from_pretrained(folder)                  # pads batches to whole frames
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xcodec.codec.config import XCodecConfig
from xcodec.utils.checkpoint_io import CARD, CONFIG, PREPROCESSOR, REMOTE_CODE

AUTO_MAP = {"AutoConfig": "modeling_xcodec.AutoXCodecConfig", "AutoModel": "modeling_xcodec.AutoXCodec"}
_CODE = '''"""For `transformers.AutoModel` with `trust_remote_code=True`; needs `pip install xcodec`."""

from transformers import PretrainedConfig, PreTrainedModel

import xcodec


class AutoXCodecConfig(PretrainedConfig):
    """The fields of config.json, as they are."""

    model_type = "xcodec-package"


class AutoXCodec(PreTrainedModel):
    """`model` is the `xcodec.XCodec`."""

    config_class = AutoXCodecConfig

    def __init__(self, config, model):
        super().__init__(config)
        self.model = model

    @classmethod
    def from_pretrained(cls, source, *args, config=None, **options):
        return cls(config, xcodec.XCodec.from_pretrained(source)).eval()

    def encode(self, input_values, bandwidth=None, lengths=None):
        """Audio [B, 1, T] to codes [B, K, F]."""
        return self.model.encode(input_values, bandwidth, lengths)

    def decode(self, audio_codes):
        """Codes [B, K, F] to audio [B, 1, F x hop]."""
        return self.model.decode(audio_codes)

    def forward(self, input_values, bandwidth=None):
        return self.decode(self.encode(input_values, bandwidth))
'''


def write_hub_files(
    folder: Path, config: XCodecConfig, licence: str | None = None, measures: Mapping[str, float] | None = None
) -> None:
    """Add them to a checkpoint.

    Args:
        folder: that of ``config.json``.
        config: of the codec.
        licence: of the weights, as the hub abbreviates it (``apache-2.0``); not stated by default.
        measures: what is known of its quality, such as ``{"PESQ-WB at 4 kbps": 2.58}``.
    """
    from transformers import DacFeatureExtractor

    settings = json.loads((folder / CONFIG).read_text("utf-8"))
    (folder / CONFIG).write_text(json.dumps({**settings, "auto_map": AUTO_MAP}, indent=2) + "\n", "utf-8")
    (folder / REMOTE_CODE).write_text(_CODE, "utf-8")
    extractor = DacFeatureExtractor(sampling_rate=config.sample_rate, hop_length=config.hop_length)
    (folder / PREPROCESSOR).write_text(extractor.to_json_string(), "utf-8")
    (folder / CARD).write_text(model_card(config, licence, measures), "utf-8")


def model_card(config: XCodecConfig, licence: str | None = None, measures: Mapping[str, float] | None = None) -> str:
    """Markdown behind YAML front matter; see :func:`write_hub_files`."""
    from huggingface_hub import EvalResult, ModelCardData

    task: dict[str, Any] = {"task_type": "feature-extraction", "dataset_type": "audio", "dataset_name": "audio"}
    results = [
        EvalResult(**task, metric_type=name.split()[0].lower(), metric_name=name, metric_value=value)
        for name, value in (measures or {}).items()
    ]
    data = ModelCardData(
        license=licence,
        library_name="xcodec",
        tags=["audio", "codec", "neural-audio-codec", "audio-tokenizer", "arxiv:2408.17175"],
        model_name=config.name if results else None,
        eval_results=results or None,
    )
    teacher = "none (acoustic baseline)" if config.semantic is None else config.semantic.teacher.kind
    bandwidths = ", ".join(f"{each:g}" for each in config.bandwidths)
    measured = "".join(f"| {name} | {value:g} |\n" for name, value in (measures or {}).items())
    return f"""---
{data.to_yaml()}
---

# {config.name}

An X-Codec ([arXiv 2408.17175](https://arxiv.org/abs/2408.17175)): audio to tokens that carry meaning, and back.

| | |
|---|---|
| sample rate | {config.sample_rate} Hz |
| frames per second | {config.frame_rate:g} |
| codebooks | {config.quantizer.codebooks} × {config.quantizer.codebook_size} |
| kbps | {bandwidths} |
| acoustic network | {config.acoustic.kind} |
| teacher | {teacher} |
| licence of the weights | {licence or "not stated"} |
{measured}
```python
import xcodec

codec = xcodec.load("{config.name}")  # or this repository's name
codes = codec.encode(xcodec.read_audio("speech.flac", codec.sample_rate))
```
"""
