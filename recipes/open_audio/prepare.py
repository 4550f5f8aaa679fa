"""Build the open-audio corpus: speech in many languages, music, sounds from packages, and synthetic English.

    python -m recipes.open_audio.prepare                 # the training corpus → data/open-audio
    python -m recipes.open_audio.prepare --eval          # recordings to judge with → data/open-audio-eval

Run it again at any time: what is there is not redone.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
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
from recipes.open_audio.packages import unpack
from recipes.open_audio.sentences import PACKAGES as SENTENCE_PACKAGES
from recipes.open_audio.sentences import sentences
from recipes.open_audio.sources import EVALUATION, TRAINING, Clip, Source
from recipes.open_audio.speak import plan, speak
from recipes.open_audio.speak import rows as synthetic_rows

console = Console()


def main(
    out: Annotated[Path | None, typer.Option(help="Folder to build (default: data/open-audio[-eval]).")] = None,
    debs: Annotated[Path, typer.Option(help="Where the .deb files are, or go.")] = Path("data/debs"),
    evaluation: Annotated[
        bool, typer.Option("--eval", help="Build the evaluation recordings: never train on these.")
    ] = False,
    only: Annotated[str, typer.Option(help="Comma-separated packages, to build a part.")] = "",
    workers: Annotated[int, typer.Option(help="Processes that convert.")] = 2,
    piper_hours: Annotated[float, typer.Option(help="Synthetic English of one natural voice.")] = 3.0,
    flite_hours: Annotated[float, typer.Option(help="Synthetic English of three simple voices.")] = 1.5,
    kokoro_hours: Annotated[
        float,
        typer.Option(help="Synthetic English of eight natural voices; slow: 0.6 s per second of speech."),
    ] = 0.0,
) -> None:
    """Download, unpack, convert, synthesise, describe."""
    sources = EVALUATION if evaluation else TRAINING
    if only:
        wanted = set(only.split(","))
        unknown = wanted - {source.package for source in sources}
        if unknown:
            raise SystemExit(f"error: no such source: {', '.join(sorted(unknown))}")
        sources = tuple(source for source in sources if source.package in wanted)
    out = out or Path("data/open-audio-eval" if evaluation else "data/open-audio")
    hours = {} if evaluation or only else {"piper": piper_hours, "flite": flite_hours, "kokoro": kokoro_hours}
    manifest = out / "manifest.jsonl"
    try:
        with Journal(out / "journal.jsonl") as journal, Journal(out / "journal-synthetic.jsonl") as spoken:
            clips = find_clips(sources, out, debs)
            convert_missing(clips, out, journal, workers)
            rows = describe(clips, journal, "eval" if evaluation else None)
            if hours:
                folders = {name: unpack(name, debs, out / "unpacked") for name in SENTENCE_PACKAGES}
                lines = plan(sentences(folders), hours)
                # Training can start on what is there while the voices speak.
                write_manifest(manifest, rows + synthetic_rows(lines, spoken))
                speak(lines, out, spoken, console)
                rows += synthetic_rows(lines, spoken)
            elif only:  # the rest of the corpus stays as it was described
                rows += [row for row in read_manifest(manifest) if row["source"] not in wanted]
            write_manifest(manifest, rows)
    except OSError as error:
        raise SystemExit(f"error: {error}") from None
    print_tables(console, rows)
    console.print(f"wrote {manifest}")


def find_clips(sources: tuple[Source, ...], out: Path, debs: Path) -> dict[str, tuple[Source, Clip]]:
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


def start_worker() -> None:
    """Make way for whatever else runs here, and end with the parent even when that is killed."""

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None, "only workers start workers' watchers"
        parent.join()
        os._exit(1)

    os.nice(10)
    threading.Thread(target=end_with_parent, daemon=True).start()


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
