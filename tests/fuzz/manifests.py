"""Manifests and lists with anything in them: items that make sense, or one line that says where the fault is."""

from __future__ import annotations

import gzip
import json
import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any

import lhotse  # noqa: F401  # before the clock of a hang runs, since it takes its time
import numpy as np
import soundfile
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import about_to_try, check_message
from xcodec.data.manifest import AudioItem, DataError, read_corpus

_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=10),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
_ROW = {"path": "a.wav", "sample_rate": 8_000, "samples": 800, "domain": "speech", "source": "s", "text": "Hi."}
_KEYS = st.sampled_from([*_ROW, "speaker", "language", "licence", "split", "weight", "supervisions", "audio_filepath"])
_CHANGES = st.lists(st.tuples(st.sampled_from(["set", "drop"]), _KEYS, _VALUES), max_size=2)
_LINES = st.one_of(
    _CHANGES.map(lambda changes: json.dumps(_changed(changes)).encode()),
    st.binary(max_size=20),
    st.sampled_from(
        [b"", b"{}", b"[]", b"null", b"a.wav", b"./a.wav", b"missing.wav", b"# note", b"\xef\xbb\xbfa.wav"]
    ),
)
_FILES = st.tuples(
    st.sampled_from(["m.jsonl", "m.jsonl.gz", "list.txt", "list", "m.json"]),
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe"]),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(_LINES, max_size=5),
)


def _changed(changes: list[tuple[str, str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = dict(_ROW)
    for kind, key, value in changes:
        if kind == "set":
            row[key] = value
        else:
            row.pop(key, None)
    return row


def batch(number: int, folder: Path, outcomes: Counter[str]) -> None:
    """Try a hundred corpora."""
    logging.disable(logging.CRITICAL)
    if not (folder / "a.wav").exists():
        soundfile.write(folder / "a.wav", np.zeros(800), 8_000)

    @seed(number)
    @settings(
        max_examples=100,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(_FILES)
    def try_them(file: tuple[str, bytes, bytes, list[bytes]]) -> None:
        name, begin, end, lines = file
        content = begin + end.join(lines)
        about_to_try(folder, f"{name} {content!r}")
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        outcomes[check(folder / name, len(lines))] += 1

    try_them()


def check(path: Path, lines: int) -> str:
    """Try one manifest or list."""
    try:
        items = read_corpus(path)
    except (DataError, OSError) as error:
        check_message(error)
        return "refused"
    assert 0 < len(items) <= lines, f"{len(items)} items of {lines} lines"
    for item in items:
        _check_item(item)
    return "read"


def _check_item(item: AudioItem) -> None:
    for name, minimum in (("sample_rate", 1), ("samples", 0), ("start", 0)):
        value = getattr(item, name)
        assert type(value) is int, f"{name} is {value!r}"
        assert value >= minimum, f"{name} is {value!r}"
    for name in ("domain", "source", "split"):
        assert isinstance(getattr(item, name), str), f"{name} is {getattr(item, name)!r}"
    for name in ("speaker", "language", "text", "licence"):
        assert isinstance(getattr(item, name), str | None), f"{name} is {getattr(item, name)!r}"
    weight = item.weight
    assert type(weight) in (int, float), f"weight is {weight!r}"
    assert 0 <= weight < math.inf, f"weight is {weight!r}"
