"""The loop itself, in this process; what needs a second process is in test_processes.py."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import HubertConfig, HubertModel

from tests.conftest import TEACHERS, tiny_codec
from xcodec.codec.config import ConfigError
from xcodec.codec.model import XCodec
from xcodec.codec.semantic import Teacher
from xcodec.codec.spectral import Spectrogram
from xcodec.train.codec import CodecTrainer, run
from xcodec.train.config import TrainConfig
from xcodec.train.init import init_codebooks, limit_semantic_levels
from xcodec.train.loop import DivergedError, load_training
from xcodec.utils.checkpoint_io import CheckpointError

from .conftest import TINY, assert_same_path

Tiny = Callable[..., TrainConfig]
GAN = ("losses.adversarial=1", "losses.feature_matching=2")


def log(config: TrainConfig) -> list[dict[str, float]]:
    return [json.loads(line) for line in (config.folder / "log.jsonl").read_text().splitlines()]


def final_weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(sorted((config.folder / "checkpoints").iterdir())[-1] / "model.safetensors")


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_it_learns_with_every_loss_and_reports_each_by_its_name(tiny: Tiny, corpus: Path) -> None:
    config = tiny(
        *GAN,
        "steps=40",
        "quantize_from=20",
        "validate_every=20",
        "optimizer.lr=5e-3",
        "losses.stft=0.1",
        "losses.subband_stft=0.1",
        "ema=0.9",
        # the spectral halves start as a near copy of their input; these have everything to learn
        model={**TINY["model"], "acoustic": {"kind": "dac", "width": 16, "encoder_width": 2, "decoder_width": 32}},
        data={"validation": [{"path": str(corpus)}]},
    )
    run(config)
    lines = log(config)
    training = [line for line in lines if "total" in line]
    assert training[-1]["mel"] < 0.75 * training[0]["mel"]
    names = {"mel", "stft", "subband_stft", "adversarial", "feature_matching"}
    assert training[0].keys() >= names | {
        *("discriminator", "gradient", "audio_per_second"),
        *("lr", "lr/encoder"),
    }
    assert "commitment" not in training[0]
    assert training[-1].keys() >= names | {"commitment", "usage/1", "perplexity/3"}
    validations = [line for line in lines if any(name.startswith("valid") for name in line)]
    assert [line["step"] for line in validations] == [20, 40]
    names |= {"total", "discriminator"}
    assert {f"valid/{name}" for name in names} <= validations[0].keys()
    assert {f"valid-{k}/{name}" for k in (1, 3) for name in names | {"commitment"}} <= validations[1].keys()
    assert all(math.isfinite(value) for line in lines for value in line.values())


def test_resuming_is_bit_identical_to_not_stopping(tiny: Tiny) -> None:
    """Through the placing of the codebooks, the discriminators' start, and a checkpoint between all of that."""
    changes = (*GAN, "discriminators.start=3", "quantize_from=5", "ema=0.9")
    whole = tiny(*changes, "steps=12", "checkpoint_every=4", "accumulation=2", name="whole")
    run(whole)
    for stopped_at in (4, 8):
        parts = tiny(*changes, "steps=12", "checkpoint_every=4", "accumulation=2", name=f"parts{stopped_at}")
        shutil.copytree(whole.folder, parts.folder)
        for folder in (parts.folder / "checkpoints").iterdir():
            if int(folder.name.removeprefix("step-")) > stopped_at:
                shutil.rmtree(folder)
        run(parts, resume=True)
        assert_same(final_weights(whole), final_weights(parts))
        ours, theirs = (load_training(sorted((c.folder / "checkpoints").iterdir())[-1]) for c in (whole, parts))
        assert_same(ours["average"], theirs["average"])
        assert_same(ours["discriminators"], theirs["discriminators"])
        assert [line["step"] for line in log(parts)] == [line["step"] for line in log(whole)]


