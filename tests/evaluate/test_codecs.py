from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import tiny_codec
from xcodec import audio
from xcodec.evaluate.codecs import MODES, Codec2, Opus, Tokenizer, open_codecs
from xcodec.evaluate.metrics import Signal
from xcodec.tokens.xc_file import AudioTokenizer


def best_lag(original: Signal, decoded: Signal, reach: int) -> int:
    """Samples by which `decoded` is late, by cross-correlation."""
    scores = {
        lag: float(original[reach:-reach] @ decoded[reach + lag : len(decoded) - reach + lag])
        for lag in range(-reach, reach)
    }
    return max(scores, key=lambda lag: scores[lag])


def test_opus_keeps_time_and_meets_its_bitrate(speech: Signal) -> None:
    wav = audio.resample(speech[None], 16_000, 48_000)[0]
    for kbps in (9, 24):
        coded = Opus(kbps)(wav)
        assert coded.audio.shape == wav.shape
        assert coded.bits is not None
        assert coded.bits / 4000 == pytest.approx(kbps, rel=0.25)
        assert abs(best_lag(wav, coded.audio, 200)) <= 6  # an eighth of a millisecond
    assert np.corrcoef(wav, Opus(64)(wav).audio)[0, 1] > 0.98


def envelope(signal: Signal, width: int = 80) -> Signal:
    return np.convolve(np.abs(signal), np.ones(width) / width, "same") - np.abs(signal).mean()


@pytest.mark.parametrize("kbps", MODES)
def test_codec2_keeps_time_and_has_its_bitrate(speech: Signal, kbps: float) -> None:
    wav = audio.resample(speech[None], 16_000, 8_000)[0]
    coded = Codec2(kbps)(wav)
    assert coded.audio.shape == wav.shape
    assert coded.bits is not None
    assert coded.bits / 4000 == pytest.approx(kbps, rel=0.02)
    # A vocoder makes a waveform of its own, but its loudness follows the original's.
    assert abs(best_lag(envelope(wav), envelope(coded.audio), 400)) <= 60  # 7.5 ms


def test_the_original_is_untouched(speech: Signal) -> None:
    (original,) = open_codecs(["original"])
    assert np.array_equal(original(speech).audio, speech)
    assert original(speech).bits is None


def test_whatever_load_takes_is_judged_at_each_bandwidth(tmp_path: Path, speech: Signal) -> None:
    tiny_codec(teacher=None).save_pretrained(tmp_path / "mine")
    every = open_codecs([f"{tmp_path / 'mine'}@all"])
    assert [codec.label for codec in every] == ["mine@0.3", "mine@0.6", "mine@1.2"]
    one = every[1]
    assert isinstance(one, Tokenizer)
    coded = one(speech[:8_000])
    assert coded.codes is not None
    assert coded.codes.shape == (2, 25)
    assert coded.bits == 2 * 25 * 6
    assert coded.audio.shape == (8_000,)
    assert open_codecs([str(tmp_path / "mine")])[0].label == "mine@1.2"  # the highest by default


def test_ours_run_on_the_engine_that_was_asked_for(tmp_path: Path) -> None:
    tiny_codec(teacher=None).save_pretrained(tmp_path / "mine")
    exact, fast = (open_codecs([str(tmp_path / "mine")], engine)[0] for engine in ("exact", "fast"))  # type: ignore[arg-type]
    assert isinstance(exact, Tokenizer)
    assert isinstance(fast, Tokenizer)
    assert [each.tokenizer.engine for each in (exact, fast)] == ["exact", "fast"]  # type: ignore[attr-defined]
    assert exact.identity != fast.identity  # so that results of one are not reused for the other


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("opus@3", "opus takes 6 to 256 kbps, not 3"),
        ("opus@all", "opus has any bitrate"),
        ("codec2@3", "codec2 has 0.7, 1.2, 1.3, 1.4, 1.6, 2.4, 3.2 kbps, not 3"),
        ("original@2", "original has no bitrate"),
        ("opus@loud", "what follows @ must be kbps, or all, not 'loud'"),
        ("xcodec-nano", "no file or folder xcodec-nano"),
        ("xcodec-mini@3", "xcodec-mini has 0.5, 1, 1.5, 2, 4 kbps, not 3"),
    ],
)
def test_what_cannot_be_had_is_said(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_codecs([spec])


def test_the_same_codec_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="named twice: opus@9"):
        open_codecs(["opus@9", "opus@9.0"])


