"""A codec as a static page that encodes and decodes inside a browser: its graphs, a page, and onnxruntime-web.

Nothing is sent anywhere: any web server will do, or `python -m http.server --directory FOLDER` on one's own machine.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from xcodec.codec.model import XCodec
from xcodec.inference.export import EXPORTED, ExportError, write_graphs
from xcodec.utils.files import atomic_folder

RUNTIME = "onnxruntime-web"
RUNTIME_VERSION = "1.30.0"
RUNTIME_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the package, as a lock file of npm has it."""
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page needs of its `dist` folder: 14 MB."""
PAGE_FILES = ("index.html", "style.css", "page.js", "worker.js", "codec.js", "xc_file.js")


def export_web(model: XCodec, folder: str | os.PathLike[str], runtime: Path | None = None) -> list[str]:
    """Write the page into a folder: all of it or nothing.

    Args:
        model: the plain network, as `XCodec.from_pretrained` gives it.
        folder: to write; an export that is there already is replaced.
        runtime: the `dist` folder of onnxruntime-web. By default npm fetches it, once.

    Returns:
        The names of the files.

    Raises:
        ExportError: a package is missing, or there is no runtime.
        OSError: the folder cannot be written.
    """
    parts = find_runtime(runtime)
    with atomic_folder(Path(folder), EXPORTED | {*PAGE_FILES, *RUNTIME_FILES}) as fresh:
        write_graphs(model, fresh)
        with as_file(files("xcodec.inference") / "web_page") as page:
            for source in (*(page / name for name in PAGE_FILES), *(parts / name for name in RUNTIME_FILES)):
                shutil.copyfile(source, fresh / source.name)
        return sorted(path.name for path in fresh.iterdir())


def find_runtime(folder: Path | None = None) -> Path:
    """A folder with `RUNTIME_FILES`: the one that is given, the cache's, or what npm fetches into the cache.

    Raises:
        ExportError: there is none.
    """
    if folder is not None:
        if missing := [name for name in RUNTIME_FILES if not (folder / name).is_file()]:
            raise ExportError(f"{folder} lacks {missing[0]}; --runtime is the folder dist of the npm package {RUNTIME}")
        return folder
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xcodec" / f"{RUNTIME}-{RUNTIME_VERSION}"
    )
    if not all((cache / name).is_file() for name in RUNTIME_FILES):
        with atomic_folder(cache, frozenset(RUNTIME_FILES)) as fresh:
            _fetch(fresh)
    return cache


def _fetch(target: Path) -> None:
    """Unpack `RUNTIME_FILES` of npm's package, if it is the one that is known."""
    wanted = f"{RUNTIME}@{RUNTIME_VERSION}"
    npm = shutil.which("npm")
    if npm is None:
        raise ExportError(f"the page needs {wanted}, and there is no npm to fetch it; name its dist folder: --runtime")
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run([npm, "pack", wanted, "--silent"], cwd=scratch, capture_output=True, text=True)
        packed = list(Path(scratch).glob("*.tgz"))
        if done.returncode or not packed:
            reason = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
            raise ExportError(f"npm could not fetch {wanted} ({reason}); name its dist folder: --runtime")
        digest = base64.b64encode(hashlib.sha512(packed[0].read_bytes()).digest()).decode()
        if digest != RUNTIME_SHA512:
            raise ExportError(f"what npm fetched as {wanted} is not what was published: SHA-512 {digest}")
        with tarfile.open(packed[0]) as archive:
            for name in RUNTIME_FILES:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                (target / name).write_bytes(member.read())