def test_accumulated_passes_are_one_large_batch(tiny: Tiny) -> None:
    """Without codebooks, which by design move at every pass, and without the search for phases, which magnifies
    rounding."""
    smooth = ("steps=4", "quantize_from=100", "losses.spectra=1", "losses.mel=0")
    at_once = tiny(*smooth, "batch_size=8", name="at_once")
    in_parts = tiny(*smooth, "batch_size=4", "accumulation=2", name="in_parts")
    start = {name: value.clone() for name, value in CodecTrainer(at_once).trainable.items()}
    run(at_once)
    run(in_parts)
    assert_same_path(final_weights(at_once), final_weights(in_parts), start)


def test_one_codec_forward_a_step_and_discriminators_that_start_when_told(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards = []
    forward = XCodec.forward
    monkeypatch.setattr(XCodec, "forward", lambda *inputs: forwards.append(1) or forward(*inputs))
    trainer = CodecTrainer(tiny(*GAN, "steps=5", "discriminators.start=2"))
    weights = []

    def watched_step(clips: torch.Tensor, codebooks: torch.Tensor) -> tuple:
        before = [value.clone() for value in trainer.discriminators.parameters()]
        result = step(clips, codebooks)
        after = list(trainer.discriminators.parameters())
        weights.append(any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)))
        return result

    step = trainer.gan_step
    trainer.gan_step = watched_step
    trainer.train()
    assert len(forwards) == 5
    assert [number for number, changed in enumerate(weights) if changed] == [2, 3, 4]


def test_spectra_alone_are_learnt_without_making_audio(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> torch.Tensor:
        raise AssertionError("phases were searched for in a step that needs none")

    config = tiny("steps=30", "losses.mel=0", "losses.spectra=1", "optimizer.lr=1e-2")
    monkeypatch.setattr(Spectrogram, "synthesise", forbidden)
    run(config)
    lines = [line for line in log(config) if "spectra" in line]
    assert lines[-1]["spectra"] < 0.9 * lines[0]["spectra"]
    assert "mel" not in lines[0]


def test_a_vocoder_learns_phases_and_resumes(tiny: Tiny) -> None:
    acoustic = {**TINY["model"]["acoustic"], "vocoder": {"width": 16, "layers": 1}}
    losses = ("losses.spectra=1", "losses.amplitude=1", "losses.phase=1", "losses.consistency=1")
    changes = ("steps=24", "checkpoint_every=12", "log_every=6", "ema=0.9", *losses)
    whole = tiny(*changes, model={**TINY["model"], "acoustic": acoustic}, name="whole")
    run(whole)
    first, *_, last = log(whole)
    assert {"spectra", "amplitude", "phase", "consistency", "mel"} <= first.keys()
    assert last["phase"] < first["phase"]
    assert last["amplitude"] < first["amplitude"]
    parts = tiny(*changes, model={**TINY["model"], "acoustic": acoustic}, name="parts")
    shutil.copytree(whole.folder, parts.folder)
    for folder in sorted((parts.folder / "checkpoints").iterdir())[1:]:
        shutil.rmtree(folder)
    run(parts, resume=True)
    assert_same(final_weights(whole), final_weights(parts))
    codec = XCodec.from_pretrained(whole.folder / "model")
    codes = codec.encode(torch.randn(1, 1, 1600))
    assert codec.decode(codes).shape == (1, 1, 1600)


def narrow_semantics(source: Path) -> dict[str, Any]:
    """The tiny model with a semantic branch, whose teacher has weights at ``source``."""
    HubertModel(HubertConfig(**TEACHERS["hubert"].architecture)).save_pretrained(source)
    teacher = {"architecture": TEACHERS["hubert"].architecture, "source": str(source)}
    model = {**TINY["model"], "sample_rate": 16000, "semantic": {"width": 4, "blocks": 1, "teacher": teacher}}
    return {**model, "quantizer": {**model["quantizer"], "width": 12}}


def test_the_semantic_branch_starts_with_its_share(tiny: Tiny, tmp_path: Path) -> None:
    """Measured on what is quantised, and as a code from which the teacher's features can be told."""
    model = narrow_semantics(tmp_path / "teacher")
    found = {}
    for share in ("null", "0.25"):
        trainer = CodecTrainer(tiny(f"semantic_share={share}", model=model, name=f"share-{share}"))
        trainer.start(resume=False)
        clips = trainer.first_clips()
        latents = trainer.network.latents(clips).values
        teacher = trainer.network.latents(clips).teacher
        left = (trainer.network.reconstruct_semantics(latents) - teacher).square().mean()
        found[share] = latents.detach(), teacher.transpose(1, 2).flatten(0, 1), left.detach()
    variances = found["0.25"][0].transpose(1, 2).flatten(0, 1).var(0)
    assert float(variances[8:].sum() / variances.sum()) == pytest.approx(0.25, abs=0.01)
    # 4 principal directions of 16 channels, there and back: the mean square of what is left is what the others have.
    features, left = found["0.25"][1], found["0.25"][2]
    spread = torch.linalg.eigvalsh(features.T @ features) / features.numel()
    assert float(left) == pytest.approx(float(spread[:-4].sum()), rel=0.01)
    assert left < 0.5 * found["null"][2]


def test_the_semantic_branch_starts_in_given_directions(tiny: Tiny, tmp_path: Path) -> None:
    model, path = narrow_semantics(tmp_path / "teacher"), tmp_path / "directions.safetensors"
    wanted = torch.randn(16, 3)  # of the branch's 4 channels
    save_file({"directions": wanted[None]}, path)
    trainer = CodecTrainer(tiny("semantic_share=0.25", f"semantic_directions={path}", model=model))
    trainer.start(resume=False)
    latents = trainer.network.latents(trainer.first_clips())
    assert latents.teacher is not None
    features = latents.teacher.transpose(1, 2).flatten(0, 1)  # (B, D, F) -> (B·F, D)
    semantic = latents.values[:, 8:].transpose(1, 2).flatten(0, 1)
    ratio = semantic[:, :3] / (features @ wanted)
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=0)
    assert not semantic[:, 3].any()
    rebuilt = trainer.network.reconstruct_semantics(latents.values).transpose(1, 2).flatten(0, 1)
    best = semantic[:, :3] @ torch.linalg.lstsq(semantic[:, :3], features).solution
    torch.testing.assert_close(rebuilt, best, rtol=1e-2, atol=1e-3)
    for broken in ({"directions": torch.randn(1, 15, 3)}, {"directions": wanted}, {"other": wanted}):
        save_file(broken, path)
        trainer = CodecTrainer(tiny("semantic_share=0.25", f"semantic_directions={path}", model=model, name="broken"))
        with pytest.raises(ConfigError, match="semantic_directions"):
            trainer.start(resume=False)


