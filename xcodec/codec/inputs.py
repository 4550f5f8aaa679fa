"""Normalise the inputs of callers and the numeric settings around a call, so that neither changes codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_LEVEL = 32.0
"""As of files (`xcodec.audio`): beyond this (30 dB over full scale) samples are integers that nobody scaled."""


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Set aside what a caller may have set and what would change codes: autocast, the default type and device, and
    products in less than float32 (TF32, bfloat16).

    Nor are results inference tensors, whatever mode the caller is in: codes are there to train on.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        if torch.is_autocast_enabled(device.type):
            stack.enter_context(torch.autocast(device.type, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))  # PyTorch's own default, wherever the codec is
        if dtype is not torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        precision = _matmul_precision()
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, precision)
        if device.type == "cuda" and torch.backends.cudnn.allow_tf32:
            torch.backends.cudnn.allow_tf32 = False
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", True)
        yield


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set backend by backend, which this cannot put back
        return "highest"


def as_audio(wav: Any, like: Tensor) -> Tensor:
    """Samples as a tensor with the type and device of another.

    Raises:
        ValueError: they are not floating-point numbers.
    """
    if not isinstance(wav, Tensor):
        wav = _from_array(wav, "audio", np.float32, "f")
    _check_dense(wav, "audio")
    if not wav.is_floating_point():
        raise ValueError(f"audio must be floating point in [-1, 1] (int16 samples / 32768); got {describe(wav)}")
    return wav.detach().to(like)


def check_samples(wav: Tensor, what: str) -> None:
    """Refuse samples that cannot be audio; `what` has them.

    Raises:
        ValueError: they are NaN, infinite or far beyond full scale.
    """
    level = wav.abs().max() if wav.numel() else wav.new_zeros(())
    if not level.isfinite():
        raise ValueError(f"{what} has samples that are NaN or infinite; audio must be finite")
    if level > MAX_LEVEL:
        raise ValueError(
            f"{what} has samples of {level:g}, where full scale is 1; scale it down "
            "(16-bit integers saved as floats: divide by 32768)"
        )


def as_codes(codes: Any, device: torch.device) -> Tensor:
    """Codes as an int64 tensor.

    Raises:
        ValueError: they are not integers.
    """
    if not isinstance(codes, Tensor):
        codes = _from_array(codes, "codes", np.int64, "iu")
    _check_dense(codes, "codes")
    if codes.is_floating_point() or codes.is_complex() or codes.dtype is torch.bool:
        raise ValueError(f"codes must be integers [B, K, F]; got {describe(codes)}")
    return codes.to(device, torch.int64)


def _check_dense(x: Tensor, what: str) -> None:
    if x.is_nested or x.layout is not torch.strided or x.is_meta:
        kind = "nested" if x.is_nested else "meta" if x.is_meta else str(x.layout).removeprefix("torch.")
        raise ValueError(f"{what} must be a dense tensor that holds values, not a {kind} one")


def _from_array(values: Any, what: str, dtype: type[np.generic], kinds: str) -> Tensor:
    """A NumPy array, or nested lists of numbers, as a tensor."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:  # of lists of unequal lengths
        raise ValueError(f"{what} must be a tensor, an array or nested lists of equal lengths; {error}") from error
    if array.dtype.kind not in kinds:
        need = "floating point in [-1, 1] (int16 samples / 32768)" if dtype is np.float32 else "integers [B, K, F]"
        raise ValueError(f"{what} must be {need}; got {array.dtype} {list(array.shape)}")
    return torch.from_numpy(np.array(array, dtype=dtype))  # a copy: whatever its strides and byte order were


def describe(x: Tensor) -> str:
    """Type and shape, for an error.

    >>> describe(torch.zeros(2, 1, 320))
    'float32 [2, 1, 320]'
    """
    return f"{x.dtype} {list(x.shape)}".removeprefix("torch.")
