"""Configs that check themselves, and say in one line what is wrong with them."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_type_hints


class ConfigError(ValueError):
    """A config that cannot be built, said in one line."""


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def build(cls: type[Any], values: dict[str, Any], where: str = "") -> Any:
    """A dataclass from plain values, as JSON and YAML have them; fields that are dataclasses are built likewise.

    A class may have ``GONE``: fields of former versions, which old checkpoints still name, and their defaults. They are
    ignored where they have that default; anything else is an error. Of a field that may be one of several classes, the
    values' ``kind`` says which.

    Args:
        cls: the dataclass.
        values: by the names of its fields; missing ones take their defaults.
        where: what its fields belong to, such as ``model.``, for errors.

    Raises:
        ConfigError: an unknown field, named by its full path, or a value that cannot be.
    """
    types = get_type_hints(cls)
    known = [each.name for each in dataclasses.fields(cls)]
    values = dict(values)
    for name, default in getattr(cls, "GONE", {}).items():
        value = values.pop(name, default)
        require(
            value == default, f"config field {where}{name} no longer exists; only {default!r} is left, not {value!r}"
        )
    for name, value in values.items():
        require(name in known, f"unknown config field {where}{name}; known here: {', '.join(known)}")
        nested: list[Any] = [each for each in (types[name], *get_args(types[name])) if dataclasses.is_dataclass(each)]
        if nested and value is not None:
            require(isinstance(value, dict), f"config field {where}{name} must hold fields, not {value!r}")
            if len(nested) > 1:
                kinds = {each.kind: each for each in nested}
                kind = value.get("kind", nested[0].kind)
                require(kind in kinds, f"{where}{name}.kind is {kind!r}; known: {', '.join(kinds)}")
                nested = [kinds[kind]]
            values[name] = build(nested[0], value, f"{where}{name}.")
    try:
        return cls(**values)
    except TypeError as error:  # a string where a number belongs, a number where a list belongs
        raise ConfigError(f"config {where.rstrip('.') or 'root'}: {error}") from error
