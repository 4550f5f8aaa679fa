"""Checkpoints: from four sources through one reader; named errors; nothing half written, nothing run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

import xcodec
from tests.codec.test_parity import GOLDEN, golden_rule, write_release
from tests.conftest import TEACHERS, tiny_config
from xcodec.codec import checkpoint as sources
from xcodec.codec.config import QuantizerConfig, SemanticConfig, TeacherConfig
from xcodec.codec.model import XCodec
from xcodec.utils.checkpoint_io import CheckpointError
from xcodec.utils.files import NotReplaceableError

KINDS: dict[str, dict[str, Any]] = {
    "paper": {"acoustic": "dac", "teacher": "hubert"},
    "wavlm": {"acoustic": "dac", "teacher": "wavlm"},
    "mini": {"acoustic": "spectral", "teacher": "whisper"},
    "baseline": {"acoustic": "dac", "teacher": None},
}


def untrained(acoustic: str = "spectral", teacher: str | None = "hubert", **changes: Any) -> XCodec:
    """A tiny codec with random weights and codebooks, sooner made than one whose codebooks fit its latents."""
    codec = XCodec(tiny_config(acoustic, teacher, **changes)).eval()
    for level in codec.quantizer.levels:
        level.codebook.vectors.normal_()
        level.codebook.usage.fill_(2)
        level.codebook.sums.copy_(2 * level.codebook.vectors)
        level.codebook.updates.fill_(9)
    return codec


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def error_of(source: Path | str | None) -> str:
    """The one line that says why something cannot be loaded."""
    with pytest.raises(CheckpointError) as caught:
        XCodec.from_pretrained(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- ours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(KINDS))
def test_save_and_load_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    codec = untrained(**KINDS[kind])
    codec.save_pretrained(tmp_path / "model")
    loaded = XCodec.from_pretrained(tmp_path / "model")
    assert loaded.config == codec.config
    assert not loaded.training
    expected = codec.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name]), name
    assert loaded.fingerprint.weights == codec.fingerprint.weights
    wav = torch.randn(1, 1, 1600)
    assert torch.equal(loaded.encode(wav), codec.encode(wav))


def test_either_file_of_the_folder_may_be_named(tmp_path: Path, codec: XCodec) -> None:
    codec.save_pretrained(tmp_path)
    for name in ("config.json", "model.safetensors"):
        assert XCodec.from_pretrained(tmp_path / name).config == codec.config


def test_loading_takes_no_random_numbers_and_can_be_trained_on(tmp_path: Path, codec: XCodec) -> None:
    codec.save_pretrained(tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with torch.inference_mode():
        loaded = XCodec.from_pretrained(tmp_path)
    assert torch.equal(torch.rand(4), expected)
    loaded.train()
    loaded(torch.randn(2, 1, 3200), torch.tensor([4, 4])).audio.square().mean().backward()
    assert loaded.prior.weight.grad is not None


def test_half_precision_is_stored_and_single_is_loaded(tmp_path: Path) -> None:
    codec = untrained("spectral", "whisper")
    codec.save_pretrained(tmp_path / "whole")
    codec.save_pretrained(tmp_path / "half", dtype=torch.float16)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for name, tensor in stored.items() if not name.endswith("updates")} == {torch.float16}
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = XCodec.from_pretrained(tmp_path / "half")
    for name, tensor in codec.state_dict().items():
        assert loaded.state_dict()[name].dtype == tensor.dtype
        assert torch.equal(loaded.state_dict()[name], tensor.to(torch.float16).to(tensor.dtype)), name
    loaded.save_pretrained(tmp_path / "again", dtype=torch.float16)
    again = XCodec.from_pretrained(tmp_path / "again")
    assert again.fingerprint.weights == loaded.fingerprint.weights != codec.fingerprint.weights


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    codec = untrained()
    with torch.no_grad():
        codec.prior.bias[0] = 1e6
    with pytest.raises(CheckpointError, match=r"prior.bias overflows float16"):
        codec.save_pretrained(tmp_path / "half", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_statistics_may_be_left_out(tmp_path: Path, codec: XCodec) -> None:
    codec.save_pretrained(tmp_path, statistics=False)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if name.endswith(("usage", "sums"))]
    loaded = XCodec.from_pretrained(tmp_path)
    assert loaded.fingerprint.weights == codec.fingerprint.weights
    for level in loaded.quantizer.levels:
        assert torch.equal(level.codebook.sums, level.codebook.vectors)
        assert torch.equal(level.codebook.usage, torch.ones(64))
        assert level.codebook.sums.data_ptr() != level.codebook.vectors.data_ptr()
        assert level.codebook.updates > 0


def test_half_of_the_statistics_is_an_error(tmp_path: Path, codec: XCodec) -> None:
    codec.save_pretrained(tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.pop("quantizer.levels.2.codebook.sums"))
    assert "missing: quantizer.levels.2.codebook.sums" in error_of(tmp_path)


def test_every_tensor_that_does_not_fit_is_named(tmp_path: Path, codec: XCodec) -> None:
    codec.save_pretrained(tmp_path)

    def damage(tensors: dict[str, Tensor]) -> None:
        del tensors["prior.bias"]
        tensors["prior.weight"] = tensors["prior.weight"][1:].contiguous()
        tensors["stranger"] = torch.zeros(2)

    change_tensors(tmp_path, damage)
    message = error_of(tmp_path)
    assert "missing: prior.bias" in message
    assert "misshapen: prior.weight [23, 24] for [24, 24]" in message
    assert "unknown: stranger" in message

    change_tensors(tmp_path, lambda tensors: [tensors.pop(name) for name in list(tensors) if "teacher" in name])
    assert " more" in error_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "config.json is not JSON"),
        ("[1]", "holds no JSON object, but a list"),
        ('{"format_version": 7}', "format version 7; this release of xcodec reads 1"),
        ('{"format_version": 1, "stride": [2]}', "unknown config field stride"),
        ('{"model_type": "encodec"}', "a transformers model of type encodec, not xcodec"),
        ('{"model_type": "xcodec", "codebook_size": "many"}', "codebook_size"),
        ("\udcff", "config.json is not JSON"),
    ],
)
def test_a_bad_config_is_one_clear_line(text: str, expected: str, tmp_path: Path, codec: XCodec) -> None:
    codec.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text, "utf-8", errors="surrogateescape")
    assert expected in error_of(tmp_path)


def test_a_config_without_version_is_the_first(tmp_path: Path, codec: XCodec) -> None:
    codec.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings.pop("format_version") == 1
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert XCodec.from_pretrained(tmp_path).config == codec.config


def test_damaged_and_missing_weights(tmp_path: Path, codec: XCodec) -> None:
    codec.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:1000], whole[:-1], b"", b"\xff" * 100, whole[:8] + b"[" + whole[9:]):
        weights.write_bytes(damaged)
        assert "model.safetensors is damaged" in error_of(tmp_path)
    weights.unlink()
    assert "no file model.safetensors" in error_of(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"prior.bias": "../secret"}}')
    assert "no file ../secret" in error_of(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert "no weight_map" in error_of(tmp_path)


# --- written whole or not at all --------------------------------------------------------------------------------------


def test_an_interrupted_save_leaves_what_was_there(
    tmp_path: Path, codec: XCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec.save_pretrained(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    def fail(tensors: dict[str, Tensor], path: Path, **_: Any) -> None:
        path.write_bytes(b"half a fi")
        raise KeyboardInterrupt

    monkeypatch.setattr("xcodec.utils.checkpoint_io.save_file", fail)
    for name in ("model", "new"):
        with pytest.raises(KeyboardInterrupt):
            untrained().save_pretrained(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_a_save_that_cannot_take_its_place_leaves_what_was_there(
    tmp_path: Path, codec: XCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec.save_pretrained(tmp_path / "model")
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if Path(source).name == "fresh":
            raise OSError("the disk is gone")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        untrained().save_pretrained(tmp_path / "model")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert XCodec.from_pretrained(tmp_path / "model").fingerprint.weights == codec.fingerprint.weights


def test_a_checkpoint_is_replaced_and_anything_else_is_kept(tmp_path: Path, codec: XCodec) -> None:
    other = untrained()
    codec.save_pretrained(tmp_path / "a" / "b")
    other.save_pretrained(tmp_path / "a" / "b")
    assert XCodec.from_pretrained(tmp_path / "a" / "b").fingerprint.weights == other.fingerprint.weights
    (tmp_path / "a" / "b" / "diary.txt").write_text("dear diary")
    with pytest.raises(NotReplaceableError, match=r"holds other things \(diary.txt\)"):
        codec.save_pretrained(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotReplaceableError, match="is a file"):
        codec.save_pretrained(tmp_path / "file")


def test_what_is_published_can_be_loaded(tmp_path: Path, codec: XCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a hub that is a folder here."""

    class Hub:
        def __init__(self, token: str | None) -> None:
            assert token == "secret"

        def create_repo(self, repository: str, exist_ok: bool, private: bool) -> None:
            assert exist_ok
            assert private
            (tmp_path / repository).mkdir(parents=True)

        def upload_folder(self, repo_id: str, folder_path: str) -> Any:
            shutil.copytree(folder_path, tmp_path / repo_id, dirs_exist_ok=True)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}")

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    where = codec.push_to_hub("someone/theirs", torch.float16, private=True, token="secret")
    assert where == "https://hub/someone/theirs"
    published = {path.name for path in (tmp_path / "someone" / "theirs").iterdir()}
    assert published == {
        "README.md",
        "config.json",
        "model.safetensors",
        "modeling_xcodec.py",
        "preprocessor_config.json",
    }
    assert XCodec.from_pretrained(tmp_path / "someone" / "theirs").config == codec.config


