"""A config field earns its place: something shipped sets it."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from xcodec.codec.config import (
    ConfigError,
    DacConfig,
    QuantizerConfig,
    SpectralConfig,
    TeacherConfig,
    XCodecConfig,
)
from xcodec.codec.formats import foreign_config
from xcodec.lm.config import LMConfig, TransformerConfig
from xcodec.train.config import LMTrainConfig, TrainConfig
from xcodec.utils.config import build

ROOT = Path(__file__).parents[2]
Field = tuple[str, str]
"""The names of a class and of its field."""

NOT_SET = {
    "CodecSpec": "read from a token table",
    "Durations": "measured on a token table",
    "LMConfig.codec": "read from a token table",
    "LMConfig.durations": "measured on a token table",
    "LMConfig.longest": "measured on a token table",
    "TeacherConfig.padding": "half a hop, of an imported codec with another hop than the paper's",
    "TrainConfig.semantic_directions": "fitted on a corpus, by experiments/xcodec_mini/first_codebook.py",
    "VocoderConfig.expansion": "the shape of the frame-rate networks, which the tests make tiny",
    "TokenDataConfig.domains": "says what a user's own table calls its clips",
    **dict.fromkeys(
        (
            f"SpectralConfig.{name}"
            for name in ("spectra_per_frame", "mel_bands", "pulses", "phase_iterations", "expansion")
        ),
        "the shape of the frame-rate networks, which the tests make tiny",
    ),
}
"""Fields that no config is to set, and why."""


def config_classes(annotation: Any) -> list[type[Any]]:
    if dataclasses.is_dataclass(annotation):
        return [typing.cast(type[Any], annotation)]
    return [cls for argument in typing.get_args(annotation) for cls in config_classes(argument)]


def owner(cls: type[Any], field: str) -> str:
    """The class that a field comes from, which may be a base of several."""
    return next(base.__name__ for base in reversed(cls.__mro__) if field in getattr(base, "__dataclass_fields__", ()))


def fields_of(cls: type[Any], path: str = "") -> Iterator[tuple[Field, str]]:
    """All fields below a config, and where in a YAML file they stand."""
    hints = typing.get_type_hints(cls)
    for each in dataclasses.fields(cls):
        yield (owner(cls, each.name), each.name), path + each.name
        for inner in config_classes(hints[each.name]):
            yield from fields_of(inner, f"{path}{each.name}.")


def set_in(cls: type[Any], values: dict[str, Any], *, by_default: bool = True) -> Iterator[Field]:
    """The fields that a mapping sets; with ``by_default`` also to what they are anyway."""
    hints = typing.get_type_hints(cls)
    defaults = {each.name: each.default for each in dataclasses.fields(cls)}
    inside = {"model": XCodecConfig if cls is TrainConfig else LMConfig, "perceptual_model": TeacherConfig}
    for name, value in values.items():
        if name not in hints:
            continue
        if by_default or value != (list(d) if isinstance(d := defaults[name], tuple) else d):
            yield owner(cls, name), name
        for inner in [*config_classes(hints[name]), *([inside[name]] if name in inside else [])]:
            for each in value if isinstance(value, list) else [value]:
                if not isinstance(each, dict):
                    continue
                if inner not in (DacConfig, SpectralConfig) or each.get("kind", "dac") == inner.kind:
                    yield from set_in(inner, each, by_default=by_default)


def test_every_field_is_set_by_something_that_ships() -> None:
    assert unset_fields() == set()


def unset_fields() -> set[str]:
    known: dict[Field, set[str]] = {}
    for root, path in ((TrainConfig, ""), (LMTrainConfig, ""), (XCodecConfig, "model."), (LMConfig, "model.")):
        for field, where in fields_of(root, path):
            known.setdefault(field, set()).add(where)
    used: set[Field] = set()
    for config in (ROOT / "configs").rglob("*.yaml"):
        kind = LMTrainConfig if config.parent.name == "lm" else TrainConfig
        used.update(set_in(kind, yaml.safe_load(config.read_text("utf-8"))))
    for model in (ROOT / "xcodec" / "assets").rglob("config.json"):
        values = json.loads(model.read_text("utf-8"))
        kind = LMConfig if "transformer" in str(values) else XCodecConfig
        used.update(set_in(kind, values.get("config", values), by_default=False))
    used.update(set_in(XCodecConfig, imported().to_dict(), by_default=False))
    programs = [*(ROOT / "experiments").rglob("*"), *(ROOT / "recipes").rglob("*"), *(ROOT / "benchmarks").rglob("*")]
    text = "\n".join(path.read_text("utf-8") for path in programs if path.suffix in (".py", ".sh"))
    for field, places in known.items():  # KEY=VALUE of a command, or the argument of a config that is built
        if any(re.search(rf"(?<![\w.]){re.escape(place)}=", text) for place in places):
            used.add(field)
        if re.search(rf"\b({field[0]}|replace)\((\w+, )?[^()]*\b{field[1]}=", text):
            used.add(field)
    unset = {f"{cls}.{name}" for cls, name in known.keys() - used if cls not in NOT_SET}
    return unset - NOT_SET.keys()


def imported() -> XCodecConfig:
    """A checkpoint of other software, whose fields are all unusual."""
    return foreign_config(
        "imported",
        sample_rate=24_000,
        strides=(8, 5, 4, 2),
        bandwidths=(0.7, 1.5),
        codebook_size=1024,
        code_bits=10,
        acoustic=DacConfig(decoder_strides=(2, 4, 5, 8)),
        architecture={
            "model_type": "hubert",
            "hidden_size": 768,
            "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
            "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        },
    )


@pytest.mark.parametrize(
    ("cls", "field", "default", "other"),
    [(QuantizerConfig, "code_width", None, 8), (TransformerConfig, "rope_theta", 10_000.0, 500_000.0)],
)
def test_an_old_checkpoint_may_name_fields_that_are_gone(cls: Any, field: str, default: Any, other: Any) -> None:
    assert build(cls, {field: default}, "model.") == cls()
    with pytest.raises(ConfigError, match=rf"model\.{field} no longer exists; only {default} is left"):
        build(cls, {field: other}, "model.")
