"""Files that are cut, damaged, hostile or not audio: one clear line each, never less audio and no word."""

from __future__ import annotations

import os
import re
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from xcodec import audio

Tone = Callable[..., NDArray[np.float32]]
Encode = Callable[..., Path]

FILES = Path(__file__).parent / "files"


def ffmpeg_samples(path: Path) -> int:
    """How many samples FFmpeg reads, passing over packets that are no frames."""
    total = 0
    with av.open(path, metadata_errors="ignore") as container:
        for packet in container.demux(audio=0):
            with suppress(av.FFmpegError):
                total += sum(frame.samples for frame in packet.decode())
    return total


def refusal(path: Path) -> str:
    """The error of reading a file, by `read` and by `stream`: the same one line, which names the file."""
    with pytest.raises((audio.AudioError, OSError)) as caught:
        audio.read(path, 16_000)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < len(str(path)) + 150
    with pytest.raises(caught.type, match=re.escape(message)):
        list(audio.stream(path, 16_000))
    return message


def riff(data: bytes, rate: int = 16_000, channels: int = 1, size: int | None = None) -> bytes:
    """A WAV file of 16 bits whose header says what it is told to."""
    block = 2 * channels & 0xFFFF
    size = len(data) if size is None else size
    layout = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * block & 0xFFFFFFFF, block, 16)
    return (
        (b"RIFF" + struct.pack("<I", size + 36 & 0xFFFFFFFF) + b"WAVEfmt " + layout + b"data")
        + struct.pack("<I", size)
        + data
    )


@pytest.fixture
def whole(tmp_path: Path, tone: Tone, encode: Encode) -> Callable[[str], Path]:
    """Make a whole file of some kind."""

    def make(kind: str) -> Path:
        signal = tone(4.0, 48_000)
        path = tmp_path / f"whole.{kind.split()[0]}"
        if kind == "m4a":
            return encode(path, signal, 48_000, "aac")
        if kind == "m4a faststart":
            return encode(path, signal, 48_000, "aac", movflags="faststart")
        if kind in ("mp3", "wav mp3"):
            return encode(path, signal, 48_000, "libmp3lame")
        if kind in ("mkv", "mov", "caf", "w64", "au", "wv", "tta"):
            codec = {"mkv": "flac", "caf": "pcm_s24le", "au": "pcm_s16be", "wv": "wavpack", "tta": "tta"}
            return encode(path, signal, 48_000, codec.get(kind, "pcm_s16le"))
        if kind == "oga":
            return encode(path, signal, 48_000, "flac")
        if kind == "webm":
            return encode(path, signal, 48_000, "libopus", live="1")  # its outer elements state no length
        if kind == "aac":
            return encode(path, signal, 48_000, "aac")
        if kind == "mp3 untagged":
            return encode(path, signal, 48_000, "libmp3lame", write_xing="0")
        options = {
            "opus": {"format": "OGG", "subtype": "OPUS"},
            "wav rf64": {"format": "RF64"},
            "wav adpcm": {"subtype": "MS_ADPCM"},
            "voc": {"format": "VOC"},
            "svx": {"format": "SVX", "subtype": "PCM_16"},
        }.get(kind, {})
        soundfile.write(path, signal.T, 48_000, **options)
        if kind == "flac unstated":
            content = bytearray(path.read_bytes())
            content[21] &= 0xF0  # the 36 bits of STREAMINFO's total of samples
            content[22:26] = bytes(4)
            path.write_bytes(content)
        return path

    return make


KINDS = ["mkv", "webm", "mov", "oga", "caf", "w64", "au", "wv", "tta", "voc", "svx"]
KINDS += [
    "wav",
    "wav rf64",
    "wav mp3",
    "wav adpcm",
    "aiff",
    "flac",
    "flac unstated",
    "ogg",
    "opus",
    "mp3",
    "m4a",
    "m4a faststart",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_refused(kind: str, whole: Callable[[str], Path], tmp_path: Path) -> None:
    path = whole(kind)
    content = path.read_bytes()
    assert audio.read(path)[0].shape[1] == audio.info(path).samples >= 4 * 48_000  # ADPCM comes in blocks
    least = 2_000 if kind == "mp3" else 1  # the last frame of an MP3 ends with padding
    least = 2 if kind == "voc" else least  # the mark of its end
    if kind in ("m4a", "tta"):
        least = 200  # and these may end with tags, after all the audio
    cut = tmp_path / f"cut{path.suffix}"
    for length in [5, 60, 1_000, len(content) // 3, len(content) // 2, len(content) - 2_000, len(content) - least]:
        cut.write_bytes(content[:length])
        refusal(cut)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "opus", "m4a faststart"])
