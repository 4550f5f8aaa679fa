"""An autoregressive model as a ``LlamaForCausalLM`` folder, for the programs that serve such models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from xcodec.settings import ConfigError

from .model import AutoregressiveLM
from .transformer import NORM_EPS
from .vocabulary import END, PAD

_NAMES = {
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
    """The same network as ``transformers.LlamaForCausalLM``; its token ids are those of `vocabulary.py`.

    Raises:
        ConfigError: it has several streams, or is conditioned on captions; Llama knows neither.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    if model.pattern.width > 1 or model.config.captions is not None:
        raise ConfigError("only a model with one stream and without captions is a Llama")
    if model.config.text is not None and model.config.text.aligned:
        raise ConfigError("text.aligned: the model is told frame by frame what to say, which Llama is not")
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
        rope_parameters={"rope_type": "default", "rope_theta": own.rope_theta},
        tie_word_embeddings=False,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=END,
    )
    llama = LlamaForCausalLM(config)
    llama.load_state_dict(_renamed(model))
    return llama.eval()


def export_llama(model: AutoregressiveLM, folder: str | Path) -> None:
    """Write the folder that ``LlamaForCausalLM.from_pretrained`` reads.

    Raises:
        ConfigError: see :func:`to_llama`.
    """
    to_llama(model).save_pretrained(folder)


def _renamed(model: AutoregressiveLM) -> dict[str, Tensor]:
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
            tensors[f"model.layers.{number}.{_NAMES[rest]}"] = value[0] if "norm" in rest else value
    return tensors
