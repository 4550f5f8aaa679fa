"""A language model as a Llama folder: what `transformers` makes of it is what ours makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from tests.lm.conftest import autoregressive
from xcodec.lm.config import TextConfig
from xcodec.lm.generation import Limits, Request, Sampling, generate
from xcodec.lm.layout import PAD, context, example
from xcodec.lm.llama import export_llama, token_names
from xcodec.lm.text import text_to_symbols
from xcodec.utils.config import ConfigError

CHARACTERS = TextConfig("characters")


def test_the_network_is_a_llama(tmp_path: Path) -> None:
    model = autoregressive(codebooks=1, text=CHARACTERS)
    export_llama(model, tmp_path / "llama")
    llama = LlamaForCausalLM.from_pretrained(tmp_path / "llama").eval()
    codes = torch.randint(16, (1, 9))
    ids = example(model.vocabulary, model.pattern, codes, text=[4, 3, 2], prompt=codes[:, :2]).ids
    with torch.no_grad():
        ours = model.logits(model(ids[None])[0], 0)
        theirs = llama(ids).logits[0]
    assert torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3)
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


def test_text_in_codes_out_without_anything_of_ours(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = autoregressive(codebooks=1, text=CHARACTERS).eval()
    frames = 12
    before = context(model.vocabulary, model.pattern, text_to_symbols("hello, you", CHARACTERS))
    greedy = Request(before, torch.zeros(1, 0, dtype=torch.int64), Limits(frames, frames), Sampling(temperature=0))
    ours = generate(model, greedy)[0].codes[0].tolist()

    export_llama(model, tmp_path)
    llama, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    prompt = tokenizer("<|text|>hello, you<|audio|>", return_tensors="pt").input_ids
    assert torch.equal(prompt, before)
    tokens = llama.generate(prompt, do_sample=False, min_new_tokens=frames, max_new_tokens=frames)
    assert tokenizer.decode(tokens[0, prompt.shape[1] :]) == "".join(f"<|{code}|>" for code in ours)


def test_codes_of_two_codebooks_come_in_turns(tmp_path: Path) -> None:
    model = autoregressive(codebooks=2, pattern="flat", text=CHARACTERS)
    export_llama(model, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = model.pattern.arrange(model.vocabulary.codes(torch.tensor([[3, 0], [7, 15]])), PAD)
    written = "<|3|><|1:7|><|0|><|1:15|>"
    assert tokenizer.decode(ids[0]) == written
    assert tokenizer(written).input_ids == ids[0].tolist()


def test_each_token_has_a_name_of_its_own() -> None:
    model = autoregressive(codebooks=2, pattern="flat", text=CHARACTERS)
    names = token_names(model)
    assert len(set(names)) == len(names) == model.vocabulary.size
    assert names[model.vocabulary.first_code(1) + 3] == "<|1:3|>"


@pytest.mark.parametrize(
    "other", [{"codebooks": 2, "pattern": "delay"}, {"codebooks": 1, "text": TextConfig("characters", aligned=True)}]
)
def test_what_is_no_llama(tmp_path: Path, other: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"one stream|aligned"):
        export_llama(autoregressive(**other), tmp_path)
