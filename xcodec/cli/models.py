"""The subcommands `tokenize`, `train`, `convert` and `export`: how models come to be, and where they go."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from xcodec.cli import AsJson, Bandwidth, Device, Engine, Jobs, Model, Quiet, progress_bar


def tokenize(
    corpus: Annotated[
        Path,
        typer.Argument(metavar="CORPUS", help="A folder, list, manifest, CutSet, Shar folder, tars, or hf:DATASET."),
    ],
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Of the table, or a URL (s3://…); what is in it stays.")
    ],
    bandwidth: Bandwidth = None,
    model: Model = None,
    split: Annotated[str | None, typer.Option(help="Of the corpus: train, valid or test.", show_default="all")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Of the corpus; may be repeated.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Of the corpus; may be repeated.")] = None,
    max_seconds: Annotated[float | None, typer.Option(min=0.1, help="Cut longer clips into pieces.")] = None,
    device: Device = "cpu",
    engine: Engine = "exact",
    jobs: Jobs = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ray[:ADDRESS]",
            help="Encode on a Ray cluster, by --jobs actors at most.",
            show_default="this machine",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do part I of N, from 0/N on.", show_default="RANK/WORLD_SIZE, or SLURM's"),
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Clips per Parquet file.")] = 1000,
    update: Annotated[bool, typer.Option("--update", help="Replace rows that the corpus contradicts.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Turn a corpus into a table of tokens, in Parquet. Run it again to go on where it stopped.

    Example: xcodec tokenize data/open-audio/manifest.jsonl data/tokens --domain speech --jobs 2
    """
    from xcodec.inference.corpus import shard_from
    from xcodec.inference.corpus import tokenize as run

    part = shard_from(shard, os.environ)
    with progress_bar("tokenize", sys.stderr.isatty() and not quiet and not as_json) as progress:
        made = run(
            corpus,
            folder,
            model=model,
            bandwidth=bandwidth,
            split=split,
            domains=domain or (),
            sources=source or (),
            max_seconds=max_seconds,
            engine=engine,
            jobs=jobs,
            cluster=cluster,
            shard=part,
            shard_size=shard_size,
            update=update,
            device=device,
            progress=progress,
        )
    for each in made.skipped:
        print(f"skipped {each.id}: {each.reason}", file=sys.stderr)
    if as_json:
        print(json.dumps({**dataclasses.asdict(made), "skipped": len(made.skipped)}))
    elif not quiet:
        where = f"{folder}, shard {part[0]} of {part[1]}" if part[1] > 1 else folder
        print(f"{where}: {made}; {made.clips} rows in the table", file=sys.stderr)
    raise typer.Exit(int(len(made.skipped) == made.rows > 0))


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file, such as those in configs/.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it, such as optimizer.lr=1e-4.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest intact checkpoint.")] = False,
) -> None:
    """Train a codec, or a language model on its tokens. Checkpoints and logs go to runs/NAME.

    Example: xcodec train configs/xcodec-mini.yaml batch_size=8 --resume

    A language model: xcodec train configs/lm/speech-ar-mini.yaml data.table=data/tokens
    """
    from xcodec.train.config import is_language_model, load_config, read_run

    if is_language_model(config):
        from xcodec.train import lm
        from xcodec.train.config import LMTrainConfig

        lm.run(read_run(config, changes or (), LMTrainConfig), resume)
    else:
        from xcodec.train.codec import run

        run(load_config(config, changes or ()), resume)


def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A name, an official .pth, or a folder (also of a language model)."),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To write; a checkpoint in it is replaced.")],
    file_format: Annotated[
        Literal["xcodec", "transformers"], typer.Option("--format", help="Of the checkpoint to write.")
    ] = "xcodec",
    half: Annotated[
        bool, typer.Option("--half", help="Half precision, and nothing that only training needs: a quarter the size.")
    ] = False,
) -> None:
    """Turn any checkpoint into ours, or into one for transformers (XcodecModel; LlamaForCausalLM of a language model).

    Example: xcodec convert xcodec_hubert_librispeech.pth xcodec-hubert-librispeech
    """
    import torch

    from xcodec.codec.model import XCodec
    from xcodec.lm import checkpoint as lm
    from xcodec.lm.llama import export_llama

    if half and file_format == "transformers":
        raise ValueError("--half is for --format xcodec; transformers has options of its own at loading")
    dtype = torch.float16 if half else None
    match file_format, lm.is_language_model(source):
        case "transformers", True:
            export_llama(lm.load_autoregressive(source), folder)
        case "transformers", False:
            XCodec.from_pretrained(source).save_pretrained(folder, file_format="transformers")
        case _, True:
            lm.save(lm.load(source), folder, dtype)
        case _:
            XCodec.from_pretrained(source).save_pretrained(folder, dtype, statistics=not half)


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name, a folder or an official .pth file.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="To write; an export in it is replaced.")],
    file_format: Annotated[
        Literal["onnx", "openvino", "web"], typer.Option("--format", help="web: graphs with a page that runs them.")
    ] = "onnx",
    runtime: Annotated[
        Path | None, typer.Option(help="web: folder dist of onnxruntime-web.", show_default="npm fetches it, once")
    ] = None,
) -> None:
    """Write teacher, encoder and decoder as graphs that run without PyTorch.

    Example: xcodec export xcodec-mini graphs --format onnx

    A page that encodes and decodes in any browser: xcodec export xcodec-mini page --format web
    """
    from xcodec.codec.model import XCodec
    from xcodec.inference.export import export as write_graphs
    from xcodec.inference.web import export_web

    if file_format == "web":
        export_web(XCodec.from_pretrained(model), folder, runtime)
    else:
        write_graphs(XCodec.from_pretrained(model), folder, file_format)
