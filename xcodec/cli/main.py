"""The command `xcodec`: a thin table of subcommands.

The work is done by the packages, which each subcommand imports when it runs: `xcodec --help` loads no torch.

Results (`info`, `--json`) go to stdout, all else to stderr, where progress is shown only if that is a terminal. Exit
codes: 0 done, 1 an error, said in one line, 2 a wrong command line, 130 interrupted.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from typing import Annotated

import typer

from xcodec import __version__
from xcodec.cli.coding import decode, encode, reconstruct
from xcodec.cli.evaluate import app as evaluate_app
from xcodec.cli.generate import app as generate_app
from xcodec.cli.info import info
from xcodec.cli.models import convert, export, tokenize, train
from xcodec.utils.errors import debugging, one_line, say_error, warn_in_one_line
from xcodec.utils.signals import raise_on_signals

app = typer.Typer(
    help="X-Codec: audio to tokens that carry meaning, and back.",
    epilog="XCODEC_DEBUG=1 shows where an error comes from.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


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


Offered = Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="To offer, besides xcodec-mini.")]


@app.command("app")
def open_app(
    models: Offered = None,
    host: Annotated[str, typer.Option(help="Another address lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 7860,
    browse: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Open a page to hear codecs, see tokens, and generate audio.

    Example: xcodec app
    """
    from xcodec.app.server import MODELS, serve

    serve(host, port, [*dict.fromkeys([*MODELS, *(models or [])])], browse)


for _subcommand in (reconstruct, encode, decode, info, tokenize, train, convert, export):
    app.command()(_subcommand)
app.add_typer(generate_app, name="generate")
app.add_typer(evaluate_app, name="evaluate")


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
        if "" in sys.argv:  # which is the current folder to a Path
            raise typer.BadParameter("an argument is empty, perhaps from a variable without a value; . is this folder")
        code = app(standalone_mode=False)
        sys.stdout.flush()
        return code or 0
    except typer.TyperException as error:
        if message := error.format_message():  # empty if the help was shown for want of arguments
            context = getattr(error, "ctx", None)
            command = "xcodec" if context is None else context.command_path
            say_error(f"{one_line(ValueError(message))} (see {command} --help)")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # as in `xcodec info … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its end
        return 1
    except Exception as error:
        if debugging():
            traceback.print_exc()
        say_error(one_line(error))
        return 1
