"""Speech, music and sound from models with random weights: lengths, prompts, seeds, streams, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import tiny_codec
from xcodec import XCodec, audio
from xcodec.generate.codec_io import GenerateError, decode_stream
from xcodec.generate.music_and_sound import MusicGenerator, MusicOptions, SoundGenerator, SoundOptions
from xcodec.generate.speech import SpeechOptions, TextToSpeech, _continued_durations, length_limits
from xcodec.inference.files import FileCodec
from xcodec.lm.checkpoint import load
from xcodec.lm.generation import Sampling
from xcodec.lm.text import TextError
from xcodec.tokens.xc_file import TokenFileError

COMMAND = str(Path(sys.executable).with_name("xcodec"))


@pytest.fixture(scope="module")
def speaker(models: Path, codec: XCodec) -> TextToSpeech:
    return TextToSpeech(models / "speech", codec)


@pytest.fixture(scope="module")
def musician(models: Path, codec: XCodec) -> MusicGenerator:
    return MusicGenerator(models / "music", codec)


def test_sound_that_comes_in_pieces_is_what_the_codec_makes_of_all(codec: XCodec) -> None:
    codes = torch.randint(codec.codebook_size, (2, 170), generator=torch.Generator().manual_seed(0))
    pieces = list(decode_stream(codec, codes.split([1, 90, 44, 35], dim=1), block=10))
    assert len(pieces) > 2
    whole = codec.decode(codes[None])[0].numpy()
    assert np.allclose(np.concatenate(pieces, axis=1), whole, atol=1e-4)


# --- speech -----------------------------------------------------------------------------------------------------------


def test_a_sentence_has_all_codebooks_and_a_length_in_proportion(speaker: TextToSpeech) -> None:
    for text in ("ab", "a much longer sentence than that"):
        codes = speaker.sentence(text, None, SpeechOptions(), seed=0)
        expected = length_limits(3.0 * len(text))
        assert codes.shape[0] == 4
        assert expected.minimum <= codes.shape[1] <= expected.maximum
    assert length_limits(3.0 * 40).maximum < 3 * 40 * 3, "no babbling"


def test_the_speed_decides_the_length_of_aligned_text(speaker: TextToSpeech, models: Path, codec: XCodec) -> None:
    aligned = TextToSpeech(models / "aligned", codec)
    made = {
        speed: aligned.sentence("some words to say", None, SpeechOptions(speed=speed), 0) for speed in (0.25, 1.0, 2.0)
    }
    durations = {speed: codes.shape[1] for speed, codes in made.items()}
    assert durations[0.25] == pytest.approx(4 * durations[1.0], abs=4)
    assert durations[2.0] == pytest.approx(durations[1.0] / 2, abs=1)
    assert made[1.0].shape[0] == 4
    with pytest.raises(GenerateError, match="must be positive"):
        aligned.sentence("some words", None, SpeechOptions(speed=0.0), 0)
    with pytest.raises(GenerateError, match="not aligned"):
        speaker.sentence("some words", None, SpeechOptions(speed=2.0), 0)


def test_a_beginning_is_continued_at_its_own_pace(models: Path, codec: XCodec, voice: Path) -> None:
    aligned = TextToSpeech(models / "aligned", codec)
    known = aligned.voice(voice, "some words")
    aligned_text = aligned.aligned_text("to say", known, SpeechOptions())
    assert aligned_text is not None
    begun = known.codes.shape[1]
    assert aligned_text.frames > begun
    codes = aligned.sentence("to say", known, SpeechOptions(), 0)
    assert codes.shape == (4, aligned_text.frames - begun)
    slow = aligned.aligned_text("to say", known, SpeechOptions(speed=0.5))
    assert slow is not None
    assert slow.frames - begun == pytest.approx(2 * (aligned_text.frames - begun), rel=0.1)
    said = torch.tensor([3, 8, 0, 8, 2, 0, 0])
    usual = torch.tensor([3.0, 4.0, 0.0, 4.0, 4.0, 4.0, 2.0])
    assert _continued_durations(said, usual, 1.0).tolist() == [3, 8, 0, 8, 8, 8, 4], "twice as slow as usual"


def test_the_voice_matters_with_and_without_its_words(speaker: TextToSpeech, voice: Path) -> None:
    options = SpeechOptions()
    bare = speaker.sentence("hello there", None, options, 0)
    unknown = speaker.sentence("hello there", speaker.voice(voice), options, 0)
    known = speaker.sentence("hello there", speaker.voice(voice, "some words"), options, 0)
    assert len({tuple(each[0].tolist()) for each in (bare, unknown, known)}) == 3
    assert speaker.voice(voice).codes.shape == (4, 50)


def test_sentences_end_in_silence_and_paragraphs_in_more(speaker: TextToSpeech) -> None:
    alone = speaker.sentence("One.")
    for text, frames in (("One. Two.", 13), ("One.\n\nTwo.", 35)):
        first, last = speaker.codes(text)
        assert torch.equal(first[:, : alone.shape[1]], alone)
        assert first.shape[1] == alone.shape[1] + frames
        silence = speaker.codec.encode(torch.zeros(1, 1, frames * speaker.codec.hop_length))[0]
        assert torch.equal(first[:, alone.shape[1] :], silence)
        assert torch.equal(last, speaker.sentence("Two.", seed=1)), "no silence after the last"


def test_text_becomes_audio_in_one_call_or_as_a_stream(speaker: TextToSpeech, voice: Path) -> None:
    audio_of_all = speaker("One. Two.", prompt=voice, seed=3)
    assert audio_of_all.dtype == torch.float32
    assert audio_of_all.shape[0] == 1
    assert audio_of_all.shape[1] % speaker.codec.hop_length == 0
    pieces = list(speaker.stream("One. Two.", prompt=speaker.voice(voice), seed=3))
    assert len(pieces) > 1
    assert torch.equal(torch.cat(pieces, dim=1), audio_of_all)
    assert not torch.equal(speaker("One. Two.", prompt=voice, seed=4), audio_of_all)
    assert speaker.sample_rate == 16_000


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ({"guidance": float("nan")}, "guidance must be finite, not nan"),
        ({"speed": float("inf")}, "speed must be finite"),
        ({"seed": 10**20}, "seed must be within 0 and"),
        ({"seed": -1}, "seed must be within 0 and"),
    ],
)
def test_options_that_cannot_be(speaker: TextToSpeech, option: dict[str, float], complaint: str) -> None:
    with pytest.raises(GenerateError, match=complaint):
        speaker("hello", **option)
    if "speed" not in option:
        with pytest.raises(GenerateError, match=complaint):
            SoundOptions(**option)  # type: ignore[arg-type]
    for temperature in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="temperature must be finite"):
            Sampling(temperature)


def test_the_first_stage_alone(speaker: TextToSpeech) -> None:
    codes = speaker.sentence("hello", None, SpeechOptions(nar=False), 0)
    assert codes.shape[0] == 1
    assert torch.equal(codes, speaker.sentence("hello", None, SpeechOptions(), 0)[:1])


def test_sentences_are_spoken_one_after_another_and_repeatably(speaker: TextToSpeech) -> None:
    first = list(speaker.codes("One. Two! Three?"))
    assert len(first) == 3
    assert all(torch.equal(a, b) for a, b in zip(first, speaker.codes("One. Two! Three?"), strict=True))


def test_the_first_stage_alone_comes_frame_by_frame(speaker: TextToSpeech) -> None:
    options = SpeechOptions(nar=False)
    pieces = list(speaker.codes("hello", None, options))
    assert {piece.shape for piece in pieces} == {(1, 1)}
    assert torch.equal(torch.cat(pieces, dim=1), speaker.sentence("hello", None, options, 0))


def test_of_several_samples_the_likeliest_is_taken(speaker: TextToSpeech) -> None:
    several = speaker.autoregressive("hello", None, SpeechOptions(samples=4), 0)
    assert torch.equal(speaker.sentence("hello", None, SpeechOptions(samples=4, nar=False), 0), several[0].codes)


@pytest.mark.parametrize(
    ("text", "complaint"), [("", "nothing to say"), (" .!", "nothing to say"), ("日本", "does not know")]
)
def test_text_that_cannot_be_spoken(speaker: TextToSpeech, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        list(speaker.codes(text))


@pytest.mark.parametrize(
    ("seconds", "level", "complaint"),
    [
        (2.0, 0.0, "is silent"),
        (0.01, 0.3, r"lasts 0\.01 s"),
        (31.0, 0.3, r"lasts 31\.00 s; a prompt must last 0\.5 to 30 s"),
    ],
)
def test_prompts_that_cannot_be(
    speaker: TextToSpeech, tmp_path: Path, seconds: float, level: float, complaint: str
) -> None:
    samples = round(seconds * 16_000)
    audio.write(tmp_path / "p.wav", (level * np.sin(np.arange(samples)))[None].astype(np.float32), 16_000)
    with pytest.raises(GenerateError, match=complaint):
        speaker.voice(tmp_path / "p.wav")


def test_a_voice_is_a_prompt_that_is_encoded_already(models: Path, codec: XCodec, voice: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "speech", tmp_path / "speech")
    assert TextToSpeech(tmp_path / "speech", codec).voices == []
    (tmp_path / "speech" / "voices").mkdir()
    encoded = tmp_path / "speech" / "voices" / "ann.xc"
    FileCodec(codec).encode(voice, encoded)
    speaker = TextToSpeech(tmp_path / "speech", codec)
    assert speaker.voices == ["ann"]
    of_recording = speaker.voice(voice).codes
    for each in ("ann", encoded):
        assert torch.equal(speaker.voice(each).codes, of_recording)
    FileCodec(codec, bandwidth=codec.bandwidths[0]).encode(voice, encoded)
    with pytest.raises(GenerateError, match="has 1 of the 4 codebooks that a prompt needs"):
        speaker.voice("ann")
    FileCodec(tiny_codec(teacher=None, seed=1)).encode(voice, encoded)
    with pytest.raises(TokenFileError, match="was made by model"):
        speaker.voice("ann")


def test_the_words_of_a_prompt_must_be_readable(speaker: TextToSpeech, voice: Path) -> None:
    with pytest.raises(TextError, match="nothing to say"):
        speaker.voice(voice, "")


def test_another_codec_is_refused(models: Path, codec: XCodec) -> None:
    with pytest.raises(GenerateError, match=r"predicts tokens of .* \(tokens 0000000000000000\), but this codec is"):
        TextToSpeech(models / "foreign", codec)


def test_models_of_other_tasks_are_refused(models: Path, codec: XCodec) -> None:
    with pytest.raises(GenerateError, match="reads no text"):
        TextToSpeech(models / "music", codec)
    with pytest.raises(GenerateError, match="reads text, not one that continues music"):
        MusicGenerator(models / "speech" / "ar", codec)
    with pytest.raises(GenerateError, match="reads no captions"):
        SoundGenerator(models / "music", codec)


# --- music and sound --------------------------------------------------------------------------------------------------


def test_music_goes_on_for_as_long_as_asked_beyond_its_window(musician: MusicGenerator) -> None:
    prompt = torch.randint(64, (2, 13), generator=torch.Generator().manual_seed(0))
    made = torch.cat(list(musician.generate(prompt, MusicOptions(seconds=1.1))), dim=1)
    assert made.shape == (2, 55)
    again = torch.cat(list(musician.generate(prompt, MusicOptions(seconds=1.1))), dim=1)
    assert torch.equal(made, again)
    assert not torch.equal(made, torch.cat(list(musician.generate(prompt, MusicOptions(seconds=1.1, seed=1))), dim=1))


@pytest.mark.parametrize("seconds", [0, -1, 1e9])
def test_music_of_an_impossible_length(musician: MusicGenerator, seconds: float) -> None:
    with pytest.raises(GenerateError, match="cannot generate"):
        list(musician.generate(torch.zeros(2, 5, dtype=torch.int64), MusicOptions(seconds=seconds)))


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

    def says(*arguments: str, stdin: bytes = b"") -> str:
        models_used = ["--out", str(out), "--codec", str(tmp_path / "codec"), "--model", str(models / "speech")]
        done = subprocess.run([*command[:3], *arguments, *models_used], capture_output=True, input=stdin)
        return done.stderr.decode()

    (tmp_path / "text.txt").write_text("From a file.", "utf-8-sig")
    for arguments, stdin in [
        (("-5 degrees",), b""),
        (("--text-file", str(tmp_path / "text.txt")), b""),
        (("-",), b"From the standard input.\r\n"),
    ]:
        assert says(*arguments, stdin=stdin).startswith(f"{out}: "), arguments
    for arguments, stdin, complaint in [
        ((), b"", "name either a TEXT"),
        (("Hi.", "--text-file", "x"), b"", "name either a TEXT"),
        (("-",), b"\xff\xfe", "the standard input is no text in UTF-8"),
        (("-",), b"", "nothing to say"),
        (("Hi.", "--guidance", "nan"), b"", "guidance must be finite, not nan"),
        (("Hi.", "--seed", "9" * 20), b"", "seed must be within 0 and"),
    ]:
        error = says(*arguments, stdin=stdin)
        assert complaint in error, arguments
        assert error.count("\n") == 1
    wrong = subprocess.run(
        [*command, str(tmp_path / "codec"), "--model", str(models / "foreign")], capture_output=True, text=True
    )
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: the language model predicts tokens of")
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
    assert (facts["kind"], facts["stage"], facts["codebooks"]) == ("language model", "non-autoregressive", 4)
    refused = run("convert", speech, tmp_path / "llama", "--format", "transformers")
    assert refused.returncode == 1
    assert "not an autoregressive one" in refused.stderr
