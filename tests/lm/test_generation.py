"""Generation: the cache changes nothing, prompts are continued, seeds repeat, limits hold."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.lm.conftest import autoregressive, nonautoregressive
from xcodec.lm.config import CaptionConfig, TextConfig
from xcodec.lm.generation import Limits, Request, Sampling, generate, generate_frames, generate_nar
from xcodec.lm.layout import PAD, context, example, nar_input
from xcodec.lm.model import AutoregressiveLM
from xcodec.lm.text_encoder import AlignedText, round_durations

ALIGNED = TextConfig("characters", aligned=True)
TEXT = [3, 1, 4, 1, 5]
MODELS = {
    "flat-1": {"codebooks": 1},
    "flat-3": {"codebooks": 3},
    "delay-3": {"codebooks": 3, "pattern": "delay"},
}


def request_for(model: AutoregressiveLM, prefix: int = 3, maximum: int = 9, **changes: object) -> Request:
    codes = torch.randint(16, (model.pattern.codebooks, prefix), generator=torch.Generator().manual_seed(5))
    text = TEXT if model.config.text is not None and not model.config.text.aligned else None
    before = context(model.vocabulary, model.pattern, text)
    aligned_text = None
    if model.text_encoder is not None:
        aligned_text = AlignedText.from_durations(
            model.vocabulary, TEXT, round_durations(torch.full((len(TEXT) + 2,), (prefix + maximum) / 5))
        )
    return dataclasses.replace(Request(before, codes, Limits(maximum), aligned_text=aligned_text), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("aligned", [False, True])
def test_the_cache_changes_nothing(kind: str, samples: int, aligned: bool) -> None:
    model = autoregressive(**MODELS[kind], text=TextConfig("characters", aligned=aligned))
    request = request_for(model, samples=samples, seed=1)
    with_cache, without = generate(model, request), generate(model, request, cached=False)
    for first, second in zip(with_cache, without, strict=True):
        assert torch.equal(first.codes, second.codes)
        assert first.log_likelihood == pytest.approx(second.log_likelihood, abs=1e-4)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("prefix", [0, 1, 4])
@pytest.mark.parametrize("text", [None, ALIGNED])
def test_greedy_generation_is_what_the_model_says_of_its_own_output(
    kind: str, prefix: int, text: TextConfig | None
) -> None:
    """The loop agrees with one pass over the whole sequence, as in training: delays, offsets and prompts are right."""
    model = autoregressive(**MODELS[kind], text=text)
    request = request_for(model, prefix=prefix, maximum=6, sampling=Sampling(temperature=0))
    request = dataclasses.replace(request, limits=Limits(6, minimum=6))
    made = generate(model, request)[0].codes
    assert made.shape == (model.pattern.codebooks, 6)
    whole = torch.cat([request.prefix, made], dim=1)
    sequence = example(model.vocabulary, model.pattern, whole, ends=False)
    text_states = None
    if model.text_encoder is not None:
        assert request.aligned_text is not None
        positions = request.aligned_text.autoregressive_positions(1, sequence.ids.shape[1], model.pattern.period)
        text_states = model.text_encoder.upsample(model.text_encoder(request.aligned_text.text[None]), positions[None])
    states = model(sequence.ids[None], text_states=text_states)[0]
    first_step = request.context.shape[1] - 1
    for codebook in range(model.pattern.codebooks):
        for frame in range(prefix, prefix + 6):
            step = frame * model.pattern.period + model.pattern.offsets[codebook]
            logits = model.logits(states[first_step + step], model.pattern.streams[codebook])
            base = model.vocabulary.first_code(codebook)
            assert int(logits[base : base + 16].argmax()) == int(whole[codebook, frame])


@pytest.mark.parametrize("kind", MODELS)
def test_the_prompt_matters_and_is_not_given_back(kind: str) -> None:
    model = autoregressive(**MODELS[kind])
    request = request_for(model, prefix=3, sampling=Sampling(temperature=0))
    request = dataclasses.replace(request, limits=Limits(8, minimum=8))
    other = dataclasses.replace(request, prefix=(request.prefix + 7) % 16)
    assert generate(model, request)[0].codes.shape[1] == 8
    assert not torch.equal(generate(model, request)[0].codes, generate(model, other)[0].codes)


def test_the_seed_repeats_and_another_differs() -> None:
    model = autoregressive(codebooks=2)
    request = dataclasses.replace(request_for(model), limits=Limits(12, minimum=12))
    assert torch.equal(generate(model, request)[0].codes, generate(model, request)[0].codes)
    other = dataclasses.replace(request, seed=1)
    assert not torch.equal(generate(model, request)[0].codes, generate(model, other)[0].codes)


@pytest.mark.parametrize("kind", MODELS)
def test_frames_come_one_by_one_and_are_those_of_generate(kind: str) -> None:
    model = autoregressive(**MODELS[kind])
    request = request_for(model, seed=2)
    said = [frame for frame in generate_frames(model, request) if bool(frame.active[0])]
    whole = generate(model, request)[0]
    assert torch.equal(torch.stack([frame.codes[0] for frame in said], dim=1), whole.codes)


@pytest.mark.parametrize("kind", MODELS)
def test_it_ends_where_the_model_says_so_and_within_its_limits(kind: str) -> None:
    model = autoregressive(**MODELS[kind])
    endings = set()
    for seed in range(30):
        done = generate(model, request_for(model, prefix=2, maximum=10, seed=seed))[0]
        assert 1 <= done.codes.shape[1] <= 10
        assert done.ended or done.codes.shape[1] == 10
        endings.add(done.codes.shape[1])
        assert done.log_likelihood < 0
        assert math.isfinite(done.log_likelihood)
    assert len(endings) > 1, "a random model ends at random"


def test_samples_come_likeliest_first_and_differ() -> None:
    model = autoregressive(codebooks=1)
    request = dataclasses.replace(request_for(model, samples=6), limits=Limits(8, minimum=8))
    made = generate(model, request)
    assert [each.log_likelihood for each in made] == sorted((each.log_likelihood for each in made), reverse=True)
    assert len({tuple(each.codes[0].tolist()) for each in made}) > 1


def test_log_likelihood_is_that_of_the_model() -> None:
    model = autoregressive(codebooks=1)
    request = dataclasses.replace(request_for(model, prefix=2), limits=Limits(5, minimum=5))
    done = generate(model, request)[0]
    sequence = example(model.vocabulary, model.pattern, torch.cat([request.prefix, done.codes], 1), ends=False)
    logits = model.logits(model(sequence.ids[None])[0], 0)
    base = model.vocabulary.first_code(0)
    total = 0.0
    for index in range(5):
        own = logits[request.context.shape[1] - 1 + 2 + index, base : base + 16]
        total += own.log_softmax(-1)[done.codes[0, index]].item()
    assert done.log_likelihood == pytest.approx(total / 5, abs=1e-4)


def test_guidance_stresses_the_condition() -> None:
    model = autoregressive(codebooks=1, captions=CaptionConfig(width=8))
    with torch.no_grad():
        model.no_condition.normal_()
    condition = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    before = context(model.vocabulary, model.pattern)
    plain = Request(before, torch.zeros(1, 0, dtype=torch.int64), Limits(6, 6), Sampling(0), condition=condition)
    strong = dataclasses.replace(plain, guidance=4.0, unconditional=before)
    first = int(generate(model, strong)[0].codes[0, 0])
    given = model(before[None], condition[None])[0, -1]
    bare = model(before[None], condition[None], torch.zeros(1, 1, dtype=torch.bool))[0, -1]
    base = model.vocabulary.first_code(0)
    mixed = (model.logits(bare, 0) + 4 * (model.logits(given, 0) - model.logits(bare, 0)))[base : base + 16]
    assert first == int(mixed.argmax())
    assert torch.equal(generate(model, strong)[0].codes, generate(model, strong, cached=False)[0].codes)
    with pytest.raises(ValueError, match="guidance needs"):
        generate(model, dataclasses.replace(plain, guidance=2.0))


def test_limits_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="cannot generate"):
        Limits(3, 4)


# --- non-autoregressive -----------------------------------------------------------------------------------------------


def test_nar_adds_levels_each_knowing_those_below() -> None:
    model = nonautoregressive()
    first = torch.randint(16, (1, 6), generator=torch.Generator().manual_seed(1))
    prompt = torch.randint(16, (4, 3), generator=torch.Generator().manual_seed(2))
    made = generate_nar(model, TEXT, prompt, first)
    assert made.shape == (4, 6)
    assert torch.equal(made[:1], first)
    given = nar_input(model.vocabulary, TEXT, prompt, made, 2)
    logits = model(given.ids[None], given.targets[None], torch.tensor([2]))
    assert torch.equal(logits.argmax(-1), made[2])
    other = generate_nar(model, TEXT, (prompt + 1) % 16, first)
    assert not torch.equal(made, other), "the voice matters"


def test_nar_goes_on_from_what_was_said_before() -> None:
    model = nonautoregressive()
    prefix = torch.randint(16, (4, 3), generator=torch.Generator().manual_seed(2))
    first = torch.randint(16, (1, 6), generator=torch.Generator().manual_seed(1))
    made = generate_nar(model, TEXT, None, first, prefix=prefix)
    assert made.shape == (4, 6)
    whole = torch.cat([prefix, made], dim=1)
    given = nar_input(model.vocabulary, TEXT, None, whole, 3, given=3)
    assert int(given.targets.sum()) == 6
    logits = model(given.ids[None], given.targets[None], torch.tensor([3]))
    assert torch.equal(logits.argmax(-1), made[3])
    assert not torch.equal(made, generate_nar(model, TEXT, None, first, prefix=(prefix + 1) % 16)), "it matters"


def test_nar_goes_on_from_two_codebooks() -> None:
    model = nonautoregressive()
    first = torch.randint(16, (2, 6), generator=torch.Generator().manual_seed(1))
    made = generate_nar(model, TEXT, None, first)
    assert torch.equal(made[:2], first)
    given = nar_input(model.vocabulary, TEXT, None, made, 2)
    logits = model(given.ids[None], given.targets[None], torch.tensor([2]))
    assert torch.equal(logits.argmax(-1), made[2])


def test_nar_is_told_what_each_frame_says() -> None:
    model = nonautoregressive(text=ALIGNED)
    assert model.text_encoder is not None
    first = torch.randint(16, (1, 6), generator=torch.Generator().manual_seed(1))
    prompt = torch.randint(16, (4, 3), generator=torch.Generator().manual_seed(2))
    durations = [0, 1, 2, 1, 1, 1, 0], [0, 1, 1, 2, 1, 1, 0]
    aligned_texts = [AlignedText.from_durations(model.vocabulary, TEXT, np.array(durations)) for durations in durations]
    made, other = (
        generate_nar(model, TEXT, prompt, first, aligned_text=aligned_text) for aligned_text in aligned_texts
    )
    assert not torch.equal(made, other)
    given = nar_input(model.vocabulary, None, prompt, made, 2)
    positions = torch.cat([torch.full((5,), -1.0), aligned_texts[0].frame_positions[:6]])
    text_states = model.text_encoder.upsample(model.text_encoder(aligned_texts[0].text[None]), positions[None])
    logits = model(given.ids[None], given.targets[None], torch.tensor([2]), text_states)
    assert torch.equal(logits.argmax(-1), made[2])


def test_nar_does_not_see_levels_to_come() -> None:
    model = nonautoregressive()
    codes = torch.randint(16, (4, 6))
    changed = codes.clone()
    changed[2:] = (changed[2:] + 1) % 16
    first, second = (nar_input(model.vocabulary, TEXT, None, each, 2) for each in (codes, changed))
    assert torch.equal(first.ids, second.ids)
    assert int(first.targets.sum()) == 6


def test_padding_does_not_change_refinement() -> None:
    model = nonautoregressive()
    codes = torch.randint(16, (4, 6))
    given = nar_input(model.vocabulary, TEXT, codes[:, :2], codes, 1)
    alone = model(given.ids[None], given.targets[None], torch.tensor([1]))
    ids = torch.nn.functional.pad(given.ids, (0, 5), value=PAD)
    where = torch.nn.functional.pad(given.targets, (0, 5))
    assert torch.allclose(model(ids[None], where[None], torch.tensor([1])), alone, atol=1e-5)
