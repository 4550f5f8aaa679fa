"""What goes on the page: tables, figures and players, from the files of evaluation runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xcodec import audio
from xcodec.evaluate.report import figures
from xcodec.evaluate.report.tables import Cell, Column, Table, build
from xcodec.evaluate.semantic import STAGES
from xcodec.utils.json_lines import Record, read_lines

CURVES = ("pesq", "estoi", "dnsmos", "speaker", "wer", "wer_original", "log_mel", "stft")
ABX = ("any within", "any across", "triphone within", "triphone across")


@dataclass(frozen=True)
class Player:
    """A clip as decoded by one codec; all are data URLs."""

    label: str
    audio: str
    spectrogram: str
    tokens: str | None
    hypothesis: str | None
    """What the recogniser made of it."""


@dataclass(frozen=True)
class ClipExamples:
    """A clip, by all codecs."""

    title: str
    reference: str | None
    """Its text."""
    players: tuple[Player, ...]


@dataclass(frozen=True)
class Run:
    """The results in a folder."""

    folder: Path
    reconstruction: Record | None
    semantic: Record | None


def read_run(folder: Path) -> Run:
    """The results in a folder.

    Raises:
        ValueError: there are none.
    """
    files = [folder / name for name in ("summary.json", "semantic.json")]
    found = [json.loads(file.read_text("utf-8")) if file.exists() else None for file in files]
    if found == [None, None]:
        raise ValueError(f"{folder} has neither summary.json nor semantic.json; xcodec evaluate makes them")
    return Run(folder, *found)


# --- reconstruction ---------------------------------------------------------------------------------------------------


def reconstruction_tables(summary: Record) -> list[Table]:
    """A table for each domain, and those of codes and costs."""
    labels = [codec["label"] for codec in summary["codecs"]]
    tables = []
    for domain, count in summary["clips"].items():
        columns, paired = [], {}
        for name, measure in summary["measures"].items():
            cells = {
                codec["label"]: _cell(codec["domains"][domain]["measures"].get(name))
                for codec in summary["codecs"]
                if domain in codec["domains"]
            }
            if name in ("encode_speed", "decode_speed") or not any(cell != Cell() for cell in cells.values()):
                continue  # speeds are measured in a process of their own
            column = Column(
                measure["title"], "neither" if name == "kbps" else measure["better"], measure["unit"], cells
            )
            columns.append(column)
            paired[column.title] = summary["paired"].get(domain, {}).get(name, [])
        title = f"{domain.capitalize()}: {count} clip{'s' * (count != 1)}"
        tables.append(build(title, labels, columns, paired))
    return [*tables, *_codes_table(summary["codecs"]), *_cost_table(summary["codecs"])]


def _cell(found: Record | None) -> Cell:
    if found is None:
        return Cell()
    undefined = found.get("undefined", 0)
    note = f"({undefined} undefined)" if undefined else ""
    return Cell(found.get("mean"), found.get("low"), found.get("high"), note=note)


def _codes_table(codecs: Sequence[Record]) -> list[Table]:
    own = [codec for codec in codecs if "codes" in codec]
    if not own:
        return []

    def column(title: str, unit: str, better: str, value: object) -> Column:
        return Column(title, better, unit, {codec["label"]: Cell(value(codec)) for codec in own})  # type: ignore[operator]

    columns = [
        column("nominal", "kbps", "neither", lambda codec: codec["kbps"]),
        column("entropy of single codes", "kbps", "neither", lambda codec: codec["codes"]["entropy_kbps"]),
        column("codebook 1 used", "%", "higher", lambda codec: 100 * codec["codes"]["usage"][0]),
        column("all codebooks used", "%", "higher", lambda codec: 100 * float(np.mean(codec["codes"]["usage"]))),
        column("codebook 1: entropy", "bit", "neither", lambda codec: codec["codes"]["entropy"][0]),
        column("given the code before", "bit", "neither", lambda codec: codec["codes"]["bigram_entropy"][0]),
        column("codebook 1: repeated", "%", "neither", lambda codec: 100 * codec["codes"]["repetition"][0]),
        column("frames", "", "neither", lambda codec: codec["codes"]["frames"]),
    ]
    note = "Entropy and usage come out too low where there are few frames for the entries of a codebook."
    return [build("Codes", [codec["label"] for codec in own], columns, note=note)]


def _cost_table(codecs: Sequence[Record]) -> list[Table]:
    own = {codec["label"]: codec["cost"] for codec in codecs if "cost" in codec}
    if not own:
        return []
    columns = [
        Column(title, better, unit, {label: Cell(cost[name]) for label, cost in own.items()})
        for title, better, unit, name in (
            ("encoding", "higher", "× real time", "encode_speed"),
            ("decoding", "higher", "× real time", "decode_speed"),
            ("loading", "lower", "s", "load_seconds"),
            ("peak memory", "lower", "MB", "peak_mb"),
            ("of it Python and libraries", "neither", "MB", "base_mb"),
        )
    ]
    note = "In a process of its own, the median of three clips; whatever else the machine does slows it down."
    return [build("Cost, one thread", list(own), columns, note=note)]


def rate_curves(summary: Record) -> list[tuple[str, str]]:
    """Name and address of each curve."""
    found = []
    for domain in summary["clips"]:
        for name in CURVES:
            if name not in summary["measures"]:
                continue
            points, anchor = [], None
            for codec in summary["codecs"]:
                cells = codec["domains"].get(domain, {}).get("measures", {})
                cell = cells.get(name, {})
                if "mean" not in cell:
                    continue
                if "kbps" not in cells:
                    anchor = cell["mean"]
                    continue
                points.append(
                    figures.Point(codec["label"], cells["kbps"]["mean"], cell["mean"], cell["low"], cell["high"])
                )
            if len(points) > 1:
                measure = summary["measures"][name]
                unit = f" ({measure['unit']})" if measure["unit"] else ""
                arrow = {"higher": "↑", "lower": "↓"}[measure["better"]]
                title = f"{domain}: {measure['title']}{unit} {arrow}"
                found.append((title, figures.rate_curve(title, points, anchor)))
    return found


def examples(run: Run, count: int, muted: Sequence[str]) -> list[ClipExamples]:
    """The clips whose audio was kept, `count` of each domain and none of muted sources, by codec."""
    assert run.reconstruction is not None
    sizes = {codec["label"]: codec.get("codes", {}).get("codebook_size") for codec in run.reconstruction["codecs"]}
    identities = {codec["identity"] for codec in run.reconstruction["codecs"]}
    lines = [line for line in read_lines(run.folder / "clips.jsonl") if line["kept"] and line["identity"] in identities]
    lines = [line for line in lines if line["source"] not in muted]
    found = []
    for domain in dict.fromkeys(line["domain"] for line in lines):
        names = list(dict.fromkeys(line["clip"] for line in lines if line["domain"] == domain))
        for name in sorted(names)[:count]:
            own = {line["codec"]: line for line in lines if line["clip"] == name}
            players = tuple(_player(run.folder, own[label], sizes[label]) for label in sizes if label in own)
            reference = next((line["reference"] for line in own.values() if "reference" in line), None)
            found.append(ClipExamples(f"{domain}: {name}", reference, players))
    return found


def _player(folder: Path, line: Record, codebook_size: int | None) -> Player:
    file = folder / "clips" / line["codec"] / f"{line['key']}.flac"
    signal = audio.read(file)[0][0]
    codes = file.with_suffix(".npy")
    return Player(
        line["codec"],
        figures.data_address(file.read_bytes(), "audio/flac"),
        figures.spectrogram_png(signal),
        figures.token_png(np.load(codes), codebook_size) if codebook_size and codes.exists() else None,
        line.get("hypothesis"),
    )


# --- semantic ---------------------------------------------------------------------------------------------------------


def semantic_tables(semantic: Record) -> list[Table]:
    """ABX, phones, language model, stability and probes."""
    codecs = semantic["codecs"]
    labels = [codec["label"] for codec in codecs]
    tables = []
    for kind in ABX:
        columns = [
            Column(
                stage,
                "lower",
                "%",
                {
                    codec["label"]: Cell(codec[key]["error"])
                    for codec in codecs
                    if (key := f"abx {kind}: {stage}") in codec
                },
            )
            for stage in STAGES
        ]
        triples = [codec[key]["triples"] for codec in codecs for key in codec if key.startswith(f"abx {kind}:")]
        if triples:
            note = f"{max(triples):,} triples. Chance is 50 %."
            tables.append(
                build(
                    f"ABX errors, {_abx_name(kind)}", labels, [column for column in columns if column.values], note=note
                )
            )
    tables.append(_named_table("Phones and codebook 1", codecs, "phones", PHONES))
    tables.append(_language_model_table(codecs))
    tables.append(_stability_table(codecs))
    tables.append(_probe_table(codecs))
    return [table for table in tables if table.columns]


PHONES = (
    ("phone purity", "phone_purity", "higher"),
    ("cluster purity", "cluster_purity", "higher"),
    ("mutual information", "mutual_information", "higher"),
    ("frames", "frames", "neither"),
)


def _abx_name(kind: str) -> str:
    context, speakers = kind.split()
    return f"{'any context' if context == 'any' else 'same triphone context'}, {speakers} speakers"


def _named_table(title: str, codecs: Sequence[Record], key: str, names: Sequence[tuple[str, str, str]]) -> Table:
    own = [codec for codec in codecs if key in codec]
    columns = [
        Column(heading, better, "", {codec["label"]: Cell(codec[key][name]) for codec in own})
        for heading, name, better in names
    ]
    return build(title, [codec["label"] for codec in own], columns if own else [])


def _language_model_table(codecs: Sequence[Record]) -> Table:
    own = [codec for codec in codecs if "language_model" in codec]
    codebooks = max((len(codec["language_model"]["perplexity"]) for codec in own), default=0)
    columns = [
        Column(
            f"perplexity {k + 1}",
            "lower",
            "",
            {
                codec["label"]: Cell(codec["language_model"]["perplexity"][k])
                for codec in own
                if k < len(codec["language_model"]["perplexity"])
            },
        )
        for k in range(codebooks)
    ]
    bits = {codec["label"]: Cell(codec["language_model"]["bits_per_second"] / 1000) for codec in own}
    columns.append(Column("all", "neither", "kbps", bits))
    note = "The same network, trained for the same number of steps on each codec's tokens of these clips."
    return build(
        "A small language model, per codebook", [codec["label"] for codec in own], columns if own else [], note=note
    )


def _stability_table(codecs: Sequence[Record]) -> Table:
    own = [codec for codec in codecs if "stability" in codec]
    columns = [
        Column(f"{change}: {title}", better, "%", {c["label"]: Cell(c["stability"][change][name]) for c in own})
        for change in (own[0]["stability"] if own else ())
        for title, name, better in (("first codes kept", "kept_first", "higher"), ("edits", "edit_distance", "lower"))
    ]
    return build("Stability of tokens", [codec["label"] for codec in own], columns)


def _probe_table(codecs: Sequence[Record]) -> Table:
    keys = list(dict.fromkeys(key for codec in codecs for key in codec if key.startswith("probe ")))
    columns, chances = [], []
    for key in keys:
        own = [codec for codec in codecs if key in codec]
        cells = {codec["label"]: Cell(codec[key]["accuracy"]) for codec in own}
        columns.append(Column(key.removeprefix("probe "), "higher", "%", cells))
        first = own[0][key]
        chances.append(f"{key.removeprefix('probe ')}: {first['chance']:.0f} % of {first['classes']} classes")
    note = f"Always saying the commonest class gets: {'; '.join(chances)}." if chances else ""
    return build("Linear probes: accuracy", [codec["label"] for codec in codecs], columns, note=note)


def abx_bars(semantic: Record) -> list[tuple[str, str]]:
    """Name and address of the figure of each kind of ABX."""
    found = []
    for kind in ABX:
        series = {
            codec["label"]: [codec.get(f"abx {kind}: {stage}", {}).get("error") for stage in STAGES]
            for codec in semantic["codecs"]
        }
        if any(value is not None for values in series.values() for value in values):
            title = f"ABX errors, {_abx_name(kind)} ↓"
            found.append((title, figures.bars(title, "%", STAGES, series)))
    return found


def missing_notes(semantic: Record) -> list[str]:
    """What could not be measured, and why: a sentence for each codec."""
    notes = []
    for codec in semantic["codecs"]:
        by_reason: dict[str, list[str]] = {}
        for name, reason in codec["missing"].items():
            # The same at several points of the codec, and the same reason with other counts of items, is said once.
            measure, _, point = name.partition(": ")
            by_reason.setdefault(reason, []).append(name if measure == "abx" or not point else measure)
        said = "; ".join(f"{', '.join(dict.fromkeys(names))} ({reason})" for reason, names in by_reason.items())
        if said:
            notes.append(f"Not measured for {codec['label']}: {said}.")
    return notes
