from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from xcodec.codec.config import XCodecConfig
from xcodec.codec.model import XCodec
from xcodec.train.loop import Checkpoints, load_training, load_weights
from xcodec.utils.checkpoint_io import CheckpointError

from .conftest import TINY


def codec(seed: int = 0, **changes: object) -> XCodec:
    torch.manual_seed(seed)
    return XCodec(XCodecConfig.from_dict({**TINY["model"], **changes}))


def same(first: XCodec, second: XCodec) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    folder = checkpoints.save(3, codec(0).save_pretrained, {"step": 3, "optimizer": {"state": {0: torch.ones(2)}}})
    other = codec(1)
    load_weights(folder, other)
    assert same(other, codec(0))
    assert load_training(folder)["step"] == 3
    assert torch.equal(load_training(folder)["optimizer"]["state"][0], torch.ones(2))
    assert XCodec.from_pretrained(folder).config == other.config


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (5, 10, 100):
        checkpoints.save(step, codec().save_pretrained, {"step": step})
    assert [path.name for path in checkpoints.all()] == ["step-00000010", "step-00000100"]
    assert checkpoints.newest() == (checkpoints.all()[-1], [])


def test_a_later_damaged_one_does_not_push_out_those_of_now(tmp_path: Path) -> None:
    """As when a run falls back from step 100 to 50, and goes on from there."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in (100, 50, 60):
        checkpoints.save(step, codec().save_pretrained, {"step": step})
    assert [path.name for path in checkpoints.all()] == ["step-00000060", "step-00000100"]


def test_what_a_killed_save_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".step-00000001.partial").mkdir()
    (tmp_path / "..step-00000001.partial.k2j4").mkdir()  # of the weights
    (tmp_path / ".DS_Store").touch()  # not ours
    Checkpoints(tmp_path, keep=1).save(2, codec().save_pretrained, {"step": 2})
    assert {path.name for path in tmp_path.iterdir()} == {".DS_Store", "step-00000002"}


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "config.json", "checksums.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_newest_checkpoint_is_passed_over_and_named(tmp_path: Path, name: str, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2):
        checkpoints.save(step, codec().save_pretrained, {"step": step})
    file = checkpoints.all()[-1] / name
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x10
        file.write_bytes(content)
    newest, complaints = checkpoints.newest()
    assert newest == checkpoints.all()[0]
    assert len(complaints) == 1
    assert "step-00000002" in complaints[0]


@pytest.mark.parametrize("limit", [1_000, 200_000])
def test_a_full_disk_leaves_nothing_and_is_said(tmp_path: Path, limit: int) -> None:
    """The limit on the size of a file is too small for the weights, or for the rest."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, codec().save_pretrained, {"step": 1})
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, former[1]))
    try:
        with pytest.raises(OSError, match="step-00000002") as caught:
            checkpoints.save(2, codec().save_pretrained, {"step": 2, "average": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoints.newest() == (tmp_path / "step-00000001", [])


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path, keep=2).save(1, codec().save_pretrained, {"step": 1})
    torch.save({"step": Path("anything")}, folder / "training.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        load_training(folder)


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path, keep=2).save(1, codec().save_pretrained, {"step": 1})
    wider = codec(quantizer={**TINY["model"]["quantizer"], "width": 12})
    with pytest.raises(CheckpointError, match="another network") as caught:
        load_weights(folder, wider)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="nowhere"):
        load_weights(tmp_path / "nowhere", wider)
