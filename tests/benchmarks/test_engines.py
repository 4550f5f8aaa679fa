"""The benchmark measures what it says, on tiny codecs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.engines import report, run
from benchmarks.engines.agreement import agreement, look_aheads, windows
from benchmarks.engines.codecs import Candidate, candidates
from benchmarks.engines.measure import Condition, conditions, flops_per_second, noise, timings
from tests.conftest import tiny_codec
from xcodec import Codec, XCodec


def candidate(name: str, model: XCodec) -> Candidate:
    codec = Codec(model)
    return Candidate(name, codec.sample_rate, codec.encode, codec.decode, codec)


def test_every_candidate_takes_its_turn() -> None:
    turns: list[str] = []

    def works(name: str) -> Candidate:
        return Candidate(
            name, 16_000, lambda wav: turns.append(name + "e"), lambda codes: torch.zeros(turns.append(name + "d") or 1)
        )

    found = list(timings([works("a"), works("b")], Condition(1, 1, 1), repeats=2))
    assert turns == ["ae", "ad", "be", "bd"] * 3  # a warm-up and two that count
    assert [(each.name, each.task) for each in found] == [
        ("a", "encode"),
        ("a", "decode"),
        ("b", "encode"),
        ("b", "decode"),
    ]


def test_long_clips_come_one_at_a_time() -> None:
    found = conditions([1, 60], [1, 8], [2])
    assert [(each.seconds, each.batch) for each in found] == [(1, 1), (1, 8), (60, 1)]


def test_operations_are_counted() -> None:
    codec = tiny_codec("spectral", None)
    counted = flops_per_second(candidate("a", codec))
    linear = codec.prior.weight.numel() * 2 * codec.frame_rate
    assert counted["encode"] > linear
    assert counted["decode"] > codec.to_acoustic.weight.numel() * 2 * codec.frame_rate


def test_agreement_is_of_codes_and_audio() -> None:
    codec, other = tiny_codec(teacher=None), tiny_codec(teacher=None)
    wavs = [noise(16_000, 0.5), noise(16_000, 0.7)]
    same = agreement(candidate("a", codec), candidate("b", other), wavs)
    assert (same.equal_codes, same.snr) == ([1.0] * 4, None)
    with torch.no_grad():
        other.to_acoustic.weight.mul_(1.1)
        other.quantizer.first(2)[1].codebook.vectors.mul_(-1)
    different = agreement(candidate("a", codec), candidate("b", other), wavs)
    assert different.equal_codes[0] == 1.0
    assert different.codes == sum(4 * -(-wav.shape[2] // 320) for wav in wavs)
    assert different.different == round(sum(1 - share for share in different.equal_codes) * different.codes / 4)
    assert different.equal_codes[1] < 0.5
    assert different.snr is not None


def test_look_ahead_costs_codes() -> None:
    codec = tiny_codec(teacher="whisper", semantic_gain=30.0)
    found = look_aheads(codec, [noise(16_000, 3.0)], [0.0, None])
    assert [each.name for each in found] == ["0 s, latency 0.46 s", "whole windows, latency 5.26 s"]
    assert min(found[1].equal_codes) > 0.98  # rounding may flip one that is nearly tied
    assert sum(found[0].equal_codes) < 4.0


def test_windows_cost_codes() -> None:
    codec = Codec(tiny_codec(teacher="whisper"))
    found = windows(codec, [noise(16_000, 5.0)], [(20.0, 0.0), (1.0, 0.0)])
    assert found[0].equal_codes == [1.0] * 4
    assert sum(found[1].equal_codes) < 4.0
    assert codec.network.teacher is not None
    assert codec.network.teacher.config.window == 4.0


def test_a_run_writes_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = tiny_codec(teacher="whisper")
    found = [candidate("xcodec-mini exact", codec), candidate("xcodec-mini fast", codec)]
    monkeypatch.setattr(run, "candidates", lambda names: found)
    monkeypatch.setattr(run, "peak_flops", lambda threads: 1e11)
    results = run.bench(tmp_path / "out", seconds=[0.5], batches=[1, 2], threads=[1], repeats=1)
    assert len(results.timings) == 8
    written = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert written["timings"][0]["name"] == "xcodec-mini exact"
    text = (tmp_path / "out" / "bench.md").read_text()
    assert "| xcodec-mini fast | decode | 0.5 s | 2 | 1 |" in text
    assert "xcodec-mini exact against EnCodec 24 kHz" in text
    assert (tmp_path / "out" / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert report.machine()["cores"] >= 1
    assert results.agreements
    bare = run.bench(tmp_path / "bare", seconds=[0.5], batches=[1], threads=[1], repeats=1, compare=False)
    assert (len(bare.timings), bare.agreements, bare.look_aheads) == (4, [], [])


def test_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="EnCodec, DAC, Mimi"):
        candidates(["Opus"])
