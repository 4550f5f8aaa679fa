"""What callers have set around a call is set aside for as long as it lasts, and is there again afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from xcodec.audio import decoding
from xcodec.codec.inputs import MAX_LEVEL, as_audio, as_codes, full_precision

CPU = torch.device("cpu")


def settings() -> list[object]:
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_float32_matmul_precision(),
        torch.is_autocast_enabled("cpu"),
        torch.is_inference_mode_enabled(),
    ]


@pytest.fixture
def _all_set() -> Iterator[None]:
    torch.set_default_dtype(torch.bfloat16)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.device("meta"), torch.autocast("cpu"), torch.inference_mode():
            yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("_all_set")
def test_all_is_set_aside_and_put_back() -> None:
    before = settings()
    assert before == [torch.bfloat16, torch.device("meta"), "medium", True, True]
    with full_precision(CPU):
        assert settings() == [torch.float32, CPU, "highest", False, False]
        with full_precision(CPU):
            pass
        assert settings() == [torch.float32, CPU, "highest", False, False]
    assert settings() == before
    with pytest.raises(ZeroDivisionError), full_precision(CPU):
        1 / 0  # noqa: B018
    assert settings() == before


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize("kind", ["sparse_coo", "sparse_csr", "meta", "nested"])
def test_tensors_without_a_value_for_every_place_are_refused(kind: str) -> None:
    ones = torch.ones(2, 3)
    make = {
        "sparse_coo": ones.to_sparse,
        "sparse_csr": ones.to_sparse_csr,
        "meta": lambda: ones.to("meta"),
        "nested": lambda: torch.nested.nested_tensor([ones[0], ones[1, :2]]),
    }[kind]
    for read in (lambda: as_audio(make(), ones), lambda: as_codes(make().to(torch.int64), CPU)):
        with pytest.raises(ValueError, match=f"must be a dense tensor that holds values, not a {kind} one"):
            read()


def test_levels_that_cannot_be_audio_are_those_of_files() -> None:
    assert MAX_LEVEL == decoding.MAX_LEVEL
