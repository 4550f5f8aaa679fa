"""The command `xcodec`: a thin table of subcommands.

The work is done by the packages, which each subcommand imports when it runs: `xcodec --help` loads no torch.

Results (`info`, `--json`) go to stdout, all else to stderr, where progress is shown only if that is a terminal. Exit
codes: 0 done, 1 an error, said in one line, 2 a wrong command line, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import sys
import traceback
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from xcodec import __version__
from xcodec.cli.evaluate import app as evaluate_app
from xcodec.cli.generate import app as generate_app
from xcodec.cli.info import describe
from xcodec.utils.errors import debugging, one_line, warn_in_one_line
from xcodec.utils.progress import progress_bar
from xcodec.utils.signals import raise_on_signals

if TYPE_CHECKING:
    from xcodec.inference.batch import Operation, Outcome


app = typer.Typer(
    help="X-Codec: audio to tokens that carry meaning, and back.",
    epilog="XCODEC_DEBUG=1 shows where an error comes from.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

app.add_typer(evaluate_app, name="evaluate")
app.add_typer(generate_app, name="generate")

Sources = Annotated[list[Path], typer.Argument(metavar="INPUT", help="Files, or folders with all that is below them.")]
Target = Annotated[
    str,
    typer.Argument(metavar="OUTPUT", help="A file, or a folder for several inputs. What exists is replaced."),
]
Model = Annotated[
    str | None,
    typer.Option(help="A name, a folder or an official .pth file.", show_default="xcodec-mini"),
]
Bandwidth = Annotated[
    float | None,
    typer.Option("--bandwidth", "-b", help="In kbps per channel.", show_default="the highest"),
]
Channels = Annotated[Literal["mix", "keep"], typer.Option(help="Mix all channels into one, or code each by itself.")]
Format = Annotated[
    Literal["wav", "flac", "ogg", "opus"], typer.Option("--format", help="Of the files made in a folder.")
]
LookAhead = Annotated[
    float | None,
    typer.Option(
        help="Seconds of future audio the teacher sees in a pipe: less latency, less accuracy.", show_default="all"
    ),
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")]
Engine = Annotated[
    Literal["exact", "fast"], typer.Option(help="fast: as fast as this processor can, with nearly the same result.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Files at a time, each in a process of its own.")]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Make only the outputs that are missing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per file, on a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"xcodec {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None: ...


@app.command()
def reconstruct(
    sources: Sources,
    target: Target,
    bandwidth: Bandwidth = None,
    model: Model = None,
    channels: Channels = "mix",
    file_format: Format = "wav",
    device: Device = "cpu",
    engine: Engine = "exact",
    jobs: Jobs = 1,
    skip_existing: SkipExisting = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Encode audio and decode it again, to hear what the codec keeps.

    Example: xcodec reconstruct speech.flac reconstructed.wav --bandwidth 4
    """
    how = {"model": model, "device": device, "engine": engine, "bandwidth": bandwidth, "channels": channels}
    _process("reconstruct", how, sources, target, f".{file_format}", jobs, skip_existing, as_json, quiet)