def test_the_semantic_branch_starts_in_directions_of_three_frames(tiny: Tiny, tmp_path: Path) -> None:
    model, path = narrow_semantics(tmp_path / "teacher"), tmp_path / "directions.safetensors"
    wanted = torch.randn(3, 16, 4)
    save_file({"directions": wanted}, path)
    trainer = CodecTrainer(tiny("semantic_share=0.25", f"semantic_directions={path}", model=model))
    trainer.start(resume=False)
    latents = trainer.network.latents(trainer.first_clips())
    assert latents.teacher is not None
    semantic = latents.values[:, 8:, 1:-1].detach()
    features = torch.stack([latents.teacher[:, :, i : i + semantic.shape[2]] for i in range(3)])  # (3, B, D, F)
    expected = torch.einsum("nbdf, ndw -> bwf", features, wanted)
    scale = semantic.norm() / expected.norm()
    torch.testing.assert_close(semantic, scale * expected, rtol=1e-3, atol=1e-4 * float(semantic.abs().max()))


def test_entries_of_a_gain_invariant_codebook_are_equally_loud(tiny: Tiny) -> None:
    """From the k-means on, while they follow the data, and in a run that is resumed; the second's are not."""
    changes = ("gain_invariant=true", "quantize_from=2", "checkpoint_every=2", "name=gain")
    run(tiny("steps=4", *changes))
    run(tiny("steps=6", *changes), resume=True)
    weights = final_weights(tiny("steps=6", *changes))

    def spread(level: int) -> float:
        vectors, usage = (weights[f"quantizer.levels.{level}.codebook.{name}"] for name in ("vectors", "usage"))
        along = vectors @ torch.nn.functional.normalize(usage @ vectors, dim=0)
        return float(along.std() / vectors.std())

    assert spread(0) < 1e-4
    assert spread(1) > 0.1
    dac = {**TINY["model"], "acoustic": {"kind": "dac", "width": 8, "encoder_width": 2, "decoder_width": 32}}
    with pytest.raises(ConfigError, match="gain_invariant needs a spectral encoder"):
        tiny("gain_invariant=true", model=dac)


