"""The page: its tabs, and the server that gives them to this machine alone, unless asked."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from typing import Any

from xcodec.app.clips import CORES, LARGEST_BYTES, SAMPLES
from xcodec.generate.codec_io import ASSETS

MODELS = ["xcodec-mini"]
WAITING = 20
"""Jobs that wait for a core, at most."""
KEPT_SECONDS = 1800
"""Of an uploaded file."""


def build(streams: Any, models: list[str]) -> Any:
    """Gradio's Blocks."""
    import gradio as gr

    from xcodec.app import compare, generate, listen, tokens

    with gr.Blocks(title="X-Codec", analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        gr.Markdown("# X-Codec\nA neural audio codec whose tokens carry meaning. Nothing leaves this machine.")
        with gr.Tabs():
            with gr.Tab("Listen", id="listen"):
                listen.tab(models)
            with gr.Tab("Compare", id="compare"):
                compare.tab(models)
            with gr.Tab("Tokens", id="tokens"):
                tokens.tab(models)
            generate.tabs(streams)
    return page.queue(max_size=WAITING, default_concurrency_limit=CORES, api_open=False)


def application(models: list[str]) -> Any:
    """The web application, for any ASGI server."""
    import gradio as gr
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import StreamingResponse

    from xcodec.app.generate import Streams
    from xcodec.app.html import CSS

    streams, app = Streams(), FastAPI(openapi_url=None)

    @app.get("/stream/{key}")
    def stream(key: str) -> StreamingResponse:
        try:
            return StreamingResponse(streams.read(key), media_type="audio/wav")
        except KeyError:
            raise HTTPException(404, "there is no such stream") from None

    theme = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # its own come from elsewhere
    return gr.mount_gradio_app(
        app,
        build(streams, models),
        path="/",
        theme=theme,
        css=CSS,
        max_file_size=LARGEST_BYTES,
        ssr_mode=False,
        footer_links=[],
        allowed_paths=[str(SAMPLES), str(ASSETS)],  # what is offered
        pwa=False,
    )


def serve(host: str, port: int, models: list[str], open_browser: bool = True) -> None:
    """Serve the page until it is interrupted. What was uploaded is gone after that.

    Raises:
        OSError: the address or the port cannot be had.
        ModuleNotFoundError: Gradio is not installed; the command line says how to get it.
    """
    # Before Gradio is imported, which reads them: it asks nobody for a newer version, and counts no visits.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    import torch
    import uvicorn

    try:  # before all that takes long
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; choose others: --host, --port", f"{host}, port {port}") from None
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
    torch.set_num_threads(1)  # a job has a core to itself
    with tempfile.TemporaryDirectory(prefix="xcodec-app-") as scratch:
        os.environ["GRADIO_TEMP_DIR"] = scratch
        app = application(models)
        print(f"{address} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        if open_browser:
            import webbrowser

            webbrowser.open(address)
        # Pages that are open do not keep it from ending.
        uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)).run([listening])
