"""Configs that check themselves, and say in one line what is wrong with them."""

from __future__ import annotations

import dataclasses
from typing import Any


class ConfigError(ValueError):
    """A config that cannot be built, said in one line."""


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def build(cls: type[Any], values: dict[str, Any], where: str) -> Any:
    """``cls(**values)``, with an unknown field named by its full path and the known ones listed.

    A class may have ``GONE``: fields of former versions, which old checkpoints still name, and their defaults. They are
    ignored where they have that default; anything else is an error.
    """
    known = [each.name for each in dataclasses.fields(cls)]
    values = dict(values)
    for name, default in getattr(cls, "GONE", {}).items():
        value = values.pop(name, default)
        require(
            value == default, f"config field {where}{name} no longer exists; only {default!r} is left, not {value!r}"
        )
    for name in values:
        require(name in known, f"unknown config field {where}{name}; known here: {', '.join(known)}")
    try:
        return cls(**values)
    except TypeError as error:  # a string where a number belongs, a number where a list belongs
        raise ConfigError(f"config {where.rstrip('.') or 'root'}: {error}") from error
