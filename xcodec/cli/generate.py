"""The command `xcodec generate`: speech, music and sound."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcodec.cli import Engine, Quiet

if TYPE_CHECKING:
    from torch import Tensor

    from xcodec.lm.generation import Sampling

app = typer.Typer(help="Make speech, music or sounds with a language model.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", "-o", help="Audio to write: .wav, .flac, .ogg or .opus.")]
Model = Annotated[Path | None, typer.Option("--model", help="Folder of the language model.")]
Codec = Annotated[str | None, typer.Option("--codec", help="The codec of its tokens.", show_default="xcodec-mini")]
Seed = Annotated[int, typer.Option(help="The same one gives the same output again.")]
Temperature = Annotated[float, typer.Option(help="Below 1: the likely becomes likelier; 0: the likeliest.")]
TopK = Annotated[int, typer.Option(help="Draw from the k likeliest tokens; 0: from all.")]
TopP = Annotated[float, typer.Option(help="Draw from the likeliest tokens of this probability.")]
Samples = Annotated[int, typer.Option(min=1, max=64, help="Make so many, and take the likeliest.")]


# A text may begin with a dash: what is no option is the text.
@app.command(context_settings={"ignore_unknown_options": True})
def speech(
    out: Out,
    text: Annotated[str | None, typer.Argument(help="What to say; - reads it from the standard input.")] = None,
    text_file: Annotated[Path | None, typer.Option("--text-file", help="A text file to say instead.")] = None,
    voice: Annotated[
        str | None, typer.Option(help="A voice that comes with the model; a wrong name lists them.")
    ] = None,
    prompt: Annotated[Path | None, typer.Option(help="A recording (or .xc) of the voice to say it with.")] = None,
    prompt_text: Annotated[str | None, typer.Option(help="What is said in it, if known.")] = None,
    model: Model = None,
    codec: Codec = None,
    engine: Engine = "exact",
    seed: Seed = 0,
    temperature: Temperature = 0.7,
    top_k: TopK = 0,
    top_p: TopP = 0.9,
    samples: Samples = 1,
    guidance: Annotated[float, typer.Option(help="Scale of guidance by the text; 1: none.")] = 1.0,
    speed: Annotated[float, typer.Option(min=0.5, max=2.0, help="2: twice as fast as usual.")] = 1.0,
    quiet: Quiet = False,
) -> None:
    """Say a text.

    Example: xcodec generate speech "Good morning." --prompt voice.wav --out out.wav
    """
    from xcodec.generate.codec_io import GenerateError
    from xcodec.generate.speech import SpeechOptions, TextToSpeech

    if voice is not None and prompt is not None:
        raise GenerateError("name either a --voice of the model or a --prompt of your own")
    if prompt_text is not None and prompt is None:
        raise GenerateError("--prompt-text says what is said in --prompt, which is not given")
    words = _text(text, text_file)
    sampling = _sampling(temperature, top_k, top_p)
    options: dict[str, Any] = {
        "sampling": sampling,
        "seed": seed,
        "samples": samples,
        "guidance": guidance,
        "speed": speed,
    }
    SpeechOptions(**options)  # what cannot be is said before anything is loaded
    tts = TextToSpeech(model, codec, engine)
    if voice is not None and voice not in tts.voices:
        raise GenerateError(f"there is no voice {voice!r}; this model has: {', '.join(tts.voices) or 'none'}")
    _write(out, tts.sample_rate, tts.stream(words, voice or prompt, prompt_text, **options), quiet)


@app.command()
def music(
    prompt: Annotated[Path, typer.Argument(help="A recording to go on from.")],
    out: Out,
    seconds: Annotated[float, typer.Option(help="How much to add.")] = 10.0,
    only_new: Annotated[bool, typer.Option("--only-new", help="Leave the prompt out of the output.")] = False,
    model: Model = None,
    codec: Codec = None,
    engine: Engine = "exact",
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
    from xcodec.generate.codec_io import decode_stream, default_model
    from xcodec.generate.music_and_sound import MusicGenerator, MusicOptions

    options = MusicOptions(seconds, _sampling(temperature, top_k, top_p), seed)
    generator = MusicGenerator(model or default_model("music"), load(codec, engine=engine))
    begun = generator.read_prompt(prompt)
    new = generator.generate(begun, options)
    codes = new if only_new else chain([begun], new)
    _write(out, generator.codec.sample_rate, decode_stream(generator.codec, codes), quiet)


@app.command(context_settings={"ignore_unknown_options": True})
def sound(
    caption: Annotated[str, typer.Argument(help="What is to be heard.")],
    out: Out,
    seconds: Annotated[float | None, typer.Option(help="How long, at most.")] = None,
    model: Model = None,
    codec: Codec = None,
    engine: Engine = "exact",
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    top_k: TopK = 250,
    top_p: TopP = 1.0,
    samples: Samples = 1,
    guidance: Annotated[float, typer.Option(help="Scale of guidance by the caption; 1: none.")] = 3.0,
    quiet: Quiet = False,
) -> None:
    """Make the sound of a caption.

    Example: xcodec generate sound "a dog barks" --out out.wav
    """
    from xcodec.engine.engine import load
    from xcodec.generate.codec_io import decode_stream, default_model
    from xcodec.generate.music_and_sound import SoundGenerator, SoundOptions

    options = SoundOptions(seconds, _sampling(temperature, top_k, top_p), guidance, seed, samples)
    generator = SoundGenerator(model or default_model("sound"), load(codec, engine=engine))
    codes = [generator.generate(caption, options)]
    _write(out, generator.codec.sample_rate, decode_stream(generator.codec, codes), quiet)


def _text(text: str | None, file: Path | None) -> str:
    from xcodec.generate.codec_io import GenerateError

    if (text is None) == (file is None):
        raise GenerateError("name either a TEXT (- for the standard input) or a --text-file")
    if text is not None and text != "-":
        return text
    if file is None and sys.stdin is None:
        raise GenerateError("the standard input is closed: there is no text to read")
    content = sys.stdin.buffer.read() if file is None else file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise GenerateError(f"{file or 'the standard input'} is no text in UTF-8") from None


def _sampling(temperature: float, top_k: int, top_p: float) -> Sampling:
    from xcodec.lm.generation import Sampling

    return Sampling(temperature, top_k, top_p)


def _write(out: Path, sample_rate: int, pieces: Iterable[Tensor], quiet: bool) -> None:
    from xcodec.generate.codec_io import write_stream

    started = time.perf_counter()
    seconds = write_stream(out, sample_rate, pieces)
    if not quiet:
        took = time.perf_counter() - started
        print(f"{out}: {seconds:.1f} s in {took:.1f} s", file=sys.stderr)