def test_whoever_may_read_the_config_may_read_the_weights(tmp_path: Path, codec: XCodec) -> None:
    codec.save_pretrained(tmp_path)
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


# --- the hash ---------------------------------------------------------------------------------------------------------


def test_the_hash_follows_what_makes_codes_and_audio_and_nothing_else() -> None:
    codec = untrained("dac", "hubert")
    first = codec.fingerprint.weights
    assert len(bytes.fromhex(first)) == 8
    with torch.no_grad():
        codec.quantizer.levels[0].codebook.usage += 1
        codec.quantizer.levels[0].codebook.sums += 1
        codec.quantizer.levels[0].codebook.updates += 1
        codec.to_semantic.bias += 1
        codec.semantic_decoder.last.weight += 1
    assert codec.fingerprint.weights == first
    seen = {first}
    for tensor in (
        codec.acoustic_encoder.layers[0].bias,
        codec.acoustic_decoder.layers[6].bias,
        codec.semantic_encoder.first.weight,
        codec.quantizer.levels[3].codebook.vectors,
        next(codec.teacher.parameters()),
        codec.prior.weight,
        codec.to_acoustic.weight,
    ):
        with torch.no_grad():
            tensor.view(-1)[0] += 0.5
        seen.add(codec.fingerprint.weights)
    assert len(seen) == 8


