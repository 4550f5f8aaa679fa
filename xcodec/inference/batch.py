"""The same work on many files, in one process or several."""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xcodec.audio import AUDIO_SUFFIXES, find_audio
from xcodec.utils.errors import debugging, one_line
from xcodec.utils.parallel import WorkerDiedError, run_tasks

if TYPE_CHECKING:
    from xcodec.engine.engine import Engine
    from xcodec.inference.files import Channels, FileReport, Progress

Operation = Literal["encode", "decode", "reconstruct"]

TOKEN_SUFFIX = ".xc"
AUDIO_OUT_SUFFIXES = (".wav", ".flac", ".ogg", ".opus")


class PlanError(ValueError):
    """Inputs and outputs that do not fit together; the message is one line."""


@dataclass(frozen=True)
class Task:
    """One file to make from one file."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Plan:
    """All that is to be made."""

    tasks: list[Task]
    into_folder: bool
    """Whether the outputs go into a folder, which is created as needed; that of a single file must exist."""


def plan(operation: Operation, sources: Sequence[Path], target: str, suffix: str) -> Plan:
    """Decide, before any work begins, which output file is made from which input file.

        xcodec encode a.wav a.xc           a file becomes a file
        xcodec encode a.wav b.mp3 out      files go into a folder: out/a.xc, out/b.xc
        xcodec encode in out               a folder is mirrored: in/x/a.wav becomes out/x/a.xc

    Args:
        operation: says which files to look for and which can be written.
        sources: files and folders.
        target: a file or a folder. A name for a new folder ends with a slash, or without a suffix of a file.
        suffix: of the files made in a folder.

    Raises:
        OSError: a source, or the folder of a single target, is missing.
        PlanError: there is nothing to do, the target cannot be right, two inputs would become one file, or an
            output would overwrite an input.
    """
    if not target:  # which would be this folder
        raise PlanError("the name of the output is empty; name a file or a folder (. is this one)")
    folder = Path(target)
    if len(sources) == 1 and not sources[0].is_dir() and not folder.is_dir() and not _slash_ends(target):
        tasks = [_single(operation, sources[0], folder)]
        into_folder = False
    else:
        _check_folder(folder, target)
        tasks = [task for source in sources for task in _into_folder(operation, source, folder, suffix)]
        into_folder = True
    _check_distinct(tasks)
    return Plan(tasks, into_folder)


def _slash_ends(target: str) -> bool:
    return target.endswith(("/", os.sep))


def _check_file(source: Path) -> None:
    """Find out now, and not when the model has been loaded; a pipe would be waited for without end."""
    if not stat.S_ISREG(source.stat().st_mode):
        raise PlanError(f"{source}: is not a regular file; save its content to one first")


def _single(operation: Operation, source: Path, target: Path) -> Task:
    _check_file(source)
    suffixes = (TOKEN_SUFFIX,) if operation == "encode" else AUDIO_OUT_SUFFIXES
    if target.suffix.lower() not in suffixes:
        raise PlanError(f"{target}: {operation} writes {', '.join(suffixes)} (or into a folder: {target}{os.sep})")
    target.parent.stat()
    return Task(source, target)


def _check_folder(folder: Path, target: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise PlanError(f"{target}: is a file, but a folder or several files can only become a folder")
    looks_like_file = folder.suffix.lower() in AUDIO_SUFFIXES | {TOKEN_SUFFIX}
    if looks_like_file and not folder.exists() and not _slash_ends(target):
        raise PlanError(f"{target}: is no folder; to make a new one with such a name, write {target}{os.sep}")


def _into_folder(operation: Operation, source: Path, target: Path, suffix: str) -> list[Task]:
    if not source.is_dir():
        _check_file(source)
        return [Task(source, target / source.with_suffix(suffix).name)]
    files = find_audio(source, {TOKEN_SUFFIX} if operation == "decode" else AUDIO_SUFFIXES)
    if source.resolve() in target.resolve().parents:  # what an earlier run made there is not new input
        files = [file for file in files if target.resolve() not in file.resolve().parents]
    if not files:
        raise PlanError(f"{source}: holds no {TOKEN_SUFFIX if operation == 'decode' else 'audio'} files")
    return [Task(file, target / file.relative_to(source).with_suffix(suffix)) for file in files]


def _check_distinct(tasks: list[Task]) -> None:
    inputs = {Path(os.path.realpath(task.source)) for task in tasks}
    made_from: dict[Path, Path] = {}
    for task in tasks:
        target = Path(os.path.realpath(task.target))
        if target in inputs:
            raise PlanError(f"{task.target}: is an input, and would be overwritten; name another output")
        if target in made_from:
            both = f"{made_from[target]} and {task.source}"
            raise PlanError(f"{both} would both become {task.target}; rename one, or code them one by one")
        made_from[target] = task.source


@dataclass(frozen=True)
class Outcome:
    """What became of a task: a report, or an error in one line."""

    task: Task
    report: FileReport | None = None
    error: str | None = None


@dataclass(frozen=True)
class Work:
    """What is to be done to each file, in a form that another process can be given."""

    operation: Operation
    model: str | None = None
    """As `xcodec.load` takes it."""
    device: str = "cpu"
    bandwidth: float | None = None
    channels: Channels = "mix"
    track: int | None = None
    """As `audio.read` takes it."""
    engine: Engine = "exact"

    def start(self, make_folders: bool) -> Callable[[Path, Path, Progress | None], FileReport]:
        """Load the model; gives the function that makes a target from a source, and says how far it is.

        Raises:
            ValueError: the model cannot be loaded, or lacks the bandwidth, or there is no such device.
        """
        from xcodec.engine.engine import load
        from xcodec.inference.files import FileCodec

        codec = load(self.model, device=self.device, engine=self.engine)
        files = FileCodec(codec, self.bandwidth, self.channels, self.track, make_folders)
        return {"encode": files.encode, "decode": files.decode, "reconstruct": files.reconstruct}[self.operation]


def run(work: Work, plan: Plan, jobs: int = 1, progress: Progress | None = None) -> Generator[Outcome]:
    """Do the work on every file. A file that fails does not stop the others.

    Args:
        work: what to do.
        plan: on which files.
        jobs: in how many processes; each loads the model and takes its share of the cores.
        progress: is told, where there is one process, what share of the file at hand is done.

    Yields:
        Outcomes, in the order in which they come. Closing the iterator ends the work, and leaves no debris.

    Raises:
        ValueError: as `Work.start` does; nothing has been done then.
    """
    # In any case, so that what would fail in every process is refused before there is any.
    operate = work.start(plan.into_folder)
    jobs = min(jobs, len(plan.tasks))
    setup = partial(_attempts_of, work, plan.into_folder) if jobs > 1 else lambda: partial(_attempt, operate, progress)
    yield from run_tasks(setup, plan.tasks, jobs, _died)


def _attempts_of(work: Work, make_folders: bool) -> Callable[[Task], Outcome]:
    """What a process of several does with a task; nobody is told how far it is."""
    return partial(_attempt, work.start(make_folders), None)


def _attempt(
    operate: Callable[[Path, Path, Progress | None], FileReport], progress: Progress | None, task: Task
) -> Outcome:
    try:
        return Outcome(task, report=operate(task.source, task.target, progress))
    except Exception as error:
        if debugging():
            traceback.print_exc()
        message = one_line(error)
        if str(task.source) not in message and str(task.target) not in message:
            message = f"{task.source}: {message}"
        return Outcome(task, error=message)


def _died(task: Task, error: WorkerDiedError) -> Outcome:
    return Outcome(task, error=f"{task.source}: {error}")
