"""The subcommands `reconstruct`, `encode` and `decode`: a codec on files, folders and pipes."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from xcodec.cli import AsJson, Bandwidth, Device, Engine, Jobs, Model, Quiet, progress_bar
from xcodec.utils.errors import say_error

if TYPE_CHECKING:
    from xcodec.inference.batch import Operation, Outcome

Sources = Annotated[list[Path], typer.Argument(metavar="INPUT", help="Files, or folders with all that is below them.")]
Target = Annotated[
    str, typer.Argument(metavar="OUTPUT", help="A file, or a folder for several inputs. What exists is replaced.")
]
Channels = Annotated[Literal["mix", "keep"], typer.Option(help="Mix all channels into one, or code each by itself.")]
Track = Annotated[
    int | None, typer.Option(min=0, help="Of several audio tracks in a file, from 0.", show_default="the first")
]
Format = Annotated[
    Literal["wav", "flac", "ogg", "opus"], typer.Option("--format", help="Of the files made in a folder.")
]
LookAhead = Annotated[
    float | None,
    typer.Option(
        help="Seconds of future audio the teacher sees in a pipe: less latency, less accuracy.", show_default="all"
    ),
]
SkipExisting = Annotated[bool, typer.Option("--skip-existing", help="Make only the outputs that are missing.")]


def reconstruct(
    sources: Sources,
    target: Target,
    bandwidth: Bandwidth = None,
    model: Model = None,
    channels: Channels = "mix",
    track: Track = None,
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
    how: dict[str, Any] = {"model": model, "device": device, "engine": engine}
    how |= {"bandwidth": bandwidth, "channels": channels, "track": track}
    _process("reconstruct", how, sources, target, f".{file_format}", jobs, skip_existing, as_json, quiet)


def encode(
    sources: Sources,
    target: Target,
    bandwidth: Bandwidth = None,
    model: Model = None,
    channels: Channels = "mix",
    track: Track = None,
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
    how: dict[str, Any] = {"model": model, "device": device, "engine": engine}
    how |= {"bandwidth": bandwidth, "channels": channels, "track": track}
    _process("encode", how, sources, target, ".xc", jobs, skip_existing, as_json, quiet)


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
                    say_error(outcome.error)
                if as_json:
                    print(json.dumps(_facts(outcome)), flush=True)
                elif outcome.report is not None and visible:
                    made = outcome.report
                    print(f"{made.target}: {made.seconds:.1f} s, {made.bytes:,} bytes", file=sys.stderr)
    if failed and total > 1:
        say_error(f"{failed} of {total} files failed")
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


def _are_pipes(sources: list[Path], target: str) -> bool:
    """Whether to work from standard input to standard output."""
    ends = [*map(str, sources), target]
    if "-" in ends and ends != ["-", "-"]:
        raise ValueError("- stands for a pipe at both ends: xcodec encode - -, or decode - -; otherwise name files")
    return ends == ["-", "-"]


def _pipe_ends() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, for bytes."""
    if sys.stdin is None or not isinstance(sys.stdout, io.TextIOWrapper):
        closed = "input" if sys.stdin is None else "output"
        raise ValueError(f"standard {closed} is closed; - - reads from standard input and writes to standard output")
    return sys.stdin.buffer, sys.stdout.buffer
