"""The subcommands of `xcodec evaluate`. What they need is imported when they run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from xcodec.cli import Engine, Jobs, Quiet, progress_bar

app = typer.Typer(
    help="Is a codec good, and are its tokens good for language models?", no_args_is_help=True, add_completion=False
)

Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH", help="Audio files, folders, manifests, lists; see xcodec.data.")
]
Codecs = Annotated[
    list[str],
    typer.Option(
        "--codec", "-c", help="NAME[@KBPS|@all]: original, opus, codec2, hf:NAME, or what xcodec.load takes. Repeat it."
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results; a run goes on with what is there.")]
Clips = Annotated[
    int | None, typer.Option("--clips", min=1, help="Clips per domain, evenly spaced.", show_default="all")
]
Shortest = Annotated[float, typer.Option("--shortest", help="Leave out shorter recordings; in seconds.")]
Longest = Annotated[float, typer.Option("--longest", help="Of longer recordings, take the middle; in seconds.")]
Domain = Annotated[str, typer.Option("--domain", help="Of recordings whose corpus names none: speech, music, sound.")]


@app.command()
def reconstruction(
    paths: Paths,
    codecs: Codecs,
    out: Out,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Names, with commas between; may be repeated.", show_default="all that need no download, and wer"
        ),
    ] = None,
    asr: Annotated[str, typer.Option(help="Whisper model for wer: a name, or a CTranslate2 folder.")] = "base",
    clips: Clips = None,
    shortest: Shortest = 1.0,
    longest: Longest = 12.0,
    domain: Domain = "speech",
    keep: Annotated[int, typer.Option(help="Clips per domain whose decoded audio is kept for the report.")] = 2,
    cost: Annotated[bool, typer.Option(help="Measure speed and memory, each codec in a process of its own.")] = True,
    engine: Engine = "exact",
    jobs: Jobs = 1,
    quiet: Quiet = False,
) -> None:
    """Measure decoded audio: quality, word errors, speaker similarity, bitrate, cost.

    Example: xcodec evaluate reconstruction clips/ -c original -c opus@9 -c xcodec-mini@all --out results
    """
    from xcodec.evaluate.clips import Selection, choose
    from xcodec.evaluate.reconstruction import Evaluator, Settings, measure_cost, run
    from xcodec.evaluate.summary import summarise
    from xcodec.utils.json_lines import write_json

    chosen = choose(paths, Selection(clips, shortest, longest, domain))
    named = [name.strip() for names in metrics or () for name in names.split(",")]
    wanted = tuple(dict.fromkeys(name for name in named if name)) or Settings.metrics
    evaluator = Evaluator(Settings(tuple(codecs), out, wanted, asr, keep, engine))
    for _ in _shown(run(evaluator, chosen, jobs), quiet):
        pass
    costs: dict[str, dict[str, float]] = {}
    if cost:
        shortish = sorted(chosen, key=lambda clip: clip.seconds)[len(chosen) // 2 :][:3]
        for spec in codecs:
            costs |= measure_cost(spec, shortish, engine)
    summary = summarise(out, evaluator.codecs, chosen, evaluator.backends(), costs)
    write_json(out / "summary.json", summary)
    for name, reasons in () if quiet else summary["undefined"].items():
        for reason, count in reasons.items():
            typer.echo(f"{name} is undefined {count} times: {reason}", err=True)


@app.command()
def semantic(
    paths: Paths,
    codecs: Codecs,
    out: Out,
    items: Annotated[
        Path | None, typer.Option("--items", help="An .item file of phones.", show_default="align the transcripts")
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps of the small language model.")] = 300,
    clips: Clips = None,
    shortest: Shortest = 1.0,
    longest: Longest = 12.0,
    domain: Domain = "speech",
    engine: Engine = "exact",
    quiet: Quiet = False,
) -> None:
    """Measure tokens before a language model is trained on them: phones, entropy, stability.

    Example: xcodec evaluate semantic clips/ -c xcodec-mini -c hf:facebook/encodec_24khz --out results
    """
    from xcodec.evaluate.clips import Selection, choose
    from xcodec.evaluate.semantic import SemanticSettings, run
    from xcodec.evaluate.token_measures import Budget

    chosen = choose(paths, Selection(clips, shortest, longest, domain))
    out.mkdir(parents=True, exist_ok=True)
    for _ in _shown(run(SemanticSettings(tuple(codecs), out, items, Budget(steps), engine=engine), chosen), quiet):
        pass


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR", help="Folders of results, of either kind.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write, .html; .md and .csv come beside it.")],
    title: Annotated[str, typer.Option(help="Its heading.")] = "Codecs compared",
    clips: Annotated[int, typer.Option(min=0, help="Audio examples of each domain.")] = 2,
    mute: Annotated[
        list[str] | None, typer.Option(help="A source whose audio is left out, for its licence. Repeat it.")
    ] = None,
) -> None:
    """Make one HTML page of results: tables, curves, spectrograms, players, tokens.

    Example: xcodec evaluate report results --out report.html
    """
    from xcodec.evaluate.report import write_report

    write_report(folders, out, title, clips, mute or ())


def _shown(left: Iterator[int], quiet: bool) -> Iterator[int]:
    """Show a bar for an iterator that says how much is left, if there is a terminal to show it on."""
    with progress_bar("clips", sys.stderr.isatty() and not quiet) as show:
        total: int | None = None
        for count in left:
            total = count if total is None else total
            show(total - count, total)
            yield count