@app.command()
def encode(
    sources: Sources,
    target: Target,
    bandwidth: Bandwidth = None,
    model: Model = None,
    channels: Channels = "mix",
    look_ahead: LookAhead = None,
    device: Device = "cpu",
    engine: Engine = "exact",
    jobs: Jobs = 1,
    skip_existing: SkipExisting = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn audio into tokens (.xc).

    Example: xcodec encode speech.mp3 speech.xc --bandwidth 2

    A folder, mirrored: xcodec encode recordings tokens --jobs 4

    A pipe of raw 16-bit mono samples at the model's rate: recorder | xcodec encode - - --look-ahead 0.5 | ...
    """
    if _are_pipes(sources, target):
        from xcodec.engine.engine import load
        from xcodec.inference.pipes import encode_pipe

        encode_pipe(load(model, device=device, engine=engine), *_pipe_ends(), bandwidth, look_ahead)
        return
    if look_ahead is not None:
        raise ValueError("--look-ahead is for pipes (encode - -); a file is encoded with all its future audio")
    how = {"model": model, "device": device, "engine": engine, "bandwidth": bandwidth, "channels": channels}
    _process("encode", how, sources, target, ".xc", jobs, skip_existing, as_json, quiet)


@app.command()
def decode(
    sources: Sources,
    target: Target,
    model: Model = None,
    file_format: Format = "wav",
    device: Device = "cpu",
    engine: Engine = "exact",
    jobs: Jobs = 1,
    skip_existing: SkipExisting = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn tokens (.xc) back into audio (.wav, .flac, .ogg, .opus).

    Example: xcodec decode speech.xc speech.wav

    A pipe, to raw 16-bit mono samples at the model's rate: ... | xcodec decode - - | player
    """
    if _are_pipes(sources, target):
        from xcodec.engine.engine import load
        from xcodec.inference.pipes import decode_pipe

        decode_pipe(load(model, device=device, engine=engine), *_pipe_ends())
        return
    how = {"model": model, "device": device, "engine": engine}
    _process("decode", how, sources, target, f".{file_format}", jobs, skip_existing, as_json, quiet)


@app.command()
def info(
    items: Annotated[list[str], typer.Argument(metavar="ITEM", help="An .xc file, audio, or a model.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per item, on a line.")] = False,
) -> None:
    """Say what a file of tokens, an audio file or a model is.

    Example: xcodec info speech.xc

    A model, by name or folder: xcodec info xcodec-mini
    """

    failed = False
    for index, item in enumerate(items):
        try:
            facts = describe(item)
        except (ValueError, OSError) as error:
            _say_error(one_line(error))
            failed = True
            continue
        if as_json:
            print(json.dumps(facts))
        else:
            lines = [f"{name:<19}{_readable(value)}" for name, value in facts.items()]
            print("\n" * (index > 0) + "\n".join(lines))
    raise typer.Exit(int(failed))


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A name, an official .pth, or a folder (also of a language model)."),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To write; a checkpoint in it is replaced.")],
    file_format: Annotated[
        Literal["xcodec", "transformers"], typer.Option("--format", help="Of the checkpoint to write.")
    ] = "xcodec",
    half: Annotated[
        bool, typer.Option("--half", help="Half precision, and nothing that only training needs: a quarter the size.")
    ] = False,
) -> None:
    """Turn any checkpoint into ours, or into one for transformers (XcodecModel; LlamaForCausalLM of a language model).

    Example: xcodec convert xcodec_hubert_librispeech.pth xcodec-hubert-librispeech
    """
    import torch

    from xcodec.codec.model import XCodec
    from xcodec.lm import checkpoint as lm
    from xcodec.lm.checkpoint import export_llama

    if half and file_format == "transformers":
        raise ValueError("--half is for --format xcodec; transformers has options of its own at loading")
    dtype = torch.float16 if half else None
    match file_format, lm.is_language_model(source):
        case "transformers", True:
            export_llama(lm.load_autoregressive(source), folder)
        case "transformers", False:
            XCodec.from_pretrained(source).save_pretrained(folder, file_format="transformers")
        case _, True:
            lm.save(lm.load(source), folder, dtype)
        case _:
            XCodec.from_pretrained(source).save_pretrained(folder, dtype, statistics=not half)


