"""The paper's comparison in miniature: the same language models on the tokens of two codecs.

python -m experiments.codec_does_matter all            # every step; go on after a stop with the same command
python -m experiments.codec_does_matter [--tasks speech] [--seeds 0] speech|tokens|train|make|judge|report
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from experiments.codec_does_matter.comparison import CONFIGS, MODELS, PIECES, SOURCES, ComparedCodec, Comparison
from xcodec.utils.errors import debugging, one_line

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Corpus = Annotated[Path, typer.Option(help="Manifest of the corpus (recipes/open_audio).")]
Speech = Annotated[Path, typer.Option("--speech", help="Manifest of the speech; made by the step `speech`.")]
Hours = Annotated[float, typer.Option(help="Of speech to make.")]
Debs = Annotated[Path, typer.Option(help="Where open-audio keeps Debian packages.")]
Out = Annotated[Path, typer.Option(help="Where everything goes.")]
Acoustic = Annotated[str, typer.Option(help="The acoustic twin.")]
Semantic = Annotated[str | None, typer.Option(help="The codec with a semantic branch.", show_default="xcodec-mini")]
Seeds = Annotated[str, typer.Option(help="With commas.")]
Tasks = Annotated[str, typer.Option(help="With commas.")]
Jobs = Annotated[int, typer.Option(help="Number of processes.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for every training, such as steps=200.")]
Count = Annotated[int, typer.Option(help="Utterances to generate and score.")]
Asr = Annotated[str, typer.Option(help="Whisper-base: a name, or a CTranslate2 folder.")]

CORPUS, SPEECH, OUT = (
    Path("data/open-audio/manifest.jsonl"),
    Path("data/lm-speech/manifest.jsonl"),
    Path("runs/codec-does-matter"),
)
ACOUSTIC, DEBS = "checkpoints/xcodec-mini-acoustic", Path("data/debs")
HOURS = 20.0
LEAST_SOUNDS = 15
MUSIC_CLIPS = 100


def comparison(
    corpus: Path, speech: Path, out: Path, semantic: str | None, acoustic: str, seeds: str, tasks: str
) -> Comparison:
    """What the options say."""
    unknown = set(tasks.split(",")) - set(MODELS)
    if unknown:
        raise SystemExit(f"error: no task is called {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")
    codecs = (ComparedCodec("semantic", semantic), ComparedCodec("acoustic", acoustic))
    return Comparison(codecs, tuple(map(int, seeds.split(","))), corpus, speech, out, tuple(tasks.split(",")))


def say(message: str) -> None:
    """One line for the reader."""
    print(message, file=sys.stderr, flush=True)


def make_speech(plan: Comparison, hours: float, debs: Path) -> None:
    """Synthesise the training speech, if the plan needs some."""
    if "speech" in plan.tasks:
        from experiments.codec_does_matter.more_speech import build

        build(plan.speech.parent, debs, plan.corpus.parent / "unpacked", hours, say)


def make_tokens(plan: Comparison, jobs: int) -> None:
    """Token tables of every codec and task."""
    from xcodec.inference.corpus import tokenize

    for codec in plan.codecs:
        for task in plan.tasks:
            made = tokenize(
                plan.manifest(task),
                plan.table(codec, task),
                model=codec.source,
                domains=[task],
                sources=SOURCES[task],
                max_seconds=PIECES[task],
                jobs=jobs,
            )
            say(f"{plan.table(codec, task)}: {made.clips} clips, {made.kept} new, {len(made.skipped)} skipped")


def train_models(plan: Comparison, changes: list[str]) -> None:
    """Every model on every codec's tokens, with every seed: same config, same data, same steps, same order."""
    from xcodec.train import lm
    from xcodec.train.config import LMTrainConfig, read_run

    for seed in plan.seeds:
        for task in plan.tasks:
            for model in MODELS[task]:
                for codec in plan.codecs:
                    if plan.model(codec, model, seed).exists():
                        continue
                    name = plan.run_name(codec, model, seed)
                    say(f"training {name}")
                    own = [f"name={name}", f"runs={plan.runs}", f"seed={seed}", f"data.table={plan.table(codec, task)}"]
                    if codec.source is not None:
                        own.append(f"data.codec={codec.source}")
                    if SOURCES[task]:
                        own.append(f"data.sources=[{','.join(SOURCES[task])}]")
                    config = read_run(CONFIGS / f"{model}.yaml", [*own, *changes], LMTrainConfig)
                    lm.run(config, resume=True)
                    if not plan.model(codec, model, seed).exists():  # asked to stop: its checkpoint is written
                        raise SystemExit(130)


