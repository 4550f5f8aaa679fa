"""The drawing of the layers in CONTRIBUTING is the one that the import rules hold, and names what there is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    pytest.skip("tomllib came with Python 3.11", allow_module_level=True)

ROOT = Path(__file__).parents[1]


def drawn() -> list[set[str]]:
    """The packages of each layer of the drawing, top first."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    drawing = text.split("## Layout")[1].split("```")[1]
    # Names stand in the first columns, two blanks or more before what they are.
    return [set(line[:25].split()) for line in drawing.strip().splitlines()]


def test_the_drawing_has_the_layers_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["id"] == "layers")
    assert drawn() == [set(layer.split(" | ")) for layer in layers if layer != "__main__"]


def test_the_drawing_names_exactly_the_packages_there_are() -> None:
    packages = {path.parent.name for path in (ROOT / "xcodec").glob("*/__init__.py")}
    assert set.union(*drawn()) == packages