def test_a_decoder_that_has_been_trained_on_leaves_the_hash_of_the_tokens_as_it_was() -> None:
    codec = untrained("dac", "hubert")
    first, whole = codec.fingerprint.tokens, codec.fingerprint.weights
    with torch.no_grad():
        codec.to_acoustic.weight += 1
        codec.acoustic_decoder.layers[6].bias += 1
    assert codec.fingerprint.tokens == first
    assert codec.fingerprint.weights != whole
    seen = {first}
    for tensor in (
        codec.acoustic_encoder.layers[0].bias,
        codec.semantic_encoder.first.weight,
        codec.quantizer.levels[3].codebook.vectors,
        next(codec.teacher.parameters()),
        codec.prior.bias,
    ):
        with torch.no_grad():
            tensor.view(-1)[0] += 0.5
        seen.add(codec.fingerprint.tokens)
    assert len(seen) == 6


# --- where a checkpoint is --------------------------------------------------------------------------------------------


def test_without_a_source_it_is_the_model_in_the_package(
    tmp_path: Path, codec: XCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SHIPPED_FOLDER", tmp_path / "shipped")
    assert "this installation has lost its model" in error_of(None)
    codec.save_pretrained(tmp_path / "shipped")
    for source in (None, "xcodec-mini"):
        assert xcodec.load(source).fingerprint.weights == codec.fingerprint.weights


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A hub cache that is offline; called with a repository's name, it gives the folder of its only commit."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def commit(repository: str) -> Path:
        folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0f3a")
        (folder / "snapshots").mkdir()
        return folder / "snapshots" / "0f3a"

    return commit


def test_a_hub_name_is_found_in_the_cache(hub: Callable[[str], Path]) -> None:
    codec = untrained("dac")
    codec.save_pretrained(hub("hf-audio/xcodec-wavlm-mls"), file_format="transformers")
    codec.save_pretrained(hub("someone/their-codec"))
    official = XCodec.from_pretrained("xcodec-wavlm-mls")
    assert official.config.name == "xcodec-wavlm-mls"
    assert official.fingerprint.weights == XCodec.from_pretrained("hf-audio/xcodec-wavlm-mls").fingerprint.weights
    assert XCodec.from_pretrained("someone/their-codec").fingerprint.weights == codec.fingerprint.weights


def test_a_hub_name_that_is_not_in_the_cache(hub: Callable[[str], Path]) -> None:
    for name in ("xcodec-hubert-general", "someone/absent"):
        assert f"{name} is no file or folder here, is not in the hub's cache" in error_of(name)
    assert "name one of xcodec-hubert-librispeech" in error_of("ZhenYe234/xcodec")


def test_names_that_are_nothing(tmp_path: Path) -> None:
    assert "there is no file or folder xcodec-tiny, nor a model" in error_of("xcodec-tiny")
    assert "known: xcodec-mini, xcodec-hubert-librispeech" in error_of(tmp_path / "absent")
    assert "has no checkpoint: neither a config.json nor a .pth" in error_of(tmp_path)
    (tmp_path / "speech.wav").write_text("")
    assert "speech.wav is no checkpoint" in error_of(tmp_path / "speech.wav")


# --- transformers -----------------------------------------------------------------------------------------------------


def test_tensors_of_transformers_are_named_as_it_names_them(tmp_path: Path) -> None:
    untrained("dac").save_pretrained(tmp_path, file_format="transformers")

    def damage(tensors: dict[str, Tensor]) -> None:
        del tensors["quantizer.quantizers.1.codebook.inited"]
        del tensors["acoustic_decoder.block.0.conv_t1.weight"]
        del tensors["semantic_model.encoder.pos_conv_embed.conv.parametrizations.weight.original0"]
        tensors["acoustic_encoder.conv1.weight"] = torch.zeros(2, 1, 9)
        tensors["acoustic_encoder.conv3.weight"] = torch.zeros(2)

    change_tensors(tmp_path, damage)
    message = error_of(tmp_path)
    for part in (
        "quantizer.quantizers.1.codebook.inited",
        "acoustic_decoder.block.0.conv_t1.weight",
        "semantic_model.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
        "misshapen: acoustic_encoder.conv1.weight [2, 1, 9] for [2, 1, 7]",
        "unknown: acoustic_encoder.conv3.weight",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"teacher": None}, "without a teacher"),
        ({"acoustic": "spectral"}, "spectral acoustic networks"),
        ({"teacher": "whisper"}, "a Whisper teacher"),
        ({"semantic": SemanticConfig(TeacherConfig(TEACHERS["hubert"].architecture, layers=1))}, "layer 1"),
        ({"semantic": SemanticConfig(TeacherConfig(TEACHERS["hubert"].architecture, window=4))}, "windows of 4 s"),
        ({"semantic": SemanticConfig(TeacherConfig(TEACHERS["hubert"].architecture, padding=0))}, "padding of 0"),
        ({"semantic": SemanticConfig(TEACHERS["hubert"], width=12)}, "12 semantic channels"),
        ({"quantizer": QuantizerConfig(codebooks=4, codebook_size=64, width=20)}, "a quantiser of width 20, only 24"),
        ({"sample_rate": 24000}, "a teacher at 16000 Hz"),
        ({"strides": (8, 5, 4, 4)}, "a teacher of another frame rate"),
        ({"bandwidth_codebooks": (1, 2)}, "these numbers of codebooks"),
    ],
)
def test_what_transformers_cannot_hold_is_named(changes: dict[str, Any], part: str, tmp_path: Path) -> None:
    codec = XCodec(tiny_config(**{"acoustic": "dac", "teacher": "hubert", **changes}))
    with pytest.raises(CheckpointError, match=f"transformers cannot hold.*{part}"):
        codec.save_pretrained(tmp_path / "model", file_format="transformers")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("block_dilations", [1, 3]), ("unit_kernel_size", 5), ("kernel_size", 5), ("strides", [2])],
)
def test_what_ours_cannot_hold_is_named(setting: str, value: Any, tmp_path: Path) -> None:
    untrained("dac").save_pretrained(tmp_path, file_format="transformers")
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, setting: value}))
    assert f"{setting} is {value}, but xcodec has only" in error_of(tmp_path)


