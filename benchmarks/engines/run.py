"""All that `python -m benchmarks.engines` does, in one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.engines import report
from benchmarks.engines.agreement import agreement, clips, look_aheads, windows
from benchmarks.engines.codecs import candidates
from benchmarks.engines.length import length_costs
from benchmarks.engines.measure import conditions, flops_per_second, peak_flops, timings

COUNTED = {
    "xcodec-mini exact": ["xcodec-mini exact"],
    "X-Codec transformers": ["X-Codec transformers", "X-Codec exact"],
}
"""Whose operations are counted, and for whom: one network is enough where two compute the same."""
WINDOWS = ((2.0, 0.0), (4.0, 0.0), (4.0, 0.5), (4.0, 1.0), (4.0, 2.0), (10.0, 1.0), (10.0, 4.0))
"""Of the teacher, and its context, in seconds."""
LOOK_AHEADS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, None)


def bench(
    folder: Path,
    names: list[str] | None = None,
    seconds: Sequence[float] = (1, 10, 60),
    batches: Sequence[int] = (1, 8),
    threads: Sequence[int] | None = None,
    repeats: int = 5,
    source: Path | None = None,
    minutes: Sequence[float] = (),
    compare: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> report.Results:
    """Measure, and write the results as it goes.

    Args:
        folder: for `bench.json`, `bench.md` and `bench.png`.
        names: what to compare; all by default.
        seconds: lengths of clips.
        batches: clips at a time.
        threads: numbers of threads; one and all by default.
        repeats: turns of each candidate, after one to warm up.
        source: recordings to compare engines on; noise by default.
        minutes: lengths of files for `encode` and `decode`.
        compare: also the engines' codes and audio, windows and look-ahead.
        say: is told what is being done.

    Raises:
        ValueError: there is nothing of a name.
        OSError: the recordings cannot be read, or the results written.
    """
    threads = threads or sorted({1, os.cpu_count() or 1})
    results = report.Results(report.machine())
    found = candidates(names)
    results.peak_flops = {count: peak_flops(count) for count in threads}
    for each in found:
        if each.name in COUNTED:
            counted = flops_per_second(each)
            results.flops |= dict.fromkeys(COUNTED[each.name], counted)
    for condition in conditions(seconds, batches, threads):
        say(f"{condition.seconds:g} s, batch {condition.batch}, {condition.threads} threads")
        results.timings += timings(found, condition, repeats)
        report.write(results, folder)
    by_name = {each.name: each for each in found}
    for first, second in (
        ("xcodec-mini fast", "xcodec-mini exact"),
        ("X-Codec exact", "X-Codec transformers"),
        ("X-Codec fast", "X-Codec exact"),
    ):
        if compare and first in by_name:
            say(f"agreement of {first} with {second}")
            results.agreements.append(agreement(by_name[first], by_name[second], clips(16_000, source)))
    mini = by_name.get("xcodec-mini exact")
    if compare and mini is not None and mini.codec is not None:
        say("windows and look-ahead")
        results.windows = windows(mini.codec, clips(16_000, source), WINDOWS)
        results.look_aheads = look_aheads(mini.codec, clips(16_000, source), LOOK_AHEADS)
    for length in minutes:
        say(f"files of {length:g} minutes")
        results.lengths += length_costs([length], None)
        report.write(results, folder)
    report.write(results, folder)
    return results