def make_audio(plan: Comparison, count: int, jobs: int) -> None:
    """Generate audio with every model."""
    from experiments.codec_does_matter import make_audio as making

    if "speech" in plan.tasks:
        making.make_speech(plan, count, jobs, say)
    if "music" in plan.tasks:
        making.make_music(plan, MUSIC_CLIPS, jobs, say)
    if "sound" in plan.tasks:
        making.make_sounds(plan, LEAST_SOUNDS, jobs, say)


def judge_audio(plan: Comparison, count: int, asr: str, jobs: int) -> None:
    """Scores."""
    from experiments.codec_does_matter import judge
    from experiments.codec_does_matter.distance import Embedder, WhisperEmbedder

    if "speech" in plan.tasks:
        judge.judge_speech(plan, count, asr, jobs, say)
    if "music" in plan.tasks:
        judge.judge_music(plan, (WhisperEmbedder(asr), Embedder()), say)
    if "sound" in plan.tasks:
        judge.judge_sounds(plan, (WhisperEmbedder(asr), Embedder()), LEAST_SOUNDS, say)


def write_report(plan: Comparison) -> None:
    """Tables."""
    from experiments.codec_does_matter.report import draw_curves, report

    report(plan, plan.out / "tables.md")
    draw_curves(plan, plan.out / "curves.png")
    say(f"wrote {plan.out / 'tables.md'} and curves.png beside it")


@app.callback()
def shared(
    context: typer.Context,
    corpus: Corpus = CORPUS,
    speech: Speech = SPEECH,
    out: Out = OUT,
    semantic: Semantic = None,
    acoustic: Acoustic = ACOUSTIC,
    seeds: Seeds = "0,1",
    tasks: Tasks = "speech,music,sound",
) -> None:
    """Which comparison; these options come before the step."""
    context.obj = comparison(corpus, speech, out, semantic, acoustic, seeds, tasks)


@app.command("speech")
def speech_command(context: typer.Context, hours: Hours = HOURS, debs: Debs = DEBS) -> None:
    """Synthesise training speech: all sentences by four voices."""
    make_speech(context.obj, hours, debs)


@app.command("tokens")
def tokens_command(context: typer.Context, jobs: Jobs = 2) -> None:
    """Tokenise the corpus with both codecs."""
    make_tokens(context.obj, jobs)


@app.command("train")
def train_command(context: typer.Context, changes: Changes = None) -> None:
    """Train every model."""
    train_models(context.obj, changes or [])


@app.command("make")
def make_command(context: typer.Context, count: Count = 200, jobs: Jobs = 2) -> None:
    """Generate audio for held-out texts, pieces and captions."""
    make_audio(context.obj, count, jobs)


@app.command("judge")
def judge_command(
    context: typer.Context, count: Count = 200, asr: Asr = "data/asr/whisper-base", jobs: Jobs = 2
) -> None:
    """Score it."""
    judge_audio(context.obj, count, asr, jobs)


@app.command("report")
def report_command(context: typer.Context) -> None:
    """Write the tables."""
    write_report(context.obj)


@app.command("all")
def all_command(
    context: typer.Context,
    hours: Hours = HOURS,
    debs: Debs = DEBS,
    jobs: Jobs = 2,
    changes: Changes = None,
    count: Count = 200,
    asr: Asr = "data/asr/whisper-base",
) -> None:
    """Every step that is not done yet."""
    plan = context.obj
    make_speech(plan, hours, debs)
    make_tokens(plan, jobs)
    train_models(plan, changes or [])
    make_audio(plan, count, jobs)
    judge_audio(plan, count, asr, jobs)
    write_report(plan)


def main() -> None:
    """Run a step; what goes wrong is said in one line."""
    try:
        app()
    except (ValueError, OSError) as error:
        if debugging():
            raise
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