def test_later_levels_leave_the_semantic_channels_alone(tiny: Tiny, tmp_path: Path) -> None:
    """From the first placement on, and again in a run that is resumed."""
    model = narrow_semantics(tmp_path / "teacher")
    changes = ("semantic_levels=1", "quantize_from=2", "checkpoint_every=2", "name=levels")
    run(tiny("steps=4", *changes, model=model))
    run(tiny("steps=6", *changes, model=model), resume=True)
    weights = final_weights(tiny("steps=6", *changes, model=model))
    tables = [weights[f"quantizer.levels.{level}.codebook.vectors"] for level in range(2)]
    assert (tables[0][:, 8:] != 0).any()
    assert (tables[1][:, 8:] == 0).all()
    assert (tables[1][:, :8] != 0).any()


def test_the_codebooks_start_near_the_latents(tiny: Tiny) -> None:
    changes = ("steps=40", "quantize_from=40", "model.quantizer.codebook_size=64", "kmeans_batches=6")
    trainer = CodecTrainer(tiny(*changes))
    trainer.train()
    clips = next(iter(trainer.batches()), None)
    assert clips is None  # the run is over
    trainer.init_codebooks()
    latents = trainer.network.eval().latents(torch.stack([trainer.crops[i].audio for i in range(4)])).values
    left = [latents - trainer.network.quantizer.decode(trainer.network.quantizer.encode(latents, k)) for k in (1, 3)]
    spread = (latents - latents.mean((0, 2), keepdim=True)).square().mean()
    assert float(left[0].square().mean() / spread) < 0.4
    assert float(left[1].square().mean() / spread) < 0.1


def test_the_number_of_codebooks_is_drawn_per_clip_from_seed_and_step(tiny: Tiny) -> None:
    trainer = CodecTrainer(tiny("batch_size=64"))
    first = trainer.draw_codebooks()[0]
    assert first.unique().tolist() == [1, 3]
    assert torch.equal(first, trainer.draw_codebooks()[0])
    trainer.step = 1
    assert not torch.equal(first, trainer.draw_codebooks()[0])


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("steps=8", "checkpoint_every=2")
    trainer = CodecTrainer(config)
    draw = trainer.draw_codebooks

    def poisoned() -> list[torch.Tensor]:
        if trainer.step == 5:
            trainer.network.prior.bias.data.fill_(math.nan)
        return draw()

    trainer.draw_codebooks = poisoned
    with pytest.raises(DivergedError, match=r"total is nan at step 5") as caught:
        trainer.train()
    message = str(caught.value)
    assert "step-00000004" in message
    assert ".wav" in message
    assert "\n" not in message
    assert not (config.folder / "model").exists()