def test_a_part_of_a_cut_file_is_whole_or_refused(kind: str, whole: Callable[[str], Path], tmp_path: Path) -> None:
    path = whole(kind)
    expected, _ = audio.read(path, start=90_000, samples=9_000)
    cut = tmp_path / f"cut{path.suffix}"
    for fraction in (0.3, 0.5, 0.9):
        cut.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
        try:
            part, _ = audio.read(cut, start=90_000, samples=9_000)
        except audio.AudioError:
            continue
        assert np.array_equal(part, expected)


def test_an_ogg_without_its_last_pages_gives_a_warning(whole: Callable[[str], Path], tmp_path: Path) -> None:
    content = whole("ogg").read_bytes()
    cut = tmp_path / "cut.ogg"
    cut.write_bytes(content[: content.rfind(b"OggS")])  # as some encoders leave a file that is whole
    with pytest.warns(UserWarning, match="may be cut short"):
        assert audio.read(cut)[0].shape[1] > 0


@pytest.mark.parametrize("kind", ["ogg", "opus", "flac", "mp3"])
def test_joined_streams_are_read_to_the_end_of_the_last(
    kind: str, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    joined = tmp_path / f"joined.{kind}"
    joined.write_bytes(2 * whole(kind).read_bytes())
    samples = audio.read(joined)[0].shape[1]
    assert samples == audio.info(joined).samples == ffmpeg_samples(joined)
    assert np.array_equal(audio.read(joined, start=samples - 9, samples=9)[0], audio.read(joined)[0][:, -9:])
    assert 8 * 48_000 <= samples < 8 * 48_000 + 3_000


def test_flac_of_unstated_length_is_read_to_its_end(whole: Callable[[str], Path], tone: Tone) -> None:
    path = whole("flac unstated")
    signal = tone(4.0, 48_000)
    assert audio.info(path).samples == signal.shape[1]
    assert np.abs(audio.read(path)[0] - signal).max() <= 2**-15
    assert np.abs(audio.read(path, start=100_000, samples=7)[0] - signal[:, 100_000:100_007]).max() <= 2**-15


def test_flac_that_states_too_much_is_refused(whole: Callable[[str], Path]) -> None:
    path = whole("flac")
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"  # 68,719,476,735 samples: 256 GB
    path.write_bytes(content)
    tracemalloc.start()
    refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()


def test_untagged_mp3_is_read_to_its_end(whole: Callable[[str], Path]) -> None:
    path = whole("mp3 untagged")
    samples = audio.read(path)[0].shape[1]
    assert 4 * 48_000 <= samples < 4 * 48_000 + 3 * 1152
    assert audio.info(path).samples == samples


def test_mp3_after_a_large_tag(whole: Callable[[str], Path], tmp_path: Path) -> None:
    content = whole("mp3").read_bytes()
    frames = content[content.index(b"\xff\xfb") :]
    picture = 300_000
    length = bytes(picture >> shift & 0x7F for shift in (21, 14, 7, 0))
    tagged = tmp_path / "tagged.mp3"
    tagged.write_bytes(b"ID3\x04\x00\x00" + length + bytes(picture) + frames + b"TAG" + bytes(125))
    assert audio.info(tagged).samples == 4 * 48_000
    assert np.array_equal(audio.read(tagged)[0], audio.read(whole("mp3"))[0])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3", "m4a", "aac", "txt", "raw"])
def test_what_is_not_audio(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(b"")
    assert "empty" in refusal(path)
    path.write_text("Not audio, whatever the name says.\n" * 100)
    refusal(path)
    for begin in (b"RIFF", b"fLaC", b"OggS", b"ID3\x04", b"\xff\xfb", b"\xff\xf1", b"\0\0\0\x20ftypM4A ", b"FORM"):
        for length in (0, 1, 30, 5_000):
            path.write_bytes(begin + np.random.default_rng(length).bytes(length))
            refusal(path)


def test_a_playlist_in_disguise_opens_nothing(whole: Callable[[str], Path], tmp_path: Path) -> None:
    target = whole("aac")
    for suffix in ("m4a", "aac", "mp3", "wav"):
        playlist = tmp_path / f"list.{suffix}"
        playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{target}\n#EXT-X-ENDLIST\n")
        refusal(playlist)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        audio.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="No such file"):
        audio.read(tmp_path / "missing.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    with pytest.raises((OSError, RuntimeError)):
        audio.read(tmp_path / "loop.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    for special in (tmp_path / "pipe.wav", Path("/dev/null"), Path("/dev/zero")):
        assert "not a regular file" in refusal(special)


@pytest.mark.parametrize(
    "content",
    [
        riff(bytes(50), rate=0),
        riff(bytes(50), rate=1),
        riff(bytes(50), rate=2**31 - 1),
        riff(bytes(50), rate=2**32 - 1),
        riff(bytes(50), channels=0),
        riff(bytes(50), channels=65_535),
        riff(bytes(50), channels=1_024),
        riff(bytes(50), size=2**32 - 100_000),
        riff(bytes(50), size=2**31 - 100_000),
        riff(b""),
        riff(b"\0"),
        riff(bytes(50))[:30],
        riff(bytes(50)).replace(b"data", b"junk"),
    ],
    ids=lambda content: content[22:44].hex(),
)
def test_hostile_headers(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    tracemalloc.start()
    refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()


@pytest.mark.parametrize("unknown", [0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFF000, 0x7FFFFF00, 0x7FFFFFFF, 0x80000000, 0])
def test_a_wav_whose_writer_was_piped_or_killed_does_not_know_its_length(unknown: int, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(riff(np.arange(1_000, dtype="<i2").tobytes(), size=unknown))
    assert np.array_equal(audio.read(path)[0][0] * 32768, np.arange(1_000))
    assert np.array_equal(audio.read(path, start=300, samples=5)[0][0] * 32768, np.arange(300, 305))
    assert audio.info(path).samples == audio.info(path, stated=True).samples == 1_000


def test_a_wav_of_more_bytes_than_it_states(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    samples = np.arange(1, 1_001, dtype="<i2").tobytes()
    path.write_bytes(riff(samples, size=1_000))
    assert "states 1000 bytes of samples, but 2000 follow" in refusal(path)
    chunk = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf62.12.102\0"
    for tail in (b"", b"\n", bytes(5_000), chunk, chunk[:-3], b"TAG" + 125 * b"x", b"ID3\3\0\0\0\0\0\x0a" + bytes(10)):
        path.write_bytes(riff(samples) + tail)
        assert audio.read(path)[0].shape[1] == audio.info(path).samples == 1_000


def test_a_wav_whose_length_wrapped_at_4_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xcodec.audio.containers._WRAP", 5_000)  # instead of 2³²
    path = tmp_path / "clip.wav"
    samples = np.arange(6_000, dtype="<i2")
    for tail in (b"", b"LIST\x04\0\0\0INFO"):
        path.write_bytes(riff(samples.tobytes(), size=2_000) + tail)
        assert np.array_equal(audio.read(path)[0][0] * 32768, samples)
        assert np.array_equal(audio.read(path, start=5_000)[0][0] * 32768, samples[5_000:])
        assert audio.info(path).samples == 6_000


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac", "ogg", "opus", "mp3", "aac"])
def test_what_follows_a_tag_is_read_to_its_end(suffix: str, whole: Callable[[str], Path], tmp_path: Path) -> None:
    path, tagged = whole(suffix), tmp_path / f"tagged.{suffix}"
    for tag in (
        b"ID3\x03\0\0\0\x01\0\0" + bytes(2**14),
        2 * (b"ID3\x04\0\x10\0\0\0\x0a" + bytes(10) + b"3DI" + bytes(7)),
    ):
        tagged.write_bytes(tag + path.read_bytes())
        assert np.array_equal(audio.read(tagged)[0], audio.read(path)[0])
        assert audio.info(tagged) == audio.info(path)


@pytest.mark.parametrize("name", sorted(file.name for file in (FILES / "odd").iterdir()))
def test_odd_files_give_what_ffmpeg_reads(name: str) -> None:
    """Tags, tails, padding and half frames around MP3; MP3 in WAV; FLAC in OGG."""
    path = FILES / "odd" / name
    samples = audio.read(path)[0].shape[1]
    assert samples == audio.info(path).samples == ffmpeg_samples(path)


@pytest.mark.parametrize(("subtype", "full"), [("FLOAT", 2**15), ("DOUBLE", 2**31), ("FLOAT", 2**7)])
def test_integers_saved_as_floats_are_refused(subtype: str, full: int, tone: Tone, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.rint(tone(1.0).T * full), 44_100, subtype=subtype)
    assert re.search(r"sample \d+ is \d\S*, where full scale is 1.*divide by 32768", refusal(path))
    with pytest.raises(audio.AudioError, match="full scale"):
        audio.info(path)


def test_an_ogg_with_one_damaged_or_missing_page(whole: Callable[[str], Path], tmp_path: Path) -> None:
    content = whole("ogg").read_bytes()
    pages = [place for place in range(len(content)) if content.startswith(b"OggS", place)]
    path = tmp_path / "clip.ogg"
    damaged = bytearray(content)
    damaged[(pages[2] + pages[3]) // 2] ^= 1
    path.write_bytes(damaged)
    assert f"checksum of the OGG page at byte {pages[2]} does not match" in refusal(path)
    path.write_bytes(content[: pages[2]] + content[pages[3] :])
    assert f"a page of its OGG stream is missing at byte {pages[2]}" in refusal(path)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_not_finite(subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    signal = np.zeros((700_000, 2))  # several blocks
    signal[300_000, 0] = np.nan
    signal[300_001] = [np.inf, -np.inf]
    signal[699_999, 1] = np.nan
    soundfile.write(path, signal, 48_000, subtype=subtype)
    assert "3 samples are NaN or infinite, first at 300000" in refusal(path)
    assert audio.read(path, mono=False, samples=300_000)[0].shape == (2, 300_000)
    with pytest.raises(audio.AudioError, match="1 samples are NaN or infinite, first at 699999"):
        audio.read(path, start=500_000)


@pytest.mark.parametrize("kind", [*KINDS, "mp3 untagged", "aac"])
def test_random_damage_never_does_worse_than_an_error(kind: str, whole: Callable[[str], Path], tmp_path: Path) -> None:
    content = whole(kind).read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / f"damaged.{kind.split()[0]}"
    refused = 0
    for _ in range(25):
        damaged = bytearray(content)
        for _ in range(random.integers(1, 8)):
            # Headers are where damage hurts, so half of it goes there.
            place = int(random.integers(0, 200 if random.random() < 0.5 else len(content)))
            damaged[place] = int(random.integers(0, 256))
        path.write_bytes(damaged)
        try:
            samples, _ = audio.read(path, 16_000)
        except (audio.AudioError, OSError):
            refused += 1
        else:
            assert np.isfinite(samples).all()
            assert samples.shape[1] > 0
    assert refused > 0 or kind == "mp3 untagged"  # of which most bytes may be anything


def test_a_damaged_frame_between_others_is_refused(whole: Callable[[str], Path], tmp_path: Path) -> None:
    content = whole("mp3 untagged").read_bytes()
    frames = [place for place in range(len(content)) if content.startswith(b"\xff\xfb", place)]
    path = tmp_path / "damaged.mp3"
    path.write_bytes(content[: frames[9]] + b"\0\0" + content[frames[9] + 2 :])
    assert "damaged" in refusal(path)
    path.write_bytes(content[frames[0] + 100 : frames[-1] + 100])  # half a frame at either end is none
    assert audio.info(path).samples == ffmpeg_samples(path) > 3.9 * 48_000