@app.command()
def tokenize(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A folder, list, manifest, CutSet or Shar folder.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the table; what is in it stays.")],
    bandwidth: Bandwidth = None,
    model: Model = None,
    split: Annotated[str | None, typer.Option(help="Of the corpus: train, valid or test.", show_default="all")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Of the corpus; may be repeated.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Of the corpus; may be repeated.")] = None,
    max_seconds: Annotated[float | None, typer.Option(min=0.1, help="Cut longer clips into pieces.")] = None,
    device: Device = "cpu",
    engine: Engine = "exact",
    jobs: Jobs = 1,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do part I of N, from 0/N on.", show_default="RANK/WORLD_SIZE, or SLURM's"),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Clips per Parquet file.")] = 1000,
    update: Annotated[bool, typer.Option("--update", help="Replace rows that the corpus contradicts.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn a corpus into a table of tokens, in Parquet. Run it again to go on where it stopped.

    Example: xcodec tokenize data/open-audio/manifest.jsonl data/tokens --domain speech --jobs 2
    """
    from xcodec.inference.corpus import shard_from
    from xcodec.inference.corpus import tokenize as run

    part = shard_from(shard, os.environ)
    with progress_bar("tokenize", sys.stderr.isatty() and not quiet and not as_json) as progress:
        made = run(
            corpus,
            folder,
            model=model,
            bandwidth=bandwidth,
            split=split,
            domains=domain or (),
            sources=source or (),
            max_seconds=max_seconds,
            engine=engine,
            jobs=jobs,
            shard=part,
            shard_size=shard_size,
            update=update,
            device=device,
            progress=progress,
        )
    for each in made.skipped:
        print(f"skipped {each.id}: {each.reason}", file=sys.stderr)
    if as_json:
        print(json.dumps({**dataclasses.asdict(made), "skipped": len(made.skipped)}))
    elif not quiet:
        where = f"{folder}, shard {part[0]} of {part[1]}" if part[1] > 1 else folder
        print(f"{where}: {made}; {made.clips} rows in the table", file=sys.stderr)
    raise typer.Exit(int(len(made.skipped) == made.rows > 0))


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name, a folder or an official .pth file.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To write; an export in it is replaced.")],
    file_format: Annotated[Literal["onnx", "openvino"], typer.Option("--format", help="Of the graphs.")] = "onnx",
) -> None:
    """Write teacher, encoder and decoder as graphs that run without PyTorch.

    Example: xcodec export xcodec-mini graphs --format onnx
    """
    from xcodec.codec.model import XCodec
    from xcodec.inference.export import export as write_graphs

    write_graphs(XCodec.from_pretrained(model), folder, file_format)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file, such as those in configs/.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it, such as optimizer.lr=1e-4.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest intact checkpoint.")] = False,
) -> None:
    """Train a codec, or a language model on its tokens. Checkpoints and logs go to runs/NAME.

    Example: xcodec train configs/xcodec-mini.yaml batch_size=8 --resume

    A language model: xcodec train configs/lm/speech-ar-mini.yaml data.table=data/tokens
    """
    from xcodec.train.config import is_language_model, load_config, read_run

    if is_language_model(config):
        from xcodec.train import lm
        from xcodec.train.lm_config import LMTrainConfig

        lm.run(read_run(config, changes or (), LMTrainConfig), resume)
    else:
        from xcodec.train.codec import run

        run(load_config(config, changes or ()), resume)


def _are_pipes(sources: list[Path], target: str) -> bool:
    """Whether to work from standard input to standard output."""
    ends = [*map(str, sources), target]
    if "-" in ends and ends != ["-", "-"]:
        raise ValueError("- stands for a pipe at both ends: xcodec encode - -, or decode - -; otherwise name files")
    return ends == ["-", "-"]


def _process(
    operation: Operation,
    how: dict[str, Any],
    sources: list[Path],
    target: str,
    suffix: str,
    jobs: int,
    skip_existing: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Encode, decode or reconstruct files, and say how it goes."""
    from xcodec.inference.batch import Work, plan, run

    todo = plan(operation, sources, target, suffix)
    if skip_existing:
        todo = dataclasses.replace(todo, tasks=[task for task in todo.tasks if not task.target.exists()])
    if not todo.tasks:
        return
    total, done, failed = len(todo.tasks), 0, 0
    visible = sys.stderr.isatty() and not quiet and not as_json
    with progress_bar(operation, visible, total) as show:
        work = run(Work(operation, **how), todo, jobs, (lambda part: show(done + part)) if visible else None)
        with closing(work) as outcomes:
            for outcome in outcomes:
                done += 1
                show(done)
                if outcome.error is not None:
                    failed += 1
                    _say_error(outcome.error)
                if as_json:
                    print(json.dumps(_facts(outcome)), flush=True)
                elif outcome.report is not None and visible:
                    made = outcome.report
                    print(f"{made.target}: {made.seconds:.1f} s, {made.bytes:,} bytes", file=sys.stderr)
    if failed and total > 1:
        _say_error(f"{failed} of {total} files failed")
    raise typer.Exit(int(failed > 0))


def _facts(outcome: Outcome) -> dict[str, object]:
    """An outcome for a program to read."""
    if outcome.report is None:
        return {
            "source": str(outcome.task.source),
            "target": str(outcome.task.target),
            "error": outcome.error,
        }
    facts = dataclasses.asdict(outcome.report) | {"seconds": outcome.report.seconds}
    return {name: str(value) if isinstance(value, Path) else value for name, value in facts.items()}


def _readable(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_readable, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _say_error(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)


class _ClosedStream(io.TextIOBase):
    """Standard output that the caller closed (``>&-``): results must not vanish without a word."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "standard output is closed, so the result cannot be printed")


def _replace_closed_streams() -> None:
    """Nothing is printed into a file of ours: a closed descriptor would be given to the next file that is opened."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
    if sys.stdout is None:
        sys.stdout = _ClosedStream()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until the program ends


def _pipe_ends() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, for bytes."""
    if sys.stdin is None or not isinstance(sys.stdout, io.TextIOWrapper):
        closed = "input" if sys.stdin is None else "output"
        raise ValueError(f"standard {closed} is closed; - - reads from standard input and writes to standard output")
    return sys.stdin.buffer, sys.stdout.buffer


def main() -> None:
    """Run the command line, and exit."""
    raise_on_signals()
    _replace_closed_streams()
    warn_in_one_line()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files can be any bytes
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        return code or 0
    except typer.TyperException as error:
        if message := error.format_message():  # empty if the help was shown for want of arguments
            context = getattr(error, "ctx", None)
            command = "xcodec" if context is None else context.command_path
            _say_error(f"{one_line(ValueError(message))} (see {command} --help)")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # as in `xcodec info … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its end
        return 1
    except Exception as error:
        if debugging():
            traceback.print_exc()
        _say_error(one_line(error))
        return 1
