"""Configs of training runs as people write them.

A run is a YAML file with the fields of its dataclass, and ``key=value`` changes to it. ``base: other.yaml`` starts from
another file, so that a variant says only what it varies.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from xcodec.settings import ConfigError

from .config import RunConfig, TrainConfig

AnyRun = TypeVar("AnyRun", bound=RunConfig)


def load_config(path: str | Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read the run of a codec; see :func:`read_run`."""
    return read_run(path, changes, TrainConfig)


def read_run(path: str | Path, changes: Sequence[str], kind: type[AnyRun]) -> AnyRun:
    """Read a YAML file and apply ``key=value`` changes, such as ``optimizer.lr=1e-3`` or ``data.train.0.path=x``.

    Args:
        path: of the file.
        changes: to it.
        kind: of run that it describes.

    Raises:
        ConfigError: a file that is missing or not YAML, an unknown key, or a value that cannot be; in one line.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    values = _read_yaml(Path(path))
    try:
        for change in changes:
            key, equals, _ = change.partition("=")
            if not equals or not key:
                raise ConfigError(f"{change!r} is not of the form key=value")
            value = OmegaConf.from_dotlist([f"value={change[len(key) + 1 :]}"])["value"]
            OmegaConf.update(values, key, value)
        typed = OmegaConf.merge(OmegaConf.structured(kind), values)
        return OmegaConf.to_object(typed)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0]
        where = getattr(error, "full_key", None)
        raise ConfigError(f"{path}: {message}" + (f" (at {where})" if where else "")) from error


def is_language_model(path: str | Path) -> bool:
    """Whether a YAML file describes the training of a language model, by its ``task``.

    Raises:
        ConfigError: the file is missing or not YAML.
    """
    return "task" in _read_yaml(Path(path))


def _read_yaml(path: Path) -> Any:
    """The file merged over its ``base``, and that over its own."""
    import yaml
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = OmegaConf.load(path)
    except FileNotFoundError:
        raise ConfigError(f"no config at {path}") from None
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(values, DictConfig):
        raise ConfigError(f"{path} must hold keys and values")
    base = values.pop("base", None)
    return values if base is None else OmegaConf.merge(_read_yaml(path.parent / base), values)
