"""The same codes and the same audio as the release and as ``transformers``.

The release cannot be run here; ``tests/golden`` holds what it made, with weights that are a function of their names.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from transformers import DacConfig, HubertConfig, WavLMConfig, XcodecConfig, XcodecModel

import xcodec
from xcodec.engine.engine import Codec

GOLDEN = Path(__file__).parents[1] / "golden"
RELEASE_TEACHERS = {"hubert": "hubert_base", "wavlm": "wavlm_base_plus"}


def golden_rule() -> ModuleType:
    """The module that makes the synthetic weights."""
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_release(folder: Path, kind: str, state: dict[str, Any], teacher: str | None = None) -> Path:
    """A ``.pth`` and a YAML as the release has them."""
    config = {
        "n_filters": 32,
        "D": 256,
        "target_bandwidths": [0.5, 1, 1.5, 2, 4],
        "ratios": [8, 5, 4, 2],
        "sample_rate": 16000,
        "bins": 1024,
        "semantic_techer": teacher or RELEASE_TEACHERS[kind],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"generator": {"name": "SoundStream", "config": config}, "d_list": ["mfd"], "seed": 2333})
    )
    path = folder / f"xcodec_{kind}.pth"
    torch.save(state, path)
    return path


def golden_state(kind: str, seed: int) -> dict[str, Tensor]:
    """An official state dict, at full size."""
    rule = golden_rule()
    shapes = rule.load_shapes(GOLDEN / f"official_{kind}_state_dict.json")
    return {name: torch.from_numpy(value) for name, value in rule.fill(shapes, seed).items()}


@pytest.fixture(scope="module", params=list(RELEASE_TEACHERS))
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Codec, dict[str, Any]]:
    """A codec with the weights of the golden run, loaded from a real ``.pth``, and what that run made."""
    kind = request.param
    path = write_release(tmp_path_factory.mktemp(kind), kind, golden_state(kind, seed=0))
    codec = xcodec.load(path)
    path.unlink()  # 0.7 GB
    with np.load(GOLDEN / f"official_{kind}_seed0.npz") as made:
        return codec, dict(made)


def test_the_release_makes_the_same_codes_and_audio(golden: tuple[Codec, dict[str, Any]]) -> None:
    codec, made = golden
    lengths = [int(name.removeprefix("input_")) for name in made if name.startswith("input_")]
    assert lengths
    for length in lengths:
        wav = torch.from_numpy(made[f"input_{length}"])
        expected = torch.from_numpy(made[f"codes_{length}"].astype(np.int64))[None]
        assert torch.equal(codec.encode(wav, bandwidth=4), expected)
        assert torch.equal(codec.encode(wav, bandwidth=1), expected[:, :2])
        for name, codebooks in (("audio", 8), ("audio_1kbps", 2)):
            audio = codec.decode(expected[:, :codebooks])
            assert audio.shape == (1, 1, length)
            error = (audio[0, 0] - torch.from_numpy(made[f"{name}_{length}"])).abs().max()
            assert error < 1e-3, f"{name} of {length} samples"
        teacher = codec.model.teacher
        assert teacher is not None
        features = teacher(wav[None, None], length // 320)[0].mean(0)
        assert (features - torch.from_numpy(made[f"semantic_mean_{length}"])).abs().max() < 1e-4


def test_another_seed_nested_prefixed_and_in_the_other_spelling(tmp_path: Path) -> None:
    state = golden_state("hubert", seed=7)
    respelt = {}
    for name, value in state.items():
        for older, newer in (("weight_g", "original0"), ("weight_v", "original1")):
            if name.endswith(older):
                name = name.replace(older, f"parametrizations.weight.{newer}")
            elif name.endswith(newer):
                name = name.replace(f"parametrizations.weight.{newer}", older)
        respelt[f"module.{name}"] = value
    assert not {name.removeprefix("module.") for name in respelt} & {n for n in state if "weight_g" in n}
    path = write_release(tmp_path, "general", {"model": respelt, "step": 1000}, teacher="hubert_base_general")
    codec = xcodec.load(path)
    assert codec.bandwidths == (0.5, 1, 1.5, 2, 4)
    loaded = codec.model.state_dict()
    for ours, theirs in (
        ("acoustic_encoder.layers.4.4.parametrizations.weight.original1", "encoder.block.4.block.4.weight_v"),
        ("acoustic_decoder.layers.6.bias", "decoder_2.model.6.bias"),
        ("semantic_decoder.blocks.1.2.conv2.weight", "decoder_semantic.conv_blocks.1.res_units.1.conv2.weight"),
        ("quantizer.levels.7.codebook.vectors", "quantizer.vq.layers.7._codebook.embed"),
        ("quantizer.levels.7.codebook.usage", "quantizer.vq.layers.7._codebook.cluster_size"),
        ("to_acoustic.weight", "fc_post2.weight"),
        (
            "teacher.network.model.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
            "semantic_model.encoder.pos_conv_embed.conv.parametrizations.weight.original0",
        ),
    ):
        assert torch.equal(loaded[ours], state[theirs]), ours
    assert all(loaded[f"quantizer.levels.{k}.codebook.updates"] == 1 for k in range(8))


def random_transformers_model(kind: str, seed: int, acoustic: dict[str, Any], **settings: Any) -> XcodecModel:
    """A small ``XcodecModel`` with random weights and, unlike a fresh one, random codebooks."""
    torch.manual_seed(seed)
    teacher = {"hubert": HubertConfig, "wavlm": WavLMConfig}[kind](
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    networks = DacConfig(encoder_hidden_size=8, decoder_hidden_size=32, **acoustic)
    config = XcodecConfig(acoustic_model_config=networks, semantic_model_config=teacher, **settings)
    model = XcodecModel(config).eval()
    for quantizer in model.quantizer.quantizers:
        quantizer.codebook.embed.normal_()
        quantizer.codebook.cluster_size.fill_(3)
        quantizer.codebook.embed_avg.copy_(3 * quantizer.codebook.embed)
    return model


def assert_same(codec: Codec, model: XcodecModel) -> None:
    """The same codes at every bandwidth, and the same audio."""
    assert codec.bandwidths == tuple(model.config.target_bandwidths)
    for frames in (1, 50, 111):
        wav = 0.3 * torch.randn(1, 1, frames * 320)
        for bandwidth in model.config.target_bandwidths:
            with torch.no_grad():
                codes = model.encode(wav, bandwidth=bandwidth).audio_codes
                audio = model.decode(codes).audio_values
            assert torch.equal(codec.encode(wav, bandwidth), codes)
            assert (codec.decode(codes) - audio).abs().max() < 1e-4 * audio.abs().max()


RANDOM_MODELS = {
    "as the release": ("hubert", {"downsampling_ratios": [8, 5, 4, 2], "upsampling_ratios": [8, 5, 4, 2]}, {}),
    # DacConfig reverses the decoder's strides unless told otherwise, and 4 kbit/s are 20 codebooks of 16 codes.
    "small codebooks": ("hubert", {"downsampling_ratios": [2, 4, 5, 8]}, {"codebook_size": 16}),
    # No whole number of codebooks of 0.3 kbit/s makes either bandwidth.
    "two bandwidths": (
        "wavlm",
        {"downsampling_ratios": [5, 8, 8], "hidden_size": 24},
        {"codebook_size": 64, "target_bandwidths": [0.7, 2.9]},
    ),
}


@pytest.mark.parametrize("name", list(RANDOM_MODELS))
def test_transformers_makes_the_same_codes_and_audio(name: str, tmp_path: Path) -> None:
    kind, acoustic, settings = RANDOM_MODELS[name]
    model = random_transformers_model(kind, 1, acoustic, **settings)
    model.save_pretrained(tmp_path / "theirs")
    codec = xcodec.load(tmp_path / "theirs")
    assert_same(codec, model)

    codec.model.save_pretrained(tmp_path / "ours", file_format="transformers")
    returned = XcodecModel.from_pretrained(tmp_path / "ours").eval()
    for tensor, value in model.state_dict().items():
        assert torch.equal(returned.state_dict()[tensor], value), tensor
    assert list(returned.config.target_bandwidths) == list(model.config.target_bandwidths)
    assert xcodec.load(tmp_path / "ours").fingerprint.weights == codec.fingerprint.weights


def test_transformers_shards_and_weight_norm(tmp_path: Path) -> None:
    kind, acoustic, settings = RANDOM_MODELS["as the release"]
    model = random_transformers_model(kind, 2, acoustic, **settings)
    model.apply_weight_norm()
    model.save_pretrained(tmp_path, max_shard_size="300kB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_same(xcodec.load(tmp_path), model)