def test_a_gradient_that_is_no_number_stops_the_run_before_it_is_saved(tiny: Tiny) -> None:
    """As where a square root meets zero: the loss is fine, and the step spoils the weights all the same."""
    config = tiny("steps=8", "checkpoint_every=1")
    trainer = CodecTrainer(config)
    first, draw = next(iter(trainer.trainable.values())), trainer.draw_codebooks

    def poisoned() -> list[torch.Tensor]:
        if trainer.step == 5:
            first.register_hook(lambda gradient: gradient * math.nan)
        return draw()

    trainer.draw_codebooks = poisoned
    with pytest.raises(DivergedError, match=r"gradient is nan at step 5.*step-00000005.*\.wav"):
        trainer.train()
    assert sorted(path.name for path in (config.folder / "checkpoints").iterdir())[-1] == "step-00000005"
    assert all(bool(value.isfinite().all()) for value in final_weights(config).values())


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_anew(tiny: Tiny) -> None:
    config = tiny("steps=2", "checkpoint_every=1")
    run(config)
    for folder in (config.folder / "checkpoints").iterdir():
        (folder / "training.pt").write_bytes(b"")
    for resume in (True, False):
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* is intact: .*step-00000002") as caught:
            run(config, resume=resume)
        assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_passed_over_and_said(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny("steps=6", "checkpoint_every=2")
    run(config)
    undamaged = final_weights(config)
    newest = config.folder / "checkpoints" / "step-00000006" / "training.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    run(config, resume=True)
    said = "".join(capsys.readouterr())
    assert "step-00000006 is damaged" in said
    assert "falling back to the one before" in said
    assert_same(undamaged, final_weights(config))


def test_a_run_is_not_overwritten_nor_resumed_as_another_model(tiny: Tiny) -> None:
    run(tiny("steps=1"))
    with pytest.raises(ConfigError, match="has checkpoints already"):
        run(tiny("steps=1"))
    with pytest.raises(CheckpointError, match="another network"):
        run(tiny("steps=2", "model.quantizer.width=6"), resume=True)


def test_discriminators_may_join_a_run_that_had_none(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run(tiny("steps=2"))
    run(tiny("steps=5", *GAN), resume=True)
    assert "initialised anew" in "".join(capsys.readouterr())
    assert "adversarial" in log(tiny())[-1]


@pytest.mark.parametrize(
    ("number", "ignored", "last"),
    [(signal.SIGTERM, False, 4), (signal.SIGHUP, False, 4), (signal.SIGINT, False, 4), (signal.SIGHUP, True, 6)],
    ids=["SIGTERM", "SIGHUP", "SIGINT", "SIGHUP under nohup"],
)
def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(
    tiny: Tiny, number: signal.Signals, ignored: bool, last: int
) -> None:
    config = tiny("steps=6")
    before = signal.signal(number, signal.SIG_IGN) if ignored else signal.getsignal(number)
    trainer = CodecTrainer(config)
    draw = trainer.draw_codebooks

    def interrupted() -> list[torch.Tensor]:
        if trainer.step == 3:
            os.kill(os.getpid(), number)
        return draw()

    trainer.draw_codebooks = interrupted
    try:
        trainer.train()
        assert sorted(path.name for path in (config.folder / "checkpoints").iterdir())[-1] == f"step-{last:08d}"
        assert signal.getsignal(number) == (signal.SIG_IGN if ignored else before)
    finally:
        signal.signal(number, before)


def test_weights_may_come_from_another_run(tiny: Tiny) -> None:
    first = tiny("steps=3", name="first")
    run(first)
    trainer = CodecTrainer(tiny(f"init_from={first.folder / 'model'}", name="second"))
    trainer.start(resume=False)
    assert_same(final_weights(first), trainer.network.state_dict())


def test_a_decoder_can_be_trained_on_without_a_change_in_the_tokens(tiny: Tiny, corpus: Path) -> None:
    first = tiny("steps=3", name="first")
    run(first)
    before = XCodec.from_pretrained(first.folder / "model")
    second = tiny(
        "steps=6", "tokens_stay=true", f"init_from={first.folder / 'model'}", "validate_every=2", "losses.spectra=1",
        name="second", data={"validation": [{"path": str(corpus)}]},
    )  # fmt: skip
    run(second)
    after = XCodec.from_pretrained(second.folder / "model")
    assert after.fingerprint.tokens == before.fingerprint.tokens
    assert after.fingerprint.weights != before.fingerprint.weights
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[name])}
    assert changed
    assert all(name.startswith(("to_acoustic.", "acoustic_decoder.")) for name in changed)
    with pytest.raises(ConfigError, match="tokens_stay needs a codec"):
        tiny("tokens_stay=true")


