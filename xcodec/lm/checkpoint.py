"""A language model's folder: ``config.json`` and ``model.safetensors``, as a codec's. Nothing is pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xcodec.lm.config import LMConfig
from xcodec.lm.layout import END, PAD
from xcodec.lm.model import AutoregressiveLM, CodeLM, NonAutoregressiveLM, build_model
from xcodec.lm.transformer import NORM_EPS, ROPE_THETA
from xcodec.utils.checkpoint_io import CHECKPOINT, CONFIG, CheckpointError, read_json, read_tensors, write_checkpoint
from xcodec.utils.config import ConfigError
from xcodec.utils.files import atomic_folder

FORMAT = "xcodec-lm"
VERSION = 1
_RENAMED = {
    "reader.": "text_encoder.",
    "timing.": "duration_model.",
    "aligner.scores": "aligner.log_emission",
    "aligner.stays": "aligner.log_stay",
    "aligner.goes": "aligner.log_leave",
}
"""Beginnings of tensors' names in checkpoints of version 0.1, and what they are now."""


def is_language_model(folder: str | Path) -> bool:
    """Whether a folder says that it holds one."""
    path = Path(folder)
    return (path / CONFIG).exists() and read_json(path / CONFIG).get("format") == FORMAT


def save(model: CodeLM, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a folder, whole or not at all.

    Args:
        model: any.
        folder: to write.
        dtype: of the weights on disk, those in memory by default; loading makes float32 of it.

    Raises:
        CheckpointError: the folder holds other things.
        OSError: the files cannot be written.
    """
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()}
    with atomic_folder(Path(folder), CHECKPOINT) as fresh:
        write_checkpoint(fresh, {"format": FORMAT, "format_version": VERSION, **model.config.to_dict()}, tensors)


def load(folder: str | Path) -> CodeLM:
    """A model in evaluation mode.

    Raises:
        CheckpointError: there is none, or it is damaged, or of another kind.
    """
    path = Path(folder)
    if not (path / CONFIG).exists():
        raise CheckpointError(f"no language model at {path}")
    values = read_json(path / CONFIG)
    if values.pop("format", None) != FORMAT:
        raise CheckpointError(f"{path} holds no language model of xcodec's")
    if (version := values.pop("format_version", None)) != VERSION:
        raise CheckpointError(f"{path} has format version {version}; this release of xcodec reads {VERSION}")
    try:
        model = build_model(LMConfig.from_dict(values))
        model.load_state_dict({_current_key(name): value for name, value in read_tensors(path).items()})
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())[:300]}") from error
    return model.eval()


def _current_key(name: str) -> str:
    for old, new in _RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def load_autoregressive(folder: str | Path) -> AutoregressiveLM:
    """An autoregressive model.

    Raises:
        CheckpointError: as :func:`load`, or it is a non-autoregressive one.
    """
    model = load(folder)
    if not isinstance(model, AutoregressiveLM):
        raise CheckpointError(f"{folder} holds a non-autoregressive model, not an autoregressive one")
    return model


def load_nonautoregressive(folder: str | Path) -> NonAutoregressiveLM:
    """A non-autoregressive model.

    Raises:
        CheckpointError: as :func:`load`, or it is an autoregressive one.
    """
    model = load(folder)
    if not isinstance(model, NonAutoregressiveLM):
        raise CheckpointError(f"{folder} holds an autoregressive model, not a non-autoregressive one")
    return model


# --- export as a ``LlamaForCausalLM`` folder, for the programs that serve such models ---------------------------------

_LLAMA_NAMES = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.query.weight": "self_attn.q_proj.weight",
    "attention.key.weight": "self_attn.k_proj.weight",
    "attention.value.weight": "self_attn.v_proj.weight",
    "attention.out.weight": "self_attn.o_proj.weight",
    "feed_norm.weight": "post_attention_layernorm.weight",
    "gate.weight": "mlp.gate_proj.weight",
    "up.weight": "mlp.up_proj.weight",
    "down.weight": "mlp.down_proj.weight",
}


def to_llama(model: AutoregressiveLM) -> Any:
    """The same network as ``transformers.LlamaForCausalLM``; its token ids are those of `layout.py`.

    Raises:
        ConfigError: it has several streams, captions, or aligned text; Llama knows none of them.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    if model.pattern.width > 1 or model.config.captions is not None:
        raise ConfigError("only a model with one stream and without captions is a Llama")
    if model.config.text is not None and model.config.text.aligned:
        raise ConfigError("text.aligned: the frames are conditioned on their symbols, which Llama does not have")
    own = model.config.transformer
    config = LlamaConfig(
        vocab_size=model.vocabulary.size,
        hidden_size=own.width,
        intermediate_size=own.inner,
        num_hidden_layers=own.layers,
        num_attention_heads=own.heads,
        num_key_value_heads=own.heads,
        max_position_embeddings=4096,
        rms_norm_eps=NORM_EPS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=False,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=END,
    )
    llama = LlamaForCausalLM(config)
    llama.load_state_dict(_llama_state(model))
    return llama.eval()


def export_llama(model: AutoregressiveLM, folder: str | Path) -> None:
    """Write the folder that ``LlamaForCausalLM.from_pretrained`` reads.

    Raises:
        ConfigError: see :func:`to_llama`.
    """
    to_llama(model).save_pretrained(folder)


def _llama_state(model: AutoregressiveLM) -> dict[str, Tensor]:
    own = model.state_dict()
    tensors = {
        "model.embed_tokens.weight": own["embedding.tables.0.weight"],
        "lm_head.weight": own["heads.0.weight"],
        "model.norm.weight": own["transformer.norm.weight"][0],
    }
    for name, value in own.items():
        if name.startswith("transformer.layers."):
            number, _, rest = name.removeprefix("transformer.layers.").partition(".")
            # Norms have gains for each level, of which there is one here.
            tensors[f"model.layers.{number}.{_LLAMA_NAMES[rest]}"] = value[0] if "norm" in rest else value
    return tensors