def test_branches_that_disagree_on_frames_are_refused(tmp_path: Path) -> None:
    untrained("dac").save_pretrained(tmp_path, file_format="transformers")
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["semantic_model_config"]["conv_stride"][0] = 4
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert "frames to its teacher" in error_of(tmp_path)


# --- the release ------------------------------------------------------------------------------------------------------


def empty_state(kind: str = "hubert") -> dict[str, Tensor]:
    """An official state dict of zeros at full size, which takes no room on the disk."""
    shapes = golden_rule().load_shapes(GOLDEN / f"official_{kind}_state_dict.json")
    return {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}


def test_tensors_of_the_release_are_named_as_it_names_them(tmp_path: Path) -> None:
    state = empty_state()
    del state["encoder.block.3.block.4.weight_v"]
    del state["semantic_model.encoder.pos_conv_embed.conv.parametrizations.weight.original1"]
    state["decoder_2.model.6.bias"] = torch.zeros(2)
    state["fc_post3.weight"] = torch.zeros(2)
    message = error_of(write_release(tmp_path, "hubert", state))
    for part in (
        "encoder.block.3.block.4.weight_v",
        "semantic_model.encoder.pos_conv_embed.conv.parametrizations.weight.original1",
        "misshapen: decoder_2.model.6.bias [2] for [1]",
        "unknown: fc_post3.weight",
    ):
        assert part in message


