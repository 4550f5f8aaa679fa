"""`xcodec evaluate report`: one HTML page that holds everything, and its tables as Markdown and CSV.

`tables.py` says what a table is, `content.py` what goes on the page, `page.html.j2` how it looks; `figures.py` draws.
The page has no script and fetches nothing; its own security policy forbids it to.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xcodec.evaluate.report import content
from xcodec.evaluate.report.tables import Table, to_csv, to_markdown
from xcodec.utils.files import atomic_write

TEMPLATE = Path(__file__).with_name("page.html.j2")


def write_report(
    folders: Sequence[Path], out: Path, title: str, clips: int = 2, muted: Sequence[str] = ()
) -> list[Path]:
    """Make the page, and beside it `.md` and `.csv` of the same name.

    Args:
        folders: of `xcodec evaluate reconstruction` or `semantic`.
        out: the page, `.html`.
        title: its heading.
        clips: of each domain, so many are there to listen to, of those whose audio was kept.
        muted: sources whose audio is left out, because their licence does not let it be published.

    Raises:
        ValueError: a folder without results, or another suffix.
    """
    import jinja2

    if out.suffix != ".html":
        raise ValueError(f"{out}: the report is HTML; name it so, and .md and .csv are written beside it")
    runs = [content.read_run(folder) for folder in folders]
    tables: list[Table] = []
    figures: list[tuple[str, str]] = []
    examples: list[content.ClipExamples] = []
    method: list[tuple[str, str]] = []
    introduction: list[str] = []
    for run in runs:
        if run.reconstruction is not None:
            summary = run.reconstruction
            tables += content.reconstruction_tables(summary)
            figures += content.rate_curves(summary)
            examples += content.examples(run, clips, muted)
            counts = ", ".join(f"{count} of {domain}" for domain, count in summary["clips"].items())
            introduction.append(f"Reconstruction: {counts}; {summary['seconds']:.0f} s of audio, measured at 16 kHz.")
            method += [(each["title"], each["backend"]) for each in summary["measures"].values()]
            method += [
                (f"{summary['measures'][name]['title']} undefined", f"{count} times: {reason}")
                for name, reasons in summary.get("undefined", {}).items()
                for reason, count in reasons.items()
            ]
            method += [(codec["label"], codec["identity"]) for codec in summary["codecs"]]
        if run.semantic is not None:
            semantic = run.semantic
            tables += content.semantic_tables(semantic)
            figures += content.abx_bars(semantic)
            introduction.append(
                f"Tokens: {semantic['clips']} clips, {semantic['seconds']:.0f} s; {semantic['aligned']} of them with "
                f"{semantic['phones']} phones by {_speakers(semantic['speakers'])}, aligned by {semantic['alignment']}."
            )
            introduction += content.missing_notes(semantic)
            method += [("not aligned", f"{count}: {reason}") for reason, count in semantic["not_aligned"].items()]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    page = environment.from_string(TEMPLATE.read_text("utf-8")).render(
        title=title, introduction=introduction, tables=tables, figures=figures, clips=examples, method=method
    )
    markdown = f"# {title}\n\n" + "\n\n".join(introduction) + "\n\n" + to_markdown(tables)
    written = [out, out.with_suffix(".md"), out.with_suffix(".csv")]
    for path, text in zip(written, (page, markdown, to_csv(tables)), strict=True):
        with atomic_write(path) as temporary:
            temporary.write_text(text, "utf-8")
    return written


def _speakers(speakers: Sequence[str]) -> str:
    """How many there are, and who: what is measured across speakers rests on it."""
    count = f"{len(speakers)} speaker{'s' * (len(speakers) != 1)}"
    return f"{count} ({', '.join(speakers)})" if speakers else count