def test_codes_that_stay_are_computed_once_for_each_crop(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiny("steps=3", name="first")
    run(first)
    changes = ("steps=6", "tokens_stay=true", f"init_from={first.folder / 'model'}", "data.distinct_crops=8")
    plain = tiny(*changes, name="plain")
    run(plain)
    encoded = []
    latents = XCodec.latents
    monkeypatch.setattr(XCodec, "latents", lambda self, wav: encoded.append(len(wav)) or latents(self, wav))
    for name in ("cached", "again"):
        cached = tiny(*changes, f"crop_cache={tmp_path / 'cache'}", name=name)
        run(cached)
        assert sum(encoded) == 8  # of 24 crops
        for key, value in final_weights(plain).items():
            torch.testing.assert_close(final_weights(cached)[key], value, rtol=1e-3, atol=1e-5)


def test_averaged_weights_lag_behind_and_are_exported(tiny: Tiny) -> None:
    config = tiny("steps=6", "ema=0.99")
    run(config)
    exported = load_file(config.folder / "model" / "model.safetensors")
    average = load_training(config.folder / "checkpoints" / "step-00000006")["average"]
    for name, value in final_weights(config).items():
        assert torch.equal(exported[name], average.get(name, value))
    assert any(not torch.equal(exported[name], final_weights(config)[name]) for name in average)


HUBERT = {
    "model_type": "hubert",
    "conv_dim": [8] * 7,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


def with_teacher(source: Path | None) -> dict:
    teacher = {"architecture": HUBERT, "source": None if source is None else str(source), "sample_rate": 16000}
    return {"semantic": {"blocks": 1, "teacher": teacher}}


def test_the_teacher_gets_its_weights_and_keeps_them(tiny: Tiny, tmp_path: Path) -> None:
    torch.manual_seed(5)
    HubertModel(HubertConfig(**HUBERT)).save_pretrained(tmp_path / "teacher")
    config = tiny(
        "steps=3",
        "log_every=3",
        model={**TINY["model"], **with_teacher(tmp_path / "teacher")},
    )
    run(config)
    taught = final_weights(config)
    source = load_file(tmp_path / "teacher" / "model.safetensors")
    assert torch.equal(
        taught["teacher.network.model.encoder.layers.0.attention.q_proj.weight"],
        source["encoder.layers.0.attention.q_proj.weight"],
    )
    assert "semantic" in log(config)[-1]


def test_features_of_recurring_crops_are_computed_once(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    forward = Teacher.forward
    monkeypatch.setattr(
        Teacher, "forward", lambda self, wav, frames: heard.append(len(wav)) or forward(self, wav, frames)
    )
    torch.manual_seed(5)
    HubertModel(HubertConfig(**HUBERT)).save_pretrained(tmp_path / "teacher")
    changes = ("steps=6", "data.distinct_crops=8", f"crop_cache={tmp_path / 'cache'}", "kmeans_batches=1")
    model = {**TINY["model"], **with_teacher(tmp_path / "teacher")}
    first = tiny(*changes, name="first", model=model)
    run(first)
    assert sum(heard) == 8  # of 24 crops, and those of k-means
    again = tiny(*changes, name="again", model=model)
    run(again)
    assert sum(heard) == 8
    assert_same(final_weights(first), final_weights(again))
    assert final_weights(first).keys() == XCodec(first.codec).state_dict().keys()


@pytest.mark.parametrize("kind", ["spectral", "dac", "taught"])
def test_mixed_precision_trains(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    HubertModel(HubertConfig(**HUBERT)).save_pretrained(tmp_path / "teacher")
    acoustic = {"kind": "dac", "width": 8, "encoder_width": 2, "decoder_width": 32}
    changed = {"spectral": {}, "dac": {"acoustic": acoustic}, "taught": with_teacher(tmp_path / "teacher")}
    model = {**TINY["model"], **changed[kind]}
    config = tiny("steps=6", "precision=bf16", *GAN, "log_every=3", model=model)
    run(config)
    first, last = log(config)
    assert last["mel"] < first["mel"]
    assert all(value.dtype != torch.bfloat16 for value in final_weights(config).values())


def test_a_teacher_without_weights_is_an_error(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="source is not set"):
        run(tiny(model={**TINY["model"], **with_teacher(None)}))
    with pytest.raises(ConfigError, match="cannot load the teacher from"):
        run(tiny(model={**TINY["model"], **with_teacher(tmp_path / "nowhere")}))


def test_broken_audio_is_named_skipped_and_fatal_beyond_the_limit(
    tiny: Tiny, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(corpus, folder)
    config = tiny("steps=4", "batch_size=8", data={"train": [{"path": str(folder)}]})
    trainer = CodecTrainer(config)
    for number in (1, 2):
        (folder / f"{number}.wav").write_bytes(b"RIFF")
    trainer.train()
    assert "1.wav" in caplog.text
    trainer.step = 0
    trainer.crops.config = dataclasses.replace(trainer.crops.config, max_broken_files=1)
    trainer.crops._broken.clear()
    with pytest.raises(ValueError, match="max_broken_files"):
        trainer.train()


def test_tensorboard_has_curves_sound_and_pictures(tiny: Tiny, corpus: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tiny(
        "steps=4",
        "log_every=2",
        "validate_every=4",
        "trackers=[tensorboard]",
        data={"validation": [{"path": str(corpus)}]},
    )
    run(config)
    events = EventAccumulator(str(config.folder / "tensorboard" / config.name))
    events.Reload()
    tags = events.Tags()
    assert {"mel", "lr", "usage/1", "perplexity/3", "valid-3/mel"} <= set(tags["scalars"])
    assert {"example-0/original", "example-0/reconstruction"} <= set(tags["audio"])
    assert "example-0/spectrograms" in tags["images"]
    assert [event.step for event in events.Scalars("mel")] == [2, 4]


def test_an_unknown_or_missing_tracker_is_named(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="tensorbored"):
        CodecTrainer(tiny("trackers=[tensorbored]"))
    with pytest.raises(ConfigError, match=r"trackers: aim is not installed \(pip install aim\)"):
        CodecTrainer(tiny("trackers=[aim]"))


def test_silence_does_not_break_it(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "silence"
    folder.mkdir()
    soundfile.write(folder / "0.wav", np.zeros(8000, np.float32), 8000)
    config = tiny("steps=3", *GAN, "losses.stft=1", data={"train": [{"path": str(folder)}]})
    run(config)
    assert all(bool(value.isfinite().all()) for value in final_weights(config).values())


def test_what_lies_before_the_quantiser_can_rest_once_there_are_codebooks(tiny: Tiny) -> None:
    config = tiny("steps=6", "quantize_from=3", "checkpoint_every=1", "keep=6", "optimizer.encoder_scale=0")
    run(config)
    folders = sorted((config.folder / "checkpoints").iterdir())
    second, third, last = (load_file(folders[index] / "model.safetensors") for index in (1, 2, 5))
    for part, rests in (
        ("acoustic_encoder.", True),
        ("prior.", True),
        ("to_acoustic.", False),
        ("acoustic_decoder.", False),
    ):
        names = [name for name in last if name.startswith(part) and "basis" not in name]
        assert any(not torch.equal(second[name], third[name]) for name in names)
        assert all(torch.equal(third[name], last[name]) for name in names) == rests


def test_semantic_channels_are_left_to_the_first_levels() -> None:
    codec = tiny_codec(teacher="hubert").train()
    for level in codec.quantizer.first(4):
        # Anew, on many frames: the fixture's are so few that an entry of the first level stands for just one of them.
        # Of that the later levels are left with exactly nothing, and the mean of nothing is a zero in all channels.
        level.codebook.updates.zero_()
    limit_semantic_levels(codec, levels=1)
    for _ in range(3):
        with torch.no_grad():
            codec(torch.randn(4, 1, 256 * 320), torch.full((4,), 4))
    first, *others = (level.codebook.vectors for level in codec.quantizer.first(4))
    assert (first[:, 8:] != 0).any()
    for vectors in others:
        assert (vectors[:, 8:] == 0).all()
        assert (vectors[:, :8] != 0).any(dim=1).all()
    level = codec.eval().quantizer.first(2)[1]
    points = torch.randn(30, 24)
    louder = torch.cat([points[:, :8], 100 * torch.randn(30, 16)], dim=1)
    assert torch.equal(level.encode(points), level.encode(louder))


def test_codebooks_are_placed_without_semantic_channels() -> None:
    codec = tiny_codec(teacher="hubert").train()
    init_codebooks(codec, [torch.randn(4, 1, 64 * 320)], semantic_levels=2)
    assert [bool((level.codebook.vectors[:, 8:] != 0).any()) for level in codec.quantizer.first(4)] == [1, 1, 0, 0]
