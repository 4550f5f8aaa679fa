"""A language model as a ``LlamaForCausalLM`` folder, for the programs that serve such models.

    xcodec convert MODEL FOLDER --format transformers

The folder holds the network, a tokenizer and the settings of generation, so that ``transformers`` needs nothing of
ours: phonemes go in as text (``xcodec.lm.text`` spells them), and codes come out as text:

    <|text|>hˈaɪ.<|audio|>   ->   <|17|><|803|> … <|end|>

Of two codebooks in one stream, codes come in turns, and those of the second are written ``<|1:803|>``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from xcodec.lm.layout import AUDIO, END, NOTHING, PAD, PROMPT, SPECIALS, TEXT
from xcodec.lm.model import AutoregressiveLM
from xcodec.lm.text import symbols_of
from xcodec.lm.transformer import NORM_EPS, ROPE_THETA
from xcodec.utils.config import ConfigError
from xcodec.utils.files import atomic_folder

FILES = frozenset(
    {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
)
SPECIAL_NAMES = {
    PAD: "<|pad|>",
    TEXT: "<|text|>",
    PROMPT: "<|prompt|>",
    AUDIO: "<|audio|>",
    END: "<|end|>",
    NOTHING: "<|nothing|>",
}

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


def token_names(model: AutoregressiveLM) -> list[str]:
    """Of each token id, how it is written: ``<|text|>``, a symbol of text, ``<|17|>``, ``<|1:17|>``."""
    vocabulary, text = model.vocabulary, model.config.text
    names = [SPECIAL_NAMES[token] for token in range(SPECIALS)]
    names += list(symbols_of(text)) if text is not None else []
    for codebook in range(vocabulary.codebooks):
        prefix = f"{codebook}:" if codebook else ""
        names += [f"<|{prefix}{code}|>" for code in range(vocabulary.codebook_size)]
    return names


def _tokenizer(model: AutoregressiveLM) -> Any:
    """A fast tokenizer: a special token, a code or a symbol of text is one token, anything else ``NOTHING``."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = token_names(model)
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, SPECIAL_NAMES[NOTHING]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"<\|[^|]*\|>|[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_NAMES[PAD],
        eos_token=SPECIAL_NAMES[END],
        unk_token=SPECIAL_NAMES[NOTHING],
        clean_up_tokenization_spaces=False,
    )


def export_llama(model: AutoregressiveLM, folder: str | Path) -> None:
    """Write the folder that ``AutoModelForCausalLM`` and ``AutoTokenizer`` read, whole or not at all.

    Raises:
        ConfigError: see :func:`to_llama`.
        NotReplaceableError: the folder holds other things.
    """
    llama = to_llama(model)
    # Only codes and the end are ever generated.
    first = model.vocabulary.first_code(0)
    llama.generation_config.suppress_tokens = [token for token in range(first) if token != END]
    tokenizer = _tokenizer(model)
    with atomic_folder(Path(folder), FILES) as temporary:
        llama.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


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
