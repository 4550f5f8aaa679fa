"""Where a checkpoint is: inside the package, on this disk, or on the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from xcodec.storage import CONFIG, WEIGHTS, WEIGHTS_INDEX, CheckpointError

SHIPPED = "xcodec-mini"
SHIPPED_FOLDER = Path(__file__).parents[2] / "assets" / SHIPPED

# The official models, as hub repositories that hold safetensors and no pickle.
OFFICIAL = {
    name: f"hf-audio/{name}"
    for name in (
        "xcodec-hubert-librispeech",
        "xcodec-wavlm-mls",
        "xcodec-wavlm-more-data",
        "xcodec-hubert-general",
        "xcodec-hubert-general-balanced",
    )
}
RELEASE_REPOSITORY = "ZhenYe234/xcodec"


def locate(source: str | os.PathLike[str] | None) -> Path:
    """The file or folder that a source names, downloaded if need be.

    Raises:
        CheckpointError: there is no such thing, or it can be neither downloaded nor found in the cache.
    """
    if source is None or (source == SHIPPED and not Path(SHIPPED).exists()):
        if not SHIPPED_FOLDER.exists():
            raise CheckpointError(f"this installation has lost its model: there is no {SHIPPED_FOLDER}")
        return SHIPPED_FOLDER
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = str(source)
    if name == RELEASE_REPOSITORY:
        raise CheckpointError(f"{name} holds several models; name one of {', '.join(OFFICIAL)}")
    repository = OFFICIAL.get(name, name)
    if isinstance(source, str) and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository):
        return _download(repository)
    known = ", ".join([SHIPPED, *OFFICIAL])
    raise CheckpointError(f"there is no file or folder {name}, nor a model of that name; known: {known}")


def short_name(source: str | os.PathLike[str]) -> str:
    """What to call a model whose checkpoint does not say: the last part of where it came from.

    Cut to the 31 bytes that a file of codes has for it.

    >>> short_name("hf-audio/xcodec-wavlm-mls")
    'xcodec-wavlm-mls'
    >>> short_name("old/xcodec_speech_hubert_librispeech.pth")
    'xcodec_speech_hubert_librispeec'
    """
    name = Path(source).expanduser().absolute().name.removesuffix(".pth")
    return name.encode()[:31].decode(errors="ignore") or "xcodec"


def _download(repository: str) -> Path:
    """The folder of a hub repository, with safetensors if there are any, or else with what the release's format has."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for patterns in ([CONFIG, WEIGHTS_INDEX, "model*.safetensors"], ["*.pth", "*.yaml", "*.yml"]):
        try:
            folder = Path(snapshot_download(repository, allow_patterns=patterns))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise CheckpointError(
                f"{repository} is no file or folder here, is not in the hub's cache, and cannot be downloaded "
                f"({type(error).__name__})"
            ) from error
        if (folder / WEIGHTS).exists() or (folder / WEIGHTS_INDEX).exists():
            break
    return folder
