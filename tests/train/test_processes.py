"""What only shows in processes of their own: being killed, and being several."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xcodec.train.codec import CodecTrainer, run
from xcodec.train.config import load_config

from .conftest import TINY, assert_same_path

GAN = ("losses.adversarial=1", "losses.feature_matching=2", "discriminators.kinds=[stft]")
TRAIN = [sys.executable, "-m", "xcodec", "train"]


def newest(folder: Path) -> Path:
    return sorted((folder / "checkpoints").glob("step-*"))[-1]


def test_killed_at_any_moment_and_resumed_ends_with_the_same_weights(write_config: Callable[..., Path]) -> None:
    changes = (*GAN, "steps=40", "checkpoint_every=10", "quantize_from=12", "data.workers=1")
    path = write_config(name="killed")
    process = subprocess.Popen([*TRAIN, str(path), *changes], stderr=subprocess.PIPE)
    config = load_config(path, changes)
    waited_for = config.folder / "checkpoints" / "step-00000010"
    deadline = time.monotonic() + 120
    while not waited_for.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    errors = process.communicate()[1].decode()
    assert process.returncode == -signal.SIGKILL, errors
    reached = newest(config.folder).name

    subprocess.run([*TRAIN, str(path), "--resume", *changes], check=True, capture_output=True)
    whole = load_config(write_config(name="whole"), changes)
    run(whole)
    assert reached < newest(config.folder).name == newest(whole.folder).name == "step-00000040"
    ours, theirs = (load_file(newest(each.folder) / "model.safetensors") for each in (config, whole))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


RANK = """
import sys, torch
from xcodec.train.codec import CodecTrainer
from xcodec.train.config import load_config
config = load_config(sys.argv[2], sys.argv[3:])
trainer = CodecTrainer(config)
assert trainer.accelerator.num_processes == 2
trainer.start(resume=False)
trainer.train()
state = {f"codec.{name}": value for name, value in trainer.network.state_dict().items()}
critics = trainer.accelerator.unwrap_model(trainer.discriminators)
state |= {f"critics.{name}": value for name, value in critics.state_dict().items()}
torch.save(state, f"{sys.argv[1]}/rank{trainer.accelerator.process_index}.pt")
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_signal_to_the_whole_job_ends_it_after_its_step(write_config: Callable[..., Path]) -> None:
    """As a scheduler sends it: to the processes that read audio, too."""
    changes = ("steps=100000", "data.workers=1", "checkpoint_every=100000", "log_every=1", "quantize_from=100000")
    path = write_config(name="signalled")
    process = subprocess.Popen([*TRAIN, str(path), *changes], stderr=subprocess.PIPE, start_new_session=True, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 3"):
            break
    os.killpg(process.pid, signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 0, errors
    assert "its checkpoint is written" in errors
    assert newest(load_config(path, changes).folder).is_dir()


def test_two_ranks_hold_the_same_weights_which_are_those_of_one(
    write_config: Callable[..., Path], tmp_path: Path, corpus: Path, port: int
) -> None:
    # The paper's halves: the spectral ones search for phases, which magnifies the rounding that comes from summing in
    # another order.
    acoustic = {"kind": "dac", "width": 8, "encoder_width": 2, "decoder_width": 32}
    path = write_config(
        model={**TINY["model"], "acoustic": acoustic}, data={"validation": [{"path": str(corpus)}]}, validate_every=10
    )
    # One batch for k-means: of several, two ranks would see the same points in another order.
    changes = (*GAN, "steps=20", "quantize_from=4", "kmeans_batches=1", "discriminators.start=8", "optimizer.lr=5e-4")
    script = tmp_path / "rank.py"
    script.write_text(RANK, "utf-8")
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    command = [sys.executable, str(script), str(tmp_path), str(path), "name=two", "batch_size=4", *changes]
    ranks = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for process in ranks:
        errors = process.communicate(timeout=240)[1].decode()
        assert process.returncode == 0, errors
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert any("codebook.vectors" in name for name in first)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []

    one = CodecTrainer(load_config(path, ["name=one", "batch_size=8", *changes]))
    start = {name: value.detach().clone() for name, value in one.trainable.items()}
    one.train()
    of_one = one.network.state_dict()
    of_two = {name.removeprefix("codec."): value for name, value in first.items() if name.startswith("codec.")}
    assert_same_path(of_one, of_two, start)
    codebooks = {name: torch.zeros_like(value) for name, value in of_one.items() if name.endswith("vectors")}
    assert_same_path(of_one, of_two, codebooks)


def test_user_errors_are_one_line_and_exit_code_one(write_config: Callable[..., Path]) -> None:
    result = subprocess.run([*TRAIN, str(write_config()), "losses.mell=1"], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "mell" in result.stderr
    assert len(result.stderr.splitlines()) == 1
