"""Manifests and lists with anything in them: items that make sense, or one line that says where the fault is."""

from __future__ import annotations

import copy
import gzip
import json
import logging
import math
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import lhotse  # noqa: F401  # before the clock of a hang runs, since it takes its time
import numpy as np
import soundfile

from tests.fuzz import about_to_try, check_message
from xcodec.data.manifest import AudioItem, DataError, read_corpus

_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        7,
        800,
        801,
        8_000,
        2**31,
        2**63,
        -(2**70),
        0.0,
        0.5,
        800.0,
        1e300,
        math.nan,
        math.inf,
    ),
    *("", "a", "a.wav", "missing.wav", "800", "\x00", "\ud800", "/", "..", "train", "valid", "é\n"),
    *([], [1], ["a"], {}, {"a": 1}, [{}], [{"start": 0}]),
)
_ROW = {"path": "a.wav", "sample_rate": 8_000, "samples": 800, "domain": "speech", "source": "s", "text": "Hi."}
_NEMO = {"audio_filepath": "a.wav", "duration": 0.1, "offset": 0.0, "text": "Hi."}
_RECORDING = {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}], "sampling_rate": 8_000}
_RECORDING |= {"num_samples": 800, "duration": 0.1, "channel_ids": [0]}
_SAID = {"id": "s", "recording_id": "r", "start": 0.0, "duration": 0.1, "channel": 0, "text": "Hi.", "speaker": "x"}
_CUT = {"id": "c", "start": 0, "duration": 0.1, "channel": 0, "supervisions": [_SAID], "recording": _RECORDING}
_CUT["type"] = "MonoCut"
_KEYS = (
    "speaker",
    "language",
    "licence",
    "split",
    "weight",
    "supervisions",
    "tracks",
    "audio_filepath",
    "start",
    "lang",
)
_LINES = (
    b"",
    b"{}",
    b"[]",
    b"null",
    b"a.wav",
    b"./a.wav",
    b"missing.wav",
    b"# note",
    b"\xef\xbb\xbfa.wav",
    b"{",
    b"\xff",
)


def batch(number: int, folder: Path, outcomes: Counter[str]) -> None:
    """Try one corpus."""
    logging.disable(logging.CRITICAL)
    if not (folder / "a.wav").exists():
        soundfile.write(folder / "a.wav", np.zeros(800), 8_000)
    name, content, lines = draw(Random(number))
    about_to_try(folder, f"{name} {content!r}")
    (folder / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    outcomes[check(folder / name, lines)] += 1


def draw(random: Random) -> tuple[str, bytes, int]:
    """A manifest or list: name, content and how many rows it may have."""
    name = random.choice(("m.jsonl", "m.jsonl.gz", "list.txt", "list", "m.json"))
    begin = random.choice((*5 * (b"",), b"\xef\xbb\xbf", b"\xff\xfe"))
    end = random.choice((b"\n", b"\n", b"\r\n", b"\r"))
    kind = random.choice((_ROW, _ROW, _NEMO, _CUT))
    lines = [_line(random, kind) for _ in range(random.randint(0, 4))]
    content = begin + end.join(lines)
    if random.random() < 0.1:
        content = content.decode("utf-8", "replace").encode(
            random.choice(("utf-16", "utf-16-be", "utf-32", "latin-1")), "replace"
        )
    if random.random() < 0.1:
        content = content[: random.randint(0, len(content))]
    return name, content, len(lines)


def _line(random: Random, kind: dict[str, Any]) -> bytes:
    """A row as it should be, with changes at any depth, or something else."""
    if random.random() < 0.1:
        return random.choice((random.choice(_LINES), random.randbytes(random.randint(0, 20))))
    row = copy.deepcopy(kind)
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        place: Any = row
        while (inner := _inner(place)) and random.random() < 0.5:
            place = random.choice(inner)
        key = random.choice((*place, *_KEYS))
        if random.random() < 0.3:
            place.pop(key, None)
        else:
            place[key] = copy.deepcopy(random.choice(_VALUES))
    return json.dumps(row).encode()


def _inner(place: dict[str, Any]) -> list[dict[str, Any]]:
    """The mappings in a mapping, also those in lists."""
    values = [each for value in place.values() for each in (value if isinstance(value, list) else [value])]
    return [value for value in values if isinstance(value, dict)]


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