def test_a_folder_with_one_pair_will_do(tmp_path: Path) -> None:
    write_release(tmp_path, "hubert", {"generator": {"lonely": torch.zeros(1)}})
    assert "unknown: lonely" in error_of(tmp_path)
    write_release(tmp_path, "wavlm", {"lonely": torch.zeros(1)})
    assert "has more than one: xcodec_hubert.pth, xcodec_wavlm.pth" in error_of(tmp_path)


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        (None, "has no YAML config for xcodec_hubert.pth"),
        ("a: [", "cannot read"),
        ("- 1", "no generator.config"),
        ("generator: {name: SoundStream}", "no generator.config"),
        ("generator: {config: {semantic_techer: mert}}", "semantic_techer is 'mert'; known: hubert_base"),
        ("generator: {config: {D: wide}}", "invalid literal"),
        ("generator: {config: {ratios: [8, 0]}}", "config.yaml"),
        ("generator: {config: {ratios: [8, 5, 4]}}", "frames to its teacher"),
    ],
)
def test_a_bad_yaml_is_one_clear_line(yaml: str | None, expected: str, tmp_path: Path) -> None:
    path = write_release(tmp_path, "hubert", {"lonely": torch.zeros(1)})
    if yaml is None:
        (tmp_path / "config.yaml").unlink()
    else:
        (tmp_path / "config.yaml").write_text(yaml)
    assert expected in error_of(path)


class Malice:
    """Unpickling this runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path = write_release(tmp_path, "hubert", {})
    for write in (torch.save, lambda value, file: file.write_bytes(pickle.dumps(value, 2))):
        write({"fc_prior.bias": Malice(tmp_path / "struck")}, path)
        assert "is damaged, or holds more than tensors and is not trusted" in error_of(path)
    assert not (tmp_path / "struck").exists()


def test_a_damaged_pth(tmp_path: Path) -> None:
    path = write_release(tmp_path, "hubert", {"lonely": torch.zeros(1000)})
    whole = path.read_bytes()
    for damaged in (b"", b"PK", whole[:500], whole[:-10], b"\x80\x02."):
        path.write_bytes(damaged)
        assert "is damaged, or holds more than tensors" in error_of(path)
    endless: dict[str, Any] = {}
    endless["model"] = endless
    for empty in ({}, [torch.zeros(1)], {"model": 3}):
        torch.save(empty, path)
        assert "holds no state dict" in error_of(path)
    torch.save(endless, path)
    assert "missing: decoder_2" in error_of(path)


# --- the package ------------------------------------------------------------------------------------------------------


def test_importing_the_package_is_quick() -> None:
    check = "import sys, xcodec; assert not {'torch', 'transformers'} & set(sys.modules); print(sorted(dir(xcodec)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(sorted(xcodec.__all__))
    assert {"load", "XCodec", "StreamingEncoder", "TextToSpeech", "read_audio", "write_audio"} <= set(xcodec.__all__)
    with pytest.raises(AttributeError, match="no attribute 'encode'"):
        _ = xcodec.encode
