"""Corpora of the `datasets` library: ``hf:NAME`` or ``hf:NAME:CONFIG`` on the hub, ``hf:FOLDER``, ``hf:FILE.parquet``.

Rows are streamed. Audio that is a file on this machine is read where it is; audio inside Parquet, or from the hub, is
put into files once, as it is encoded there, because training and resumed runs read clips in any order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xcodec import audio
from xcodec.data.webdataset_tars import Row, labels
from xcodec.utils.errors import one_line
from xcodec.utils.files import atomic_write

PREFIX = "hf:"


def is_dataset(corpus: object) -> bool:
    """Whether a corpus is named as one of `datasets`."""
    return str(corpus).startswith(PREFIX)


def folder_of(corpus: object) -> Path:
    """Where the audio of a dataset is put: below ``$XDG_CACHE_HOME/xcodec``."""
    name = str(corpus).removeprefix(PREFIX)
    place = os.path.abspath(name) if os.path.exists(name) else name
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "xcodec", "datasets", f"{Path(name).stem}-{hashlib.sha256(place.encode()).hexdigest()[:8]}")


def read_dataset(corpus: object, domain: str) -> Iterator[Row]:
    """The rows of every split.

    Raises:
        ValueError: there is no such dataset, or it has no column of audio.
    """
    name = str(corpus).removeprefix(PREFIX)
    for split, rows in _open(name).items():
        column = _audio_column(rows, name)
        for number, row in enumerate(_undecoded(rows, column, name)):
            value = row.pop(column) or {}
            known = {"domain": domain, "source": name, "split": "valid" if split == "validation" else split}
            stem = f"{split}/{number:08}"
            try:
                path = _file(folder_of(corpus) / stem, value)
                header = audio.info(path, stated=True)
            except (audio.AudioError, OSError) as error:
                yield {"path": folder_of(corpus) / stem, "reason": f"row {number} of {split}: {one_line(error)}"}
                continue
            yield {"path": path, "sample_rate": header.sample_rate, "samples": header.samples, **known, **labels(row)}


def _open(name: str) -> dict[str, Any]:
    """Split → rows, streamed."""
    try:
        import datasets
    except ImportError:
        raise ValueError("corpora of datasets need it; get it with: pip install 'xcodec[scale]'") from None
    path, _, config = name.partition(":")
    try:
        if Path(path, "state.json").exists() or Path(path, "dataset_dict.json").exists():
            loaded = datasets.load_from_disk(path)
            return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {str(loaded.split or "train"): loaded}
        if path.endswith(".parquet"):
            return dict(datasets.load_dataset("parquet", data_files=path, streaming=True))
        return dict(datasets.load_dataset(path, config or None, streaming=True))
    except Exception as error:  # of datasets, huggingface_hub, fsspec and httpx, none of which share a class
        raise ValueError(f"cannot open the dataset {name}: {' '.join(str(error).split())[:200]}") from error


def _audio_column(rows: Any, name: str) -> str:
    import datasets

    features = rows.features or {}
    for column, feature in features.items():
        if isinstance(feature, datasets.Audio) or (isinstance(feature, dict) and {"bytes", "path"} <= set(feature)):
            return str(column)
    raise ValueError(f"the dataset {name} has no column of audio, only {', '.join(features) or 'unknown ones'}")


def _undecoded(rows: Any, column: str, name: str) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        yield from rows.cast_column(column, datasets.Audio(decode=False))
    except ImportError as error:  # datasets wants torchcodec for folders of audio files, which it only lists
        raise ValueError(f"{name}: {error} Or, if it is a folder of audio files, name it without {PREFIX}") from error


def _file(stem: Path, value: dict[str, Any]) -> Path:
    """The file of a row's audio."""
    content, path = value.get("bytes"), value.get("path")
    if content is None:
        if not path:
            raise OSError("has no audio")
        return Path(os.path.abspath(path))
    target = stem.with_name(f"{stem.name}{Path(path or '').suffix or '.wav'}")
    if not target.exists() or target.stat().st_size != len(content) or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as temporary:
            temporary.write_bytes(content)
    return target
