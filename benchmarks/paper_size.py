"""Which way of running the three large networks of the paper's codec is fastest here, and what it costs to start.

    python benchmarks/paper_size.py [--seconds 2] [--repeats 3] [--ways plain exact …] [--parts decoder …]

The networks have random weights. Every way takes its turn before any takes its second; medians. `start` is what has to
be done before the first second of sound: conversion and compilation. SNR is against the network in float64. Ways:
`plain` (PyTorch, weight norms multiplied out), `exact` and `fast` (the engines' kernels), `bfloat16` (PyTorch),
`compile` (`torch.compile`), `openvino` (float32), `onnxruntime` (float32).
"""

from __future__ import annotations

import argparse
import copy
import io
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xcodec.codec.config import DacConfig, TeacherConfig
from xcodec.codec.dac import DacDecoder, DacEncoder
from xcodec.codec.semantic import Teacher
from xcodec.engine.dac import KernelDac
from xcodec.engine.exact import without_weight_norms
from xcodec.engine.semantic import replace_layers

STRIDES = (8, 5, 4, 2)
WAYS = ("plain", "exact", "fast", "bfloat16", "compile", "openvino", "onnxruntime")
Runner = Callable[[Tensor], Any]


class WholeTeacher(nn.Module):
    """The teacher as a network of one input and one output."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, wav: Tensor) -> Tensor:
        """[B, 1, F × 320] -> [B, D, F]."""
        return self.teacher(wav, wav.shape[2] // 320, windowed=False)


def parts(seconds: float) -> dict[str, tuple[nn.Module, Tensor]]:
    """Each network and what it is given."""
    torch.manual_seed(0)
    frames = round(seconds * 50)
    wav = 0.1 * torch.randn(1, 1, 320 * frames)
    made = {
        "encoder": (DacEncoder(DacConfig(), STRIDES), wav),
        "decoder": (DacDecoder(DacConfig(), STRIDES), torch.randn(1, 256, frames)),
        "teacher": (WholeTeacher(Teacher(TeacherConfig(), 16_000)), wav),
    }
    for network, _ in made.values():
        without_weight_norms(network.eval().requires_grad_(False))
    return made


def runner(way: str, network: nn.Module, given: Tensor) -> Runner | None:
    """The network, ready to run in that way; None where it does not apply."""
    network = copy.deepcopy(network)
    if way in ("exact", "fast"):
        if isinstance(network, DacEncoder | DacDecoder):
            return KernelDac(network, winograd=way == "fast")
        if way == "exact":
            return None
        replace_layers(network.teacher)
        return network
    if way == "bfloat16":
        network.bfloat16()
        return lambda x: network(x.bfloat16()).float()
    if way == "compile":
        return torch.compile(network, dynamic=True)
    if way == "openvino":
        import openvino

        model = openvino.convert_model(network, example_input=given)
        compiled = openvino.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            },
        )
        return lambda x: compiled([x.numpy()])[0]
    if way == "onnxruntime":
        import onnxruntime

        file = io.BytesIO()
        torch.onnx.export(network, (given,), file, dynamo=False, input_names=["x"], dynamic_axes={"x": {2: "length"}})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"x": x.numpy()})[0]
    return network


def snr(reference: Tensor, other: Any) -> float:
    """In dB."""
    error = reference - torch.from_numpy(np.asarray(other)).double()
    return float(10 * torch.log10(reference.square().sum() / error.square().sum()))


@torch.no_grad()
def main() -> None:
    """Measure, and print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--parts", nargs="+", choices=("encoder", "decoder", "teacher"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    print(f"{options.seconds:g} s, {options.threads} threads")
    print("| network | way | start | wall s/s | processor s/s | × plain | SNR |\n|---|---|---|---|---|---|---|")
    for name, (network, given) in parts(options.seconds).items():
        if options.parts and name not in options.parts:
            continue
        expected, runners, starts = copy.deepcopy(network).double()(given.double()), {}, {}
        for way in options.ways:
            begin = time.perf_counter()
            made = runner(way, network, given)
            if made is not None:
                runners[way] = made, snr(expected, made(given))
                starts[way] = time.perf_counter() - begin
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in runners}
        for _ in range(options.repeats):
            for way, (made, _) in runners.items():
                wall, processor = time.perf_counter(), time.process_time()
                made(given)
                taken[way].append((time.perf_counter() - wall, time.process_time() - processor))
        medians = {
            way: [statistics.median(t) / options.seconds for t in zip(*taken[way], strict=True)] for way in taken
        }
        for way, (wall, processor) in medians.items():
            ratio = f"{medians['plain'][0] / wall:.2f}" if "plain" in medians else ""
            print(
                f"| {name} | {way} | {starts[way]:.1f} s | {wall:.3f} | {processor:.3f} | {ratio} | "
                f"{runners[way][1]:.0f} dB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
