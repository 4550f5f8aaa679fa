"""Speech, music and sound from models with random weights: lengths, prompts, seeds, streams, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from xcodec import XCodec, audio
from xcodec.generate.common import GenerateError, as_sound
from xcodec.generate.music import MusicGenerator, MusicOptions, SoundGenerator
from xcodec.generate.speech import SpeechGenerator, SpeechOptions, _continued, limits
from xcodec.lm.checkpoint import load
from xcodec.lm.text import TextError

COMMAND = str(Path(sys.executable).with_name("xcodec"))


@pytest.fixture(scope="module")
def speaker(models: Path, codec: XCodec) -> SpeechGenerator:
    return SpeechGenerator(models / "speech", codec)


@pytest.fixture(scope="module")
def musician(models: Path, codec: XCodec) -> MusicGenerator:
    return MusicGenerator(models / "music", codec)


def test_sound_that_comes_in_pieces_is_what_the_codec_makes_of_all(codec: XCodec) -> None:
    codes = torch.randint(codec.codebook_size, (2, 170), generator=torch.Generator().manual_seed(0))
    pieces = list(as_sound(codec, codes.split([1, 90, 44, 35], dim=1), block=10))
    assert len(pieces) > 2
    whole = codec.decode(codes[None])[0].numpy()
    assert np.allclose(np.concatenate(pieces, axis=1), whole, atol=1e-4)


# --- speech -----------------------------------------------------------------------------------------------------------


def test_a_sentence_has_all_codebooks_and_a_length_in_proportion(speaker: SpeechGenerator) -> None:
    for text in ("ab", "a much longer sentence than that"):
        codes = speaker.say(text, None, SpeechOptions(), seed=0)
        expected = limits(3.0 * len(text))
        assert codes.shape[0] == 4
        assert expected.least <= codes.shape[1] <= expected.most
    assert limits(3.0 * 40).most < 3 * 40 * 3, "no babbling"


def test_the_speed_decides_the_length_of_aligned_text(speaker: SpeechGenerator, models: Path, codec: XCodec) -> None:
    aligned = SpeechGenerator(models / "aligned", codec)
    made = {speed: aligned.say("some words to say", None, SpeechOptions(speed=speed), 0) for speed in (0.25, 1.0, 2.0)}
    lasts = {speed: codes.shape[1] for speed, codes in made.items()}
    assert lasts[0.25] == pytest.approx(4 * lasts[1.0], abs=4)
    assert lasts[2.0] == pytest.approx(lasts[1.0] / 2, abs=1)
    assert made[1.0].shape[0] == 4
    with pytest.raises(GenerateError, match="must be positive"):
        aligned.say("some words", None, SpeechOptions(speed=0.0), 0)
    with pytest.raises(GenerateError, match="not aligned"):
        speaker.say("some words", None, SpeechOptions(speed=2.0), 0)


def test_a_beginning_is_continued_at_its_own_pace(models: Path, codec: XCodec, voice: Path) -> None:
    aligned = SpeechGenerator(models / "aligned", codec)
    known = aligned.read_voice(voice, "some words")
    script = aligned.script("to say", known, SpeechOptions())
    assert script is not None
    begun = known.codes.shape[1]
    assert script.frames > begun
    codes = aligned.say("to say", known, SpeechOptions(), 0)
    assert codes.shape == (4, script.frames - begun)
    slow = aligned.script("to say", known, SpeechOptions(speed=0.5))
    assert slow is not None
    assert slow.frames - begun == pytest.approx(2 * (script.frames - begun), rel=0.1)
    said = torch.tensor([3, 8, 0, 8, 2, 0, 0])
    usual = torch.tensor([3.0, 4.0, 0.0, 4.0, 4.0, 4.0, 2.0])
    assert _continued(said, usual, 1.0).tolist() == [3, 8, 0, 8, 8, 8, 4], "twice as slow as usual"


def test_the_voice_matters_with_and_without_its_words(speaker: SpeechGenerator, voice: Path) -> None:
    options = SpeechOptions()
    bare = speaker.say("hello there", None, options, 0)
    unknown = speaker.say("hello there", speaker.read_voice(voice), options, 0)
    known = speaker.say("hello there", speaker.read_voice(voice, "some words"), options, 0)
    assert len({tuple(each[0].tolist()) for each in (bare, unknown, known)}) == 3
    assert speaker.read_voice(voice).codes.shape == (4, 50)


def test_the_first_stage_alone(speaker: SpeechGenerator) -> None:
    codes = speaker.say("hello", None, SpeechOptions(refine=False), 0)
    assert codes.shape[0] == 1
    assert torch.equal(codes, speaker.say("hello", None, SpeechOptions(), 0)[:1])


def test_sentences_are_spoken_one_after_another_and_repeatably(speaker: SpeechGenerator) -> None:
    first = list(speaker.speak("One. Two! Three?"))
    assert len(first) == 3
    assert all(torch.equal(a, b) for a, b in zip(first, speaker.speak("One. Two! Three?"), strict=True))


def test_the_first_stage_alone_comes_frame_by_frame(speaker: SpeechGenerator) -> None:
    options = SpeechOptions(refine=False)
    pieces = list(speaker.speak("hello", None, options))
    assert {piece.shape for piece in pieces} == {(1, 1)}
    assert torch.equal(torch.cat(pieces, dim=1), speaker.say("hello", None, options, 0))


def test_of_several_samples_the_likeliest_is_taken(speaker: SpeechGenerator) -> None:
    several = speaker.first_stage("hello", None, SpeechOptions(samples=4), 0)
    assert torch.equal(speaker.say("hello", None, SpeechOptions(samples=4, refine=False), 0), several[0].codes)


@pytest.mark.parametrize(
    ("text", "complaint"), [("", "nothing to say"), (" .!", "nothing to say"), ("日本", "does not know")]
)
def test_text_that_cannot_be_spoken(speaker: SpeechGenerator, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        list(speaker.speak(text))


@pytest.mark.parametrize(
    ("seconds", "level", "complaint"),
    [
        (2.0, 0.0, "is silent"),
        (0.01, 0.3, r"lasts 0\.01 s"),
        (31.0, 0.3, r"lasts 31\.00 s; a prompt must last 0\.5 to 30 s"),
    ],
)
def test_prompts_that_cannot_be(
    speaker: SpeechGenerator, tmp_path: Path, seconds: float, level: float, complaint: str
) -> None:
    samples = round(seconds * 16_000)
    audio.write(tmp_path / "p.wav", (level * np.sin(np.arange(samples)))[None].astype(np.float32), 16_000)
    with pytest.raises(GenerateError, match=complaint):
        speaker.read_voice(tmp_path / "p.wav")


def test_the_words_of_a_prompt_must_be_readable(speaker: SpeechGenerator, voice: Path) -> None:
    with pytest.raises(TextError, match="nothing to say"):
        speaker.read_voice(voice, "")


def test_another_codec_is_refused(models: Path, codec: XCodec) -> None:
    with pytest.raises(GenerateError, match=r"speaks tokens of .* \(tokens 0000000000000000\), but this codec is"):
        SpeechGenerator(models / "foreign", codec)


def test_models_of_other_tasks_are_refused(models: Path, codec: XCodec) -> None:
    with pytest.raises(GenerateError, match="reads no text"):
        SpeechGenerator(models / "music", codec)
    with pytest.raises(GenerateError, match="reads text, not one that continues music"):
        MusicGenerator(models / "speech" / "ar", codec)
    with pytest.raises(GenerateError, match="reads no captions"):
        SoundGenerator(models / "music", codec)


# --- music and sound --------------------------------------------------------------------------------------------------


def test_music_goes_on_for_as_long_as_asked_beyond_its_window(musician: MusicGenerator) -> None:
    prompt = torch.randint(64, (2, 13), generator=torch.Generator().manual_seed(0))
    made = torch.cat(list(musician.go_on(prompt, MusicOptions(seconds=1.1))), dim=1)
    assert made.shape == (2, 55)
    again = torch.cat(list(musician.go_on(prompt, MusicOptions(seconds=1.1))), dim=1)
    assert torch.equal(made, again)
    assert not torch.equal(made, torch.cat(list(musician.go_on(prompt, MusicOptions(seconds=1.1, seed=1))), dim=1))


@pytest.mark.parametrize("seconds", [0, -1, 1e9])
def test_music_of_an_impossible_length(musician: MusicGenerator, seconds: float) -> None:
    with pytest.raises(GenerateError, match="cannot go on"):
        list(musician.go_on(torch.zeros(2, 5, dtype=torch.int64), MusicOptions(seconds=seconds)))


def test_a_text_encoder_that_is_not_there(models: Path, codec: XCodec) -> None:
    with pytest.raises(TextError, match="no text encoder at"):
        SoundGenerator(models / "sound", codec)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_speaks_and_says_what_is_wrong(models: Path, codec: XCodec, voice: Path, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path / "codec")
    out = tmp_path / "out.wav"
    command = [COMMAND, "generate", "speech", "hello there", "--prompt", str(voice), "--out", str(out), "--codec"]
    done = subprocess.run(
        [*command, str(tmp_path / "codec"), "--model", str(models / "speech")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert audio.info(out).sample_rate == codec.sample_rate
    wrong = subprocess.run(
        [*command, str(tmp_path / "codec"), "--model", str(models / "foreign")], capture_output=True, text=True
    )
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: the language model speaks tokens of")
    assert wrong.stderr.count("\n") == 1


def test_convert_and_info_of_a_language_model(models: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)

    speech = models / "speech" / "nar"
    done = run("convert", speech, tmp_path / "half", "--half")
    assert done.returncode == 0, done.stderr
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "half", speech)]
    assert 0.4 < sizes[0] / sizes[1] < 0.6
    whole, half = load(speech).state_dict(), load(tmp_path / "half").state_dict()
    assert all(torch.allclose(half[name], whole[name], rtol=1e-3, atol=1e-5) for name in whole)
    facts = json.loads(run("info", tmp_path / "half", "--json").stdout)
    assert (facts["kind"], facts["stage"], facts["codebooks"]) == ("language model", "refining", 4)
    refused = run("convert", speech, tmp_path / "llama", "--format", "transformers")
    assert refused.returncode == 1
    assert "not one that says frame after frame" in refused.stderr
