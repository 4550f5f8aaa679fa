"""The parts of `recipes/open_audio` that must not go wrong silently: splits, resuming, transcripts, the plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recipes.open_audio import convert, corpus, sources, speak, texts, voices


def test_splits_are_stable_and_have_the_promised_shares() -> None:
    split_of = corpus.split_of
    counts = Counter(split_of(f"group {i}") for i in range(20000))
    assert counts["valid"] == pytest.approx(400, abs=80)
    assert counts["test"] == pytest.approx(400, abs=80)
    # Pinned: another hash would move clips that models were trained on into the test set.
    assert [split_of(name) for name in ("group 30", "group 8", "group 0")] == ["valid", "test", "train"]


def test_training_and_evaluation_share_no_package() -> None:
    train = {source.package for source in sources.TRAINING}
    assert train.isdisjoint(source.package for source in sources.EVALUATION)
    assert len(train) == len(sources.TRAINING)


def test_a_journal_survives_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    journal_class = corpus.Journal
    path = tmp_path / "journal.jsonl"
    with journal_class(path) as journal:
        journal.add("a.flac", {"samples": 1})
    with path.open("a") as file:
        file.write('{"key": "b.flac", "sam')
    with journal_class(path) as journal:
        assert journal.done == {"a.flac": {"samples": 1}}
        journal.add("b.flac", {"samples": 2})
    with journal_class(path) as journal:
        assert journal.done == {"a.flac": {"samples": 1}, "b.flac": {"samples": 2}}


def test_two_runs_cannot_build_the_same_corpus(tmp_path: Path) -> None:
    journal_class = corpus.Journal
    with journal_class(tmp_path / "journal.jsonl"), pytest.raises(OSError, match="another run is at work"):
        journal_class(tmp_path / "journal.jsonl")


def test_a_clip_becomes_16_khz_flac_without_its_silent_edges(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    silence = np.zeros(22050)
    soundfile.write(tmp_path / "in.wav", np.concatenate([silence, tone, silence]), 22050)
    done = convert.convert(tmp_path / "in.wav", tmp_path / "deep/out.flac", trim=True)
    audio, rate = soundfile.read(tmp_path / "deep/out.flac")
    assert rate == 16000
    assert len(audio) == done.samples
    assert done.seconds == pytest.approx(1.2, abs=0.03)
    assert 400 < done.bandwidth < 520
    assert done.skipped is None


@pytest.mark.parametrize(
    ("rate", "seconds", "level", "reason"),
    [(8000, 1, 0.5, "only 8000 Hz"), (16000, 0.1, 0.5, "shorter"), (16000, 1, 1e-4, "silent")],
)
def test_useless_clips_are_left_out_for_a_reason(
    tmp_path: Path, rate: int, seconds: float, level: float, reason: str
) -> None:
    soundfile.write(tmp_path / "in.wav", np.full(int(rate * seconds), level), rate)
    assert reason in convert.convert(tmp_path / "in.wav", tmp_path / "out.flac", False).skipped
    assert not (tmp_path / "out.flac").exists()


def test_an_unreadable_clip_is_left_out_for_a_reason(tmp_path: Path) -> None:
    (tmp_path / "in.ogg").write_bytes(b"not audio at all")
    skipped = convert.convert(tmp_path / "in.ogg", tmp_path / "out.flac", False).skipped
    assert "unreadable" in skipped


def test_transcripts_of_each_format_are_read(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text('( ru_1 "Мир, тр+уд." )\n', "utf-8")
    assert texts.festvox(path) == {"ru_1": "Мир, труд."}
    path.write_text("A lemon.\nde.utf8=Eine Zitrone.\nca@valencia.utf8=Una llima.\n", "utf-8")
    assert texts.tuxpaint(path) == {"en": "A lemon.", "de": "Eine Zitrone.", "ca@valencia": "Una llima."}
    path.write_text("<s> ten of clubs  </s> (001)\n")
    assert texts.transcription(path) == {"001": "ten of clubs"}
    (tmp_path / "dialogs_nl.lua").write_text(
        'dialogId("m-x", "font_small", "Father was \\"right\\".")\ndialogStr("Vader had gelijk.")\n'
        'dialogId("v-y", "font_big", "Not translated.")\n'
    )
    assert texts.fillets(tmp_path, "nl") == {"m-x": "Vader had gelijk."}
    assert texts.caption("ambi_DarkWoosh2") == "ambient dark woosh"


def test_any_beginning_of_the_plan_is_balanced_and_more_hours_keep_it() -> None:
    sentences = [f"This is a sentence, and its number is {'x' * (i % 40)} {i}." for i in range(600)]
    hours = {"kokoro": 1.2, "piper": 0.5, "flite": 0.3}
    lines = speak.plan(sentences, hours)
    assert len({line.target for line in lines}) == len(lines), "no voice says a sentence twice"
    for engine, wanted in hours.items():
        characters = sum(len(line.sentence) for line in lines if line.engine == engine)
        assert characters / speak.CHARACTERS_PER_SECOND / 3600 == pytest.approx(wanted, rel=0.05)
    kokoro = [line for line in lines if line.engine == "kokoro"]
    turns = Counter(line.speaker for line in kokoro[: 28 + 24])
    assert len(turns) == 28
    assert {turns[speaker] for speaker in voices.HELD_OUT_VOICES} == {1}, "of held-out voices a little is enough"
    assert {turns[speaker] for speaker in turns if speaker not in voices.HELD_OUT_VOICES} == {2}
    assert {line.split for line in kokoro if line.speaker == "kokoro-bf_emma"} == {"test"}
    assert len(kokoro) > len(sentences), "then the sentences come again, in another order"
    assert speak.plan(sentences, {"kokoro": 1.5})[: len(kokoro)] == kokoro
    engines = Counter(line.source for line in lines[: len(lines) // 10])
    assert engines["synthetic-kokoro"] == pytest.approx(len(kokoro) / 10, rel=0.1)


def test_kokoro_has_its_own_spelling_of_american_and_british() -> None:
    spelling = voices.kokoro_spelling
    assert spelling("həlˈoʊ bˈɜːd") == "həlˈO bˈɜɹd"
    assert spelling("həlˈəʊ ðˈeə bˈɜːd", british=True) == "həlˈQ ðˈɛː bˈɜːd"
