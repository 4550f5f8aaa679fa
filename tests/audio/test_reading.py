"""Every readable format, rate, channel count and sample type, from real encoded files."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from xcodec import audio

Tone = Callable[..., NDArray[np.float32]]
Encode = Callable[..., Path]

# Suffix -> encoder of FFmpeg (None: libsndfile writes it), and whether decoding gives the input back.
LOSSY = {".ogg": None, ".opus": None, ".mp3": "libmp3lame", ".m4a": "aac", ".g722": "g722"}


def make(path: Path, signal: NDArray[np.float32], sample_rate: int, encode: Encode) -> Path:
    codec = LOSSY.get(path.suffix)
    if codec:
        return encode(path, signal, sample_rate, codec)
    if path.suffix == ".opus":
        soundfile.write(path, signal.T, sample_rate, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, signal.T, sample_rate)
    return path


def rate_of(suffix: str) -> int:
    return {".opus": 48_000, ".g722": 16_000}.get(suffix, 44_100)


def signal_to_noise(clean: NDArray[np.float32], decoded: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(clean**2) / np.mean((clean - decoded) ** 2)))


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 44_100, 48_000])
@pytest.mark.parametrize(
    ("suffix", "subtype", "step"),
    [
        (".wav", "PCM_U8", 2**-7),
        (".wav", "PCM_16", 2**-15),
        (".wav", "PCM_24", 2**-23),
        (".wav", "PCM_32", 2**-24),
        (".wav", "FLOAT", 0.0),
        (".wav", "DOUBLE", 0.0),
        (".flac", "PCM_S8", 2**-7),
        (".flac", "PCM_16", 2**-15),
        (".flac", "PCM_24", 2**-23),
        (".aiff", "PCM_16", 2**-15),
    ],
)
def test_lossless_formats_give_what_was_written(
    tmp_path: Path, tone: Tone, suffix: str, subtype: str, step: float, sample_rate: int, channels: int
) -> None:
    signal = tone(0.05, sample_rate, channels)
    path = tmp_path / f"clip{suffix}"
    soundfile.write(path, signal.T, sample_rate, subtype=subtype)
    decoded, rate = audio.read(path, mono=False)
    assert rate == sample_rate
    assert decoded.dtype == np.float32
    assert decoded.flags.c_contiguous
    assert decoded.shape == signal.shape
    assert np.abs(decoded - signal).max() <= step
    described = audio.info(path)
    assert (described.sample_rate, described.channels) == (sample_rate, channels)
    assert described.samples == signal.shape[1]
    assert described.format.endswith(subtype)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("suffix", LOSSY)
def test_lossy_formats_give_the_same_sound_at_the_same_time(
    tmp_path: Path, tone: Tone, encode: Encode, suffix: str, channels: int
) -> None:
    if (suffix == ".mp3" and channels == 6) or (suffix == ".g722" and channels > 1):
        pytest.skip("the format has no such channels")
    signal = tone(1.01, rate_of(suffix), channels)
    path = make(tmp_path / f"clip{suffix}", signal, rate_of(suffix), encode)
    decoded, rate = audio.read(path, mono=False)
    assert rate == rate_of(suffix)
    assert decoded.shape == signal.shape  # exactly: no encoder delay, no padding
    assert decoded.dtype == np.float32
    assert audio.info(path).samples == signal.shape[1]
    assert audio.info(path).channels == channels
    delay = 22 if suffix == ".g722" else 0  # its filter bank's, which every decoder leaves
    similar = [
        signal_to_noise(clean[4_000:-2_000], noisy[4_000 + delay : len(noisy) - 2_000 + delay]) > 12
        for clean, noisy in zip(signal, decoded, strict=True)
    ]
    assert sum(similar) == (5 if channels == 6 else channels)  # one of six is for low bass


def test_raw_aac_is_read_with_the_frames_of_its_encoder(tmp_path: Path, tone: Tone, encode: Encode) -> None:
    signal = tone(1.0)
    path = encode(tmp_path / "clip.aac", signal, 44_100, "aac")
    decoded, rate = audio.read(path)
    assert rate == 44_100
    assert decoded.shape == (1, 1024 * 45)  # one frame of delay, and the last one filled up
    assert audio.info(path).samples == decoded.shape[1]
    assert signal_to_noise(signal[:, 4_000:-2_000], decoded[:, 1024:][:, 4_000 : 44_100 - 2_000]) > 9


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
def test_one_sample(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    kind = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
    soundfile.write(path, np.full(1, 0.5, np.float32), 48_000, **kind)
    assert audio.info(path).samples == 1
    assert audio.read(path)[0].shape == (1, 1)
    assert audio.read(path, 16_000)[0].shape == (1, 1)  # a third of a sample; never nothing
    assert [block.shape for block in audio.stream(path, 16_000)] == [(1, 1)]


@pytest.mark.parametrize("suffix", [".wav", ".flac", *LOSSY])
def test_digital_silence(tmp_path: Path, encode: Encode, suffix: str) -> None:
    path = make(tmp_path / f"clip{suffix}", np.zeros((1, 48_000), np.float32), rate_of(suffix), encode)
    decoded, _ = audio.read(path, 16_000)
    assert np.abs(decoded).max() <= (0 if suffix in (".wav", ".flac") else 2e-3)


def test_clipped_input_and_values_beyond_one_are_kept(tmp_path: Path) -> None:
    clipped = np.clip(2 * np.sin(np.arange(4_000) / 20), -1, 32767 / 32768)
    soundfile.write(tmp_path / "clipped.wav", (clipped * 32768).astype(np.int16), 16_000)
    decoded, _ = audio.read(tmp_path / "clipped.wav")
    assert np.abs(decoded[0] - clipped).max() < 2**-15
    assert (decoded.min(), decoded.max()) == (-1, np.float32(32767 / 32768))
    soundfile.write(tmp_path / "loud.wav", np.array([3.5, -30.0, 0.25]), 16_000, subtype="FLOAT")
    assert audio.read(tmp_path / "loud.wav")[0].tolist() == [[3.5, -30.0, 0.25]]


def test_mono_is_the_mean_of_all_channels(tmp_path: Path, tone: Tone) -> None:
    signal = tone(0.5, 16_000, 6)
    soundfile.write(tmp_path / "clip.wav", signal.T, 16_000, subtype="FLOAT")
    mono, _ = audio.read(tmp_path / "clip.wav")
    assert mono.shape == (1, 8_000)
    assert np.allclose(mono, signal.mean(axis=0, keepdims=True), atol=1e-7)


@pytest.mark.parametrize("from_rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_resampling_keeps_the_sound_and_its_length(tmp_path: Path, tone: Tone, from_rate: int) -> None:
    signal = tone(1.237, from_rate)
    soundfile.write(tmp_path / "clip.wav", signal.T, from_rate, subtype="FLOAT")
    decoded, rate = audio.read(tmp_path / "clip.wav", 16_000)
    assert rate == 16_000
    assert decoded.shape[1] == int(signal.shape[1] * 16_000 / from_rate + 0.5)
    expected = tone(1.237, 16_000)[:, : decoded.shape[1]]
    middle = slice(500, expected.shape[1] - 500)
    assert np.abs(decoded[:, middle] - expected[:, middle]).max() < 1e-4
    assert np.array_equal(decoded, audio.resample(signal, from_rate, 16_000))
    assert np.array_equal(decoded[0], soxr.resample(signal[0], from_rate, 16_000))


@pytest.mark.parametrize("channels", [1, 2])
def test_resampled_lengths(channels: int) -> None:
    for from_rate, to_rate in [(44_100, 16_000), (48_000, 16_000), (8_000, 16_000), (16_000, 44_100)]:
        for samples in [*range(1, 30), 999, 44_099]:
            got = audio.resample(np.ones((channels, samples), np.float32), from_rate, to_rate)
            assert got.shape == (channels, max(1, int(samples * to_rate / from_rate + 0.5)))
            assert got.dtype == np.float32
    nothing = np.zeros((channels, 0), np.float32)
    assert audio.resample(nothing, 44_100, 16_000).shape == (channels, 0)


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM", "ULAW", "ALAW"])
def test_telephone_encodings_are_read_whole_and_in_part(tmp_path: Path, tone: Tone, subtype: str) -> None:
    path, signal = tmp_path / "clip.wav", tone(1.0, 8_000)
    soundfile.write(path, signal.T, 8_000, subtype=subtype)
    whole, _ = audio.read(path)
    assert signal_to_noise(signal, whole[:, : signal.shape[1]]) > 6
    assert np.array_equal(audio.read(path, start=3_001, samples=777)[0], whole[:, 3_001:3_778])


def test_rates_that_no_audio_has_are_refused(tmp_path: Path, tone: Tone) -> None:
    soundfile.write(tmp_path / "clip.wav", tone(0.1).T, 44_100)
    for rate in (0, -16_000, 1, 10**9):
        with pytest.raises(audio.AudioError, match="sample rate"):
            audio.read(tmp_path / "clip.wav", rate)
        with pytest.raises(audio.AudioError, match="to_rate"):
            audio.resample(tone(0.1), 44_100, rate)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", *LOSSY])
def test_a_part_is_that_part_of_the_whole(tmp_path: Path, tone: Tone, encode: Encode, suffix: str) -> None:
    path = make(tmp_path / f"clip{suffix}", tone(3.0, rate_of(suffix)), rate_of(suffix), encode)
    whole, _ = audio.read(path)
    length = whole.shape[1]
    for start, samples in [(0, 1), (1, 1_000), (33_333, 4_096), (length - 1, 1), (length - 500, 500)]:
        part, _ = audio.read(path, start=start, samples=samples)
        assert part.shape == (1, samples)
        assert np.array_equal(part, whole[:, start : start + samples])
    rest, _ = audio.read(path, start=length - 700)
    assert np.array_equal(rest, whole[:, -700:])
    for start, samples in [(length, 1), (length, None), (length - 10, 11), (-1, 5), (0, 0), (10**15, 10)]:
        with pytest.raises(audio.AudioError):
            audio.read(path, start=start, samples=samples)


@pytest.mark.parametrize("suffix", [".ogg", ".opus", ".mp3", ".flac"])
def test_blocks_and_jumps_meet_in_long_variable_rate_files(
    tmp_path: Path, tone: Tone, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """soundfile by itself fails this: in Vorbis and Opus near the end, in MP3 anywhere."""
    signal = tone(8.0, 48_000)
    signal[:, 150_000:200_000] = np.random.default_rng(0).uniform(-0.3, 0.3, 50_000)
    path = tmp_path / f"clip{suffix}"
    kind = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
    soundfile.write(path, signal.T, 48_000, **kind)
    at_once, _ = soundfile.read(path, dtype="float32")
    whole, _ = audio.read(path)
    assert np.abs(whole[0] - at_once).max() < 1e-5  # two MP3 decoders round differently
    monkeypatch.setattr("xcodec.audio.decoding._BLOCK_VALUES", 5_000)
    assert np.array_equal(audio.read(path)[0], whole)
    for start in [*range(7, signal.shape[1], 67_111), *range(signal.shape[1] - 9_000, signal.shape[1], 1_997)]:
        part, _ = audio.read(path, start=start)
        assert part.shape == whole[:, start:].shape
        # An Opus decoder that starts midway has not heard what was before, and forgets that only slowly.
        assert np.abs(part - whole[:, start:]).max() <= (2e-3 if suffix == ".opus" else 0)


def test_a_part_is_reached_without_decoding_the_rest(tmp_path: Path) -> None:
    signal = np.zeros(200_000, np.float32)
    signal[:50_000] = signal[60_000:] = np.nan  # would be refused if it were looked at
    soundfile.write(tmp_path / "clip.wav", signal, 16_000, subtype="FLOAT")
    part, _ = audio.read(tmp_path / "clip.wav", start=50_000, samples=10_000)
    assert part.shape == (1, 10_000)
    assert audio.stated_seconds(tmp_path / "clip.wav") == 12.5
    assert audio.info(tmp_path / "clip.wav", stated=True).samples == 200_000


@pytest.mark.parametrize("mono", [True, False])
@pytest.mark.parametrize("sample_rate", [None, 16_000, 48_000])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".m4a"])
def test_a_stream_is_the_file_bit_by_bit(
    tmp_path: Path, tone: Tone, encode: Encode, suffix: str, sample_rate: int | None, mono: bool
) -> None:
    path = make(tmp_path / f"clip{suffix}", tone(4.3, 44_100, 2), 44_100, encode)
    whole, rate = audio.read(path, sample_rate, mono)
    for seconds in (0.1, 2.0, 100.0):
        blocks = list(audio.stream(path, sample_rate, mono, seconds))
        size = round(seconds * rate)
        assert [block.shape[1] for block in blocks[:-1]] == [size] * (len(blocks) - 1)
        assert 0 < blocks[-1].shape[1] <= size
        assert np.array_equal(np.concatenate(blocks, axis=1), whole)


def test_a_stream_needs_little_memory(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-9_000, 9_000, (60 * 48_000, 2), dtype=np.int16)
    soundfile.write(tmp_path / "long.wav", noise, 48_000)  # 23 MB as float32
    tracemalloc.start()
    total = sum(block.shape[1] for block in audio.stream(tmp_path / "long.wav", 16_000, block_seconds=1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 60 * 16_000
    assert peak < 8e6


def test_the_content_counts_not_the_suffix(tmp_path: Path, tone: Tone, encode: Encode) -> None:
    soundfile.write(tmp_path / "a.wav", tone().T, 44_100)
    (tmp_path / "a.wav").rename(tmp_path / "a.mp3")
    encode(tmp_path / "b.m4a", tone(), 44_100, "aac").rename(tmp_path / "b.wav")
    assert audio.info(tmp_path / "a.mp3").format == "WAV PCM_16"
    assert audio.info(tmp_path / "b.wav").format == "M4A aac"


@pytest.mark.parametrize("suffix", [".wav", ".m4a"])
def test_any_file_name(tmp_path: Path, tone: Tone, encode: Encode, suffix: str) -> None:
    path = make(tmp_path / f"clip{suffix}", tone(0.2), 44_100, encode)
    whole, _ = audio.read(path)
    names = ["naïve 語 🎵", "-x", "a:b|c", "new\nline", os.fsdecode(b"not-utf8-\xff")]
    for name in names:
        other = tmp_path / f"{name}{suffix}"
        other.write_bytes(path.read_bytes())
        assert np.array_equal(audio.read(other)[0], whole)
    link = tmp_path / f"link{suffix}"
    link.symlink_to(path)
    assert np.array_equal(audio.read(str(link))[0], whole)


def test_find_audio(tmp_path: Path) -> None:
    for name in ["b.WAV", "a.flac", "sub/c.opus", "sub/x.txt", ".hidden.wav", ".cache/d.wav", "sub/._e.wav"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "broken.wav").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked.wav").symlink_to(tmp_path / "a.flac")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    found = [file.relative_to(tmp_path).as_posix() for file in audio.find_audio(tmp_path)]
    assert found == ["a.flac", "b.WAV", "broken.wav", "linked.wav", "loop.wav", "sub/c.opus"]
    assert audio.find_audio(tmp_path / "sub/x.txt") == [tmp_path / "sub/x.txt"]
    assert audio.find_audio(tmp_path / ".cache") == [tmp_path / ".cache/d.wav"]
    with pytest.raises(FileNotFoundError):
        audio.find_audio(tmp_path / "nowhere")


def test_links_to_folders_are_entered_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.wav").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "in")
    assert audio.find_audio(tmp_path / "in") == [tmp_path / "in" / "linked" / "a.wav"]


def encoded(track: av.AudioStream, signal: NDArray[np.float32], sample_rate: int) -> list[av.Packet]:
    """All packets of a track; a container wants every track encoded before the first packet is written."""
    layout = "mono" if len(signal) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(signal), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
    return [*track.encode(frame), *track.encode(None)]


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "aac"), (".mov", "pcm_s16le"), (".mkv", "flac"), (".webm", "libopus")]
)
def test_audio_of_videos(tmp_path: Path, tone: Tone, suffix: str, codec: str) -> None:
    path, signal = tmp_path / f"film{suffix}", tone(1.0, 48_000, 2)
    with av.open(path, "w") as container:
        video = container.add_stream("libvpx" if suffix == ".webm" else "mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream(codec, rate=48_000, layout="stereo")
        images = [packet for _ in range(25) for packet in video.encode(av.VideoFrame(64, 64, "yuv420p"))]
        container.mux([*images, *video.encode(None), *encoded(sound, signal, 48_000)])
    assert audio.find_audio(tmp_path) == [path]
    decoded, _ = audio.read(path, mono=False)
    assert decoded.shape == signal.shape
    assert audio.info(path).samples == 48_000
    assert signal_to_noise(signal[:, 4_000:-4_000], decoded[:, 4_000:-4_000]) > 9


@pytest.mark.parametrize(
    "kind", ["VOC", "IRCAM", "SVX", "AVR", "PAF", "PVF", "AU", "NIST", "W64", "CAF", "CAF ALAC_16"]
)
def test_old_formats_are_read_to_the_last_sample(tmp_path: Path, tone: Tone, kind: str) -> None:
    name, _, subtype = kind.partition(" ")
    signal = tone(1.0, 16_000, 1 if kind == "SVX" else 2)
    soundfile.write(tmp_path / "clip", signal.T, 16_000, format=name, subtype=subtype or "PCM_16")
    decoded, rate = audio.read(tmp_path / "clip", mono=False)
    assert (rate, decoded.shape) == (16_000, signal.shape)
    assert np.abs(decoded - signal).max() <= 2**-15
    assert audio.info(tmp_path / "clip").samples == audio.info(tmp_path / "clip", stated=True).samples == 16_000


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("nut", "flac"), ("flv", "flac"), ("adx", "adpcm_adx"), ("sox", "pcm_s32le"), ("caf", "alac"), ("wtv", "flac")],
)
def test_rare_containers_are_read_to_the_last_sample(
    tmp_path: Path, tone: Tone, encode: Encode, suffix: str, codec: str
) -> None:
    """Also those with empty packets or an empty last frame, or whose end FFmpeg itself would cut off twice."""
    signal = tone(0.501, 48_000)
    decoded = audio.read(encode(tmp_path / f"clip.{suffix}", signal, 48_000, codec))[0]
    assert 0 <= decoded.shape[1] - signal.shape[1] < 32  # ADPCM comes in blocks
    assert np.abs(decoded[:, : signal.shape[1]] - signal).max() < 0.03  # as its ADPCM is


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(path, "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        container.mux([*video.encode(av.VideoFrame(64, 64, "yuv420p")), *video.encode(None)])
    with pytest.raises(audio.AudioError, match="holds no audio track"):
        audio.read(path)


def test_of_several_tracks_the_first_is_read_with_a_warning(tmp_path: Path, tone: Tone) -> None:
    path, signals = tmp_path / "film.mkv", [tone(1.0, 16_000), -tone(0.5, 16_000)]
    with av.open(path, "w") as container:
        tracks = [container.add_stream("flac", rate=16_000, layout="mono") for _ in signals]
        tracks[1].metadata["language"] = "fre"
        made = [encoded(track, signal, 16_000) for track, signal in zip(tracks, signals, strict=True)]
        container.mux([packet for packets in made for packet in packets])
    with pytest.warns(UserWarning, match=r"of its 2 audio tracks \(0: und flac, 1: fre flac\), the first is read"):
        assert audio.read(path)[0].shape == (1, 16_000)
    assert audio.info(path, track=1).samples == 8_000
    assert np.abs(audio.read(path, track=1)[0] - signals[1]).max() < 2**-14
    soundfile.write(tmp_path / "clip.wav", signals[0].T, 16_000)
    with pytest.raises(audio.AudioError, match="has no audio track 1; it has 0: und pcm"):
        audio.read(tmp_path / "clip.wav", track=1)
    for track in (2, -1):
        with pytest.raises(audio.AudioError, match=f"has no audio track {track}; it has 0: und"):
            audio.read(path, track=track)


def test_many_channels(tmp_path: Path) -> None:
    signal = np.random.default_rng(0).uniform(-0.5, 0.5, (500, 24)).astype(np.float32)
    for kind in ("WAV", "W64"):  # by libsndfile, by FFmpeg
        soundfile.write(tmp_path / "clip", signal, 16_000, format=kind, subtype="FLOAT")
        assert np.array_equal(audio.read(tmp_path / "clip", mono=False)[0], signal.T)