# --- transformers -----------------------------------------------------------------------------------------------------


def tiny_encodec(folder: Path) -> None:
    from transformers import EncodecConfig, EncodecModel

    EncodecModel(
        EncodecConfig(
            target_bandwidths=[1.5, 3.0],
            num_filters=4,
            hidden_size=16,
            codebook_dim=16,
            codebook_size=1024,
            num_lstm_layers=1,
        )
    ).save_pretrained(folder)


def tiny_dac(folder: Path) -> None:
    from transformers import DacConfig, DacModel

    DacModel(
        DacConfig(
            encoder_hidden_size=4,
            decoder_hidden_size=64,
            downsampling_ratios=[2, 4, 5, 8],
            upsampling_ratios=[8, 5, 4, 2],
            n_codebooks=3,
            codebook_size=64,
            codebook_dim=4,
        )
    ).save_pretrained(folder)


def tiny_mimi(folder: Path) -> None:
    from transformers import MimiConfig, MimiModel

    MimiModel(
        MimiConfig(
            num_filters=4,
            hidden_size=16,
            codebook_dim=8,
            vector_quantization_hidden_dimension=8,
            codebook_size=64,
            num_quantizers=4,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            intermediate_size=16,
            upsample_groups=16,
        )
    ).save_pretrained(folder)


def tiny_xcodec(folder: Path) -> None:
    tiny_codec("dac", "hubert").save_pretrained(folder, file_format="transformers")


@pytest.mark.parametrize("make", [tiny_encodec, tiny_dac, tiny_mimi, tiny_xcodec])
def test_codecs_of_transformers_are_tokenizers(make: object, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make(tmp_path)  # type: ignore[operator]
    every = open_codecs([f"hf:{tmp_path}@all"])
    rng = np.random.default_rng(0)
    for codec in every:
        assert isinstance(codec, Tokenizer)
        assert isinstance(codec.tokenizer, AudioTokenizer)
        tokenizer = codec.tokenizer
        wav = (0.1 * rng.standard_normal(3 * tokenizer.hop_length + 17)).astype(np.float32)
        coded = codec(wav)
        assert coded.codes is not None
        assert coded.codes.shape[1] == 4
        assert coded.audio.shape == wav.shape
        # What is sent is what the label says.
        bits = coded.codes.shape[0] * np.log2(tokenizer.codebook_size) * tokenizer.frame_rate
        assert bits / 1000 == pytest.approx(codec.kbps, rel=1e-3)
        # In a batch, a clip has the codes it has alone.
        batch = torch.zeros(2, 1, 6 * tokenizer.hop_length)
        batch[0, 0, : len(wav)] = torch.from_numpy(wav)
        batch[1] = 0.1
        codes = tokenizer.encode(batch, codec.kbps, lengths=[len(wav), batch.shape[-1]])
        assert np.array_equal(codes[0, :, :4].numpy(), coded.codes)
        assert not codes[0, :, 4:].any()
        # And what each codebook says adds up to what the decoder is given.
        vectors = tokenizer.code_vectors(torch.from_numpy(coded.codes)[None])  # type: ignore[attr-defined]
        assert len(vectors) == len(coded.codes)
        assert all(each.shape[0] == 4 for each in vectors)


def test_a_hub_name_that_is_nowhere_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="could not be fetched; get it with: hf download"):
        open_codecs([f"hf:{tmp_path}/nothing"])
