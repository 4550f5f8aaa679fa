"""Phones and clusters, stability, probes, the small language model: each on tokens whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import tiny_codec
from xcodec.evaluate.codecs import Tokenizer
from xcodec.evaluate.semantic import stages
from xcodec.evaluate.token_measures import (
    Budget,
    add_white_noise,
    compare_codes,
    phone_measures,
    predictability,
    probe,
    stability,
)

RNG = np.random.default_rng(0)

# --- phones -----------------------------------------------------------------------------------------------------------


def test_tokens_that_are_the_phones_tell_all() -> None:
    found = phone_measures(list("aabbcc"), np.array([4, 4, 0, 0, 9, 9]))
    assert (found.phone_purity, found.cluster_purity, found.mutual_information) == pytest.approx((1, 1, 1))


def test_purities_and_information_are_those_counted_by_hand() -> None:
    # Token 0: a a a b; token 1: b b. Purity (3 + 2) / 6; of a, token 0 (3); of b, token 1 (2).
    found = phone_measures(list("aaabbb"), np.array([0, 0, 0, 0, 1, 1]))
    assert found.phone_purity == pytest.approx(5 / 6)
    assert found.cluster_purity == pytest.approx(5 / 6)
    information = 1 / 2 * np.log(3 / 2) + 1 / 6 * np.log(1 / 2) + 1 / 3 * np.log(2)
    assert found.mutual_information == pytest.approx(information / np.log(2))


def test_tokens_by_chance_tell_nothing() -> None:
    found = phone_measures(RNG.choice(["a", "b"], 20_000).tolist(), RNG.integers(0, 4, 20_000))
    assert found.mutual_information < 0.001
    assert found.phone_purity == pytest.approx(0.5, abs=0.02)


def test_one_phone_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="two phones"):
        phone_measures(["a", "a"], np.array([0, 1]))
    with pytest.raises(ValueError, match="1 phones for 2 tokens"):
        phone_measures(["a"], np.array([0, 1]))


# --- stability --------------------------------------------------------------------------------------------------------


def test_kept_codes_and_edits_are_counted() -> None:
    before = np.array([[1, 2, 3, 4], [5, 5, 5, 5]])
    after = np.array([[9, 1, 2, 3], [5, 5, 0, 0]])  # the first codes came one frame late
    found = compare_codes([before], [after])
    assert found.kept_first == 0
    assert found.kept_all == 25
    assert found.edit_distance == 50  # one insertion, one deletion, of four
    assert found.frames == 4


def test_a_codec_of_signs_does_not_mind_gain_but_time() -> None:
    def signs(wav: np.ndarray) -> np.ndarray:
        return (wav[: len(wav) // 10 * 10].reshape(-1, 10)[:, :1].T > 0).astype(
            np.int64
        )  # of each frame's first sample

    clip = np.sin(np.arange(1000)).astype(np.float32)
    found = stability(signs, [clip], 10)
    assert found["6 dB quieter"].kept_first == 100
    assert found["one frame later"].kept_first == 100
    assert found["half a frame later"].kept_first < 100
    assert found["noise 30 dB below"].kept_first > 90


def test_noise_lies_as_far_below_as_said() -> None:
    clip = np.sin(np.arange(16_000)).astype(np.float32)
    noise = add_white_noise(clip, 20.0, 0) - clip
    assert 10 * np.log10(np.mean(clip**2) / np.mean(noise**2)) == pytest.approx(20, abs=0.2)


# --- probes -----------------------------------------------------------------------------------------------------------


def test_a_probe_reads_what_is_there_and_not_what_is_not() -> None:
    labels = [str(name) for name in RNG.choice(["a", "b", "c"], 400)]
    vectors = RNG.standard_normal((400, 8)).astype(np.float32)
    groups = [index // 10 for index in range(400)]
    nothing = probe(vectors, labels, groups)
    assert nothing.accuracy == pytest.approx(nothing.chance, abs=15)
    vectors[:, 3] += [10 * "abc".index(name) for name in labels]
    assert probe(vectors, labels, groups).accuracy > 98
    assert nothing.classes == 3
    assert (nothing.trained_on, nothing.tested_on) == (300, 100)


def test_a_probe_is_tested_on_other_clips_than_it_learned_from() -> None:
    # Each clip has a mark of its own, by which its label could be remembered but not told.
    groups = [index // 10 for index in range(400)]
    labels = [str(RNG.integers(2)) for _ in range(40) for _ in range(1)]
    vectors = np.eye(40, dtype=np.float32)[groups]
    assert probe(vectors, [labels[group] for group in groups], groups).accuracy < 90


def test_one_class_is_nothing_to_probe() -> None:
    with pytest.raises(ValueError, match="two classes"):
        probe(np.ones((8, 2), np.float32), ["a"] * 8, range(8))


# --- language model ---------------------------------------------------------------------------------------------------


def test_a_pattern_is_learned_and_noise_is_not() -> None:
    pattern = np.tile(np.arange(8), 40)
    clips = [np.stack([pattern[start % 8 : start % 8 + 100], RNG.integers(0, 8, 100)]) for start in range(60)]
    found = predictability(clips, 8, 50.0, Budget(steps=100, seconds=1.0))
    assert found.perplexity[0] < 1.3  # only the first code of a clip is a surprise
    assert found.perplexity[1] == pytest.approx(8, rel=0.25)
    assert found.bits_per_second == pytest.approx(50 * np.log2(found.perplexity).sum(), rel=1e-4)


def test_finer_codes_are_predicted_from_coarser_ones_of_the_frame() -> None:
    clips = [np.tile(RNG.integers(0, 8, 100), (2, 1)) for _ in range(60)]
    found = predictability(clips, 8, 50.0, Budget(steps=100, seconds=1.0))
    assert found.perplexity[0] > 6
    assert found.perplexity[1] < 1.5


def test_a_language_model_wants_clips_to_be_tested_on() -> None:
    with pytest.raises(ValueError, match="four clips"):
        predictability([np.zeros((1, 10), np.int64)] * 3, 4, 50.0)


# --- stages -----------------------------------------------------------------------------------------------------------


def test_the_five_points_of_our_codec_and_the_three_of_the_acoustic_baseline() -> None:
    wav = (0.1 * RNG.standard_normal(3_300)).astype(np.float32)
    for teacher, names in (
        ("hubert", ["teacher", "before RVQ", "codebook 1", "all codebooks", "semantic decoder"]),
        (None, ["before RVQ", "codebook 1", "all codebooks"]),
    ):
        model = tiny_codec(teacher=teacher)
        codec = Tokenizer("tiny", "tiny", model, model.bandwidths[-1])
        codes, found = stages(codec, wav)
        assert list(found) == names
        assert all(stage.features.shape[0] == codes.shape[1] == 11 for stage in found.values())
        # The code's vector is the nearest to what it stands for, so it is equal for equal codes.
        first = found["codebook 1"].features
        assert (np.isclose(first[:, None], first[None]).all(2) == (codes[0][:, None] == codes[0][None])).all()


def test_of_an_unknown_tokenizer_the_codes_themselves_are_compared() -> None:
    class Stranger:
        sample_rate, frame_rate, hop_length, codebook_size, bandwidths = 16_000, 50.0, 320, 4, (0.2,)

        def encode(self, wav, bandwidth=None, lengths=None):  # type: ignore[no-untyped-def]
            import torch

            return torch.arange(10).reshape(1, 2, 5) % 4

        def decode(self, codes):  # type: ignore[no-untyped-def]
            raise AssertionError("to compare codes, nothing has to be decoded")

    _, found = stages(Tokenizer("s", "s", Stranger(), 0.2), np.zeros(1600, np.float32))
    assert found["all codebooks"].distance == "codes"
    assert found["all codebooks"].features.tolist() == [[0, 1], [1, 2], [2, 3], [3, 0], [0, 1]]
    assert found["codebook 1"].features.shape == (5, 1)
