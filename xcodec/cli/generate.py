"""The command `xcodec generate`: speech, music and sound."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from xcodec.engine import engine
    from xcodec.lm.generation import Sampling

app = typer.Typer(help="Make speech, music or sounds with a language model.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", "-o", help="Audio to write: .wav, .flac, .ogg or .opus.")]
Model = Annotated[Path | None, typer.Option("--model", help="Folder of the language model.")]
Codec = Annotated[str | None, typer.Option("--codec", help="Whose tokens it speaks.", show_default="xcodec-mini")]
Seed = Annotated[int, typer.Option(help="The same one gives the same output again.")]
Temperature = Annotated[float, typer.Option(help="Below 1: the likely becomes likelier; 0: the likeliest.")]
TopK = Annotated[int, typer.Option(help="Draw from the k likeliest tokens; 0: from all.")]
TopP = Annotated[float, typer.Option(help="Draw from the likeliest tokens of this probability.")]
Samples = Annotated[int, typer.Option(min=1, max=64, help="Make so many, and take the likeliest.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


@app.command()
def speech(
    text: Annotated[str, typer.Argument(help="What to say.")],
    out: Out,
    prompt: Annotated[Path | None, typer.Option(help="A recording of the voice to say it with.")] = None,
    prompt_text: Annotated[str | None, typer.Option(help="What is said in it, if known.")] = None,
    model: Model = None,
    codec: Codec = None,
    seed: Seed = 0,
    temperature: Temperature = 0.7,
    top_k: TopK = 0,
    top_p: TopP = 0.9,
    samples: Samples = 1,
    guidance: Annotated[float, typer.Option(help="How much the text is stressed; 1: not at all.")] = 1.0,
    speed: Annotated[float, typer.Option(min=0.5, max=2.0, help="2: twice as fast as usual.")] = 1.0,
    quiet: Quiet = False,
) -> None:
    """Say a text.

    Example: xcodec generate speech "Good morning." --prompt voice.wav --out out.wav
    """
    from xcodec.engine.engine import load
    from xcodec.generate.common import GenerateError, default_model
    from xcodec.generate.speech import SpeechGenerator, SpeechOptions

    if prompt_text is not None and prompt is None:
        raise GenerateError("--prompt-text says what is said in --prompt, which is not given")
    sampling = _sampling(temperature, top_k, top_p)
    generator = SpeechGenerator(model or default_model("speech"), load(codec))
    voice = generator.read_voice(prompt, prompt_text) if prompt is not None else None
    options = SpeechOptions(sampling, seed=seed, samples=samples, guidance=guidance, speed=speed)
    _write(out, generator.codec, generator.speak(text, voice, options), quiet)


@app.command()
def music(
    prompt: Annotated[Path, typer.Argument(help="A recording to go on from.")],
    out: Out,
    seconds: Annotated[float, typer.Option(help="How much to add.")] = 10.0,
    only_new: Annotated[bool, typer.Option("--only-new", help="Leave the prompt out of the output.")] = False,
    model: Model = None,
    codec: Codec = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    top_k: TopK = 250,
    top_p: TopP = 1.0,
    quiet: Quiet = False,
) -> None:
    """Let music go on.

    Example: xcodec generate music prompt.wav --seconds 10 --out out.wav
    """
    from itertools import chain

    from xcodec.engine.engine import load
    from xcodec.generate.common import default_model
    from xcodec.generate.music import MusicGenerator, MusicOptions

    sampling = _sampling(temperature, top_k, top_p)
    generator = MusicGenerator(model or default_model("music"), load(codec))
    begun = generator.read_prompt(prompt)
    new = generator.go_on(begun, MusicOptions(seconds, sampling, seed))
    _write(out, generator.codec, new if only_new else chain([begun], new), quiet)


@app.command()
def sound(
    caption: Annotated[str, typer.Argument(help="What is to be heard.")],
    out: Out,
    seconds: Annotated[float | None, typer.Option(help="How long, at most.")] = None,
    model: Model = None,
    codec: Codec = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    top_k: TopK = 250,
    top_p: TopP = 1.0,
    samples: Samples = 1,
    guidance: Annotated[float, typer.Option(help="How much the caption is stressed; 1: not at all.")] = 3.0,
    quiet: Quiet = False,
) -> None:
    """Make the sound of a caption.

    Example: xcodec generate sound "a dog barks" --out out.wav
    """
    from xcodec.engine.engine import load
    from xcodec.generate.common import default_model
    from xcodec.generate.music import SoundGenerator, SoundOptions

    sampling = _sampling(temperature, top_k, top_p)
    generator = SoundGenerator(model or default_model("sound"), load(codec))
    options = SoundOptions(seconds, sampling, guidance, seed, samples)
    _write(out, generator.codec, [generator.make(caption, options)], quiet)


def _sampling(temperature: float, top_k: int, top_p: float) -> Sampling:
    from xcodec.lm.generation import Sampling

    return Sampling(temperature, top_k, top_p)


def _write(out: Path, codec: engine.Codec, codes: Iterable[Tensor], quiet: bool) -> None:
    from xcodec.generate.common import as_sound, write_sound

    started = time.perf_counter()
    seconds = write_sound(out, codec.sample_rate, as_sound(codec, codes))
    if not quiet:
        took = time.perf_counter() - started
        print(f"{out}: {seconds:.1f} s in {took:.1f} s", file=sys.stderr)
