from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from recipes.open_audio.sources import TRAINING
from recipes.open_audio.voices import LICENCES
from xcodec.codec.config import ConfigError, XCodecConfig
from xcodec.codec.model import XCodec
from xcodec.train.config import OptimizerConfig, load_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
PROMISED = {
    "xcodec-hubert-librispeech",
    "xcodec-wavlm-mls",
    "xcodec-hubert-general",
    "acoustic-baseline",
    "xcodec-hubert-libritts-24khz",
    "xcodec-mini",
    "xcodec-mini-acoustic",
}


def shrunk(codec: XCodecConfig) -> XCodecConfig:
    """The same codec with tiny widths."""
    values = codec.to_dict()
    for name in ("width", "encoder_width"):
        values["acoustic"][name] = 4
    values["acoustic"]["decoder_width"] = 4 * 2 ** len(codec.strides)
    values["quantizer"] |= {"width": 8, "codebook_size": 4}
    if values["semantic"]:
        small = {"conv_dim": [8] * 7, "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2}
        small |= {"intermediate_size": 16, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
        if codec.semantic.teacher.kind == "whisper":
            small = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
        values["semantic"]["teacher"]["architecture"] |= small
    return XCodecConfig.from_dict(values)


def test_every_promised_config_is_there() -> None:
    assert {path.stem for path in CONFIGS} >= PROMISED


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config_is_parsed_and_its_codec_built(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert config.data.train
    codec = XCodec(shrunk(config.codec))
    assert codec.frame_rate == 50
    assert (codec.teacher is None) == ("acoustic" in path.stem)


def test_twin_differs_from_mini_in_nothing_but_the_semantic_branch() -> None:
    folder = CONFIGS[0].parent
    mini = load_config(folder / "xcodec-mini.yaml").to_dict()
    twin = load_config(folder / "xcodec-mini-acoustic.yaml").to_dict()
    assert twin["model"].pop("semantic") is None
    assert mini["model"].pop("semantic") is not None
    assert mini.pop("name") != twin.pop("name")
    # Without the branch there is nothing to give a share to, and so much less to quantise.
    assert mini.pop("semantic_share")
    assert twin.pop("semantic_share") is twin.pop("semantic_levels") is None
    assert mini.pop("semantic_levels")
    acoustic_width = mini["model"]["acoustic"]["width"]
    assert twin["model"]["quantizer"].pop("width") == acoustic_width < mini["model"]["quantizer"].pop("width")
    assert mini == twin


def test_changes_reach_into_lists_and_mappings(tiny) -> None:
    config = tiny("optimizer.lr=1e-3", "data.train.0.weight=2", "model.quantizer.width=6", "threads=null")
    assert config.optimizer.lr == 1e-3
    assert config.data.train[0].weight == 2
    assert config.codec.quantizer.width == 6
    assert config.threads is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("losses.mell=1", "mell"),
        ("stepz=3", "stepz"),
        ("steps=many", "steps"),
        ("steps=0", "steps"),
        ("losses.mel=-1", "losses.mel"),
        ("model.widht=3", "widht"),
        ("data.train.0.wieght=3", "wieght"),
        ("data.seconds=0.123", "data.seconds"),
        ("optimizer.schedule=linear", "linear"),
        ("discriminators.kinds=[best]", "best"),
        ("spectra.resolutions=[[512, 120]]", "rows of 3"),
        ("precision=int8", "int8"),
        ("nonsense", "key=value"),
    ],
)
def test_bad_key_or_value_is_named_in_one_line(tiny, change: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tiny(change)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config at .*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
    (tmp_path / "a.yaml").write_text("base: b.yaml", "utf-8")
    (tmp_path / "b.yaml").write_text("base: ./a.yaml", "utf-8")
    with pytest.raises(ConfigError, match=r"b\.yaml: its base \./a\.yaml is based on itself"):
        load_config(tmp_path / "a.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1, 2\nb: }", "utf-8")
    with pytest.raises(ConfigError, match=r"cannot read .*broken\.yaml") as caught:
        load_config(broken)
    assert "\n" not in str(caught.value)


def test_config_survives_its_own_dictionary(tiny, tmp_path: Path) -> None:
    config = tiny()
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(_plain(config.to_dict())), "utf-8")
    assert load_config(again) == config


def test_exponential_schedule_steps_down() -> None:
    schedule = OptimizerConfig(lr=1.0, decay=0.5, decay_every=10)
    assert [schedule.lr_at(step, 100) for step in (0, 9, 10, 25)] == [1.0, 1.0, 0.5, 0.25]


def _plain(value):
    """Tuples as lists, which is all that YAML knows."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def test_the_field_that_trackers_replaced_still_says_the_same() -> None:
    path = next(path for path in CONFIGS if path.stem == "xcodec-mini")
    assert load_config(path, ["tensorboard=false"]).trackers == ()
    assert load_config(path, ["tensorboard=true"]).trackers == ("tensorboard",)


def test_the_permissive_config_leaves_out_what_asks_for_more_than_a_notice() -> None:
    config = load_config(next(path for path in CONFIGS if path.stem == "xcodec-mini-permissive"))
    licences = {licence for corpus in (*config.data.train, *config.data.validation) for licence in corpus.licences}
    assert licences
    assert not [licence for licence in licences if re.search("GPL|SA|/", licence)]
    known = {source.licence for source in TRAINING} | set(LICENCES.values())
    assert licences <= known  # a name that no manifest has would leave out everything
