"""What a language model in training sounds like: some clips held out, beside what it makes of their beginnings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xcodec.codec.checkpoint import load, tokens_hash
from xcodec.codec.model import XCodec
from xcodec.lm.decoding import Limits, Request, generate, refine
from xcodec.lm.model import CodeLM, RefiningLM
from xcodec.lm.sampling import Sampling
from xcodec.lm.sequences import context
from xcodec.storage import CheckpointError

from .lm_examples import Examples

CLIPS = 2


def load_listener(codec: str | None, examples: Examples, say: Callable[[str], None]) -> Listener | None:
    """A listener, or a word on why there is none."""
    try:
        loaded = load(codec)
    except CheckpointError as error:
        say(f"validation will not be heard: {error}")
        return None
    if tokens_hash(loaded) != examples.model.codec.model_hash:
        say(f"validation will not be heard: data.codec is {loaded.config.name}, but not the one that made the tokens")
        return None
    return Listener(loaded, examples)


class Listener:
    """The same clips every time."""

    def __init__(self, codec: XCodec, examples: Examples) -> None:
        self.codec = codec
        self.examples = examples
        self.chosen = list(range(min(CLIPS, len(examples.clips))))

    def __call__(self, model: CodeLM) -> tuple[Tensor, Tensor]:
        """The clips [n, 1, T] and what the model makes of them [n, 1, T], padded to the longest."""
        pairs = [self._pair(model, index) for index in self.chosen]
        longest = max(wav.shape[-1] for pair in pairs for wav in pair)
        padded = [[torch.nn.functional.pad(wav, (0, longest - wav.shape[-1])) for wav in pair] for pair in pairs]
        return torch.stack([pair[0] for pair in padded]), torch.stack([pair[1] for pair in padded])

    def _pair(self, model: CodeLM, index: int) -> tuple[Tensor, Tensor]:
        clip = self.examples.clips[index]
        most = self.examples.most
        codes = torch.from_numpy(clip.item.codes[: model.config.codebooks, :most].astype("int64"))
        frames = codes.shape[1]
        begun = min(self.examples.prompt[0], frames // 2)
        if isinstance(model, RefiningLM):
            script = self.examples.scripts[index] if self.examples.scripts else None
            made = refine(model, clip.text, None, codes[:1, begun:], begun=codes[:, :begun], script=script)
        else:
            condition = None
            if model.config.captions is not None:
                condition, begun = self.examples.embedded[clip.item.text or ""][0], 0
            script = self.examples.scripts[index] if self.examples.scripts else None
            text = clip.text if model.config.text is not None and script is None else None
            before = context(model.vocabulary, model.pattern, text)
            request = Request(
                before,
                codes[:, :begun],
                Limits(max(1, frames - begun)),
                Sampling(top_p=0.9),
                condition=condition,
                script=script,
            )
            made = generate(model, request)[0].codes.cpu()
        whole = torch.cat([codes[:, :begun], made], dim=1)
        return self._wav(codes), self._wav(whole)

    def _wav(self, codes: Tensor) -> Tensor:
        if not codes.shape[1]:
            return torch.zeros(1, 1)
        return self.codec.decode(codes[None])[0].clone()
