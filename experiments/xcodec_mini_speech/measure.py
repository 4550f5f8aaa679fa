"""Intelligibility of a text-to-speech model: WER on held-out sentences.

The toplines are recordings of the same sentences, and their resynthesis by the codec.

    python -m experiments.xcodec_mini_speech.measure [MODEL] [--count 100] [--out FOLDER]

Sentences and speakers are those of `experiments/codec_does_matter`, fixed by hash: no model was trained on the
sentences, nor on the speaker `flite-awb`. The prompt is three seconds of another clip. An interrupted run resumes; for
another model, name another folder with `--out`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from torch import Tensor

import xcodec
from experiments.codec_does_matter.held_out import Utterance, utterances
from experiments.codec_does_matter.judge import append, read_rows
from experiments.codec_does_matter.make_audio import PROMPT_SECONDS, encode, read_item
from experiments.codec_does_matter.more_speech import HELD_OUT_VOICE
from xcodec import audio
from xcodec.engine.engine import Codec
from xcodec.evaluate.asr import Recogniser, errors
from xcodec.evaluate.summary import estimate
from xcodec.generate.codec_io import default_model
from xcodec.generate.speech import SpeechOptions, TextToSpeech, VoicePrompt

KINDS = ("recorded", "codec", "said")


def say(speaker: TextToSpeech, utterance: Utterance, seed: int) -> np.ndarray:
    """One sentence, float32 [T]."""
    codec = speaker.codec
    prompt = encode(codec, read_item(utterance.prompt, codec.sample_rate))
    voice = VoicePrompt(prompt[:, : round(PROMPT_SECONDS * codec.frame_rate)])
    return decode(codec, speaker.sentence(utterance.text, voice, SpeechOptions(), seed))


def decode(codec: Codec, codes: Tensor) -> np.ndarray:
    """Codes [K, F] as float32 [T]."""
    wav: np.ndarray = codec.decode(codes[None])[0, 0].numpy()
    return wav


def interval(wrong: np.ndarray, words: np.ndarray) -> str:
    """Word error rate in %, with its 95 % interval."""
    found = estimate(wrong.astype(float), words.astype(float))
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def main() -> None:
    """Synthesise, transcribe, count errors; print a table."""
    parser = argparse.ArgumentParser(description="Word errors of a text-to-speech model on held-out sentences.")
    parser.add_argument("model", nargs="?", type=Path, help="folder with ar and nar; default: the one in the package")
    parser.add_argument("--speech", type=Path, default=Path("data/lm-speech/manifest.jsonl"))
    parser.add_argument("--asr", default="data/asr/whisper-base")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("runs/xcodec-mini-speech/measured"))
    options = parser.parse_args()
    speaker = TextToSpeech(options.model or default_model("speech"), xcodec.load())
    recogniser, rate = Recogniser(options.asr), speaker.codec.sample_rate
    options.out.mkdir(parents=True, exist_ok=True)
    journal = options.out / "errors.jsonl"
    known = {row["name"] for row in read_rows(journal)}
    chosen = utterances(options.speech, options.count)
    for index, utterance in enumerate(chosen):
        if utterance.name in known:
            continue
        began = time.process_time()
        wav = say(speaker, utterance, index)
        took = time.process_time() - began
        audio.write(options.out / f"{utterance.name}.wav", wav[None], rate)
        recorded = read_item(utterance.real, rate)
        through = decode(speaker.codec, encode(speaker.codec, recorded))
        row = {"name": utterance.name, "voice": utterance.real.speaker, "text": utterance.text}
        for kind, sound in zip(KINDS, (recorded, through, wav), strict=True):
            transcript = recogniser.transcribe(audio.resample(sound[None], rate, 16_000)[0], "en")
            found = errors(utterance.text, transcript, "en")
            row |= {f"{kind}_transcript": transcript, f"{kind}_errors": found.word_errors, "words": found.words}
        append(journal, row | {"seconds": len(wav) / rate, "took": took})
    names = {utterance.name for utterance in chosen}
    rows = [row for row in read_rows(journal) if row["name"] in names]
    print("| speakers | utterances | recordings, WER % [95 %] | resynthesis by the codec | text-to-speech |")
    print("|---|---|---|---|---|")
    groups = {"seen": [row for row in rows if row["voice"] != HELD_OUT_VOICE]}
    groups["unseen"] = [row for row in rows if row["voice"] == HELD_OUT_VOICE]
    for name, own in (groups | {"all": rows}).items():
        if own:
            words = np.array([row["words"] for row in own])
            rates = [interval(np.array([row[f"{kind}_errors"] for row in own]), words) for kind in KINDS]
            print(f"| {name} | {len(own)} | {' | '.join(rates)} |")
    spoken = sum(row["seconds"] for row in rows)
    print(f"\n{spoken:.0f} s of speech, {spoken / sum(row['took'] for row in rows):.1f} times faster than they last")


if __name__ == "__main__":
    main()
