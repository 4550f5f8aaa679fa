"""Files that appear whole or not at all, and that hold what they were given."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from xcodec import audio

Tone = Callable[..., NDArray[np.float32]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of its own, to see that nothing else is left in it."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("suffix", "form", "subtype"),
    [(".wav", "WAV", "PCM_16"), (".flac", "FLAC", "PCM_16"), (".ogg", "OGG", "VORBIS"), (".OPUS", "OGG", "OPUS")],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_the_suffix_says_the_format(
    folder: Path, tone: Tone, suffix: str, form: str, subtype: str, channels: int
) -> None:
    signal = tone(1.0, 48_000, channels)
    path = folder / f"clip{suffix}"
    assert audio.write(path, signal, 48_000) == 0
    header = soundfile.info(path)
    assert (header.format, header.subtype) == (form, subtype)
    assert (header.samplerate, header.channels, header.frames) == (48_000, channels, 48_000)
    decoded, _ = audio.read(path, mono=False)
    if form == "OGG":  # the sixth channel is for low bass, and the last packet of libsndfile's Opus is poor
        decoded, signal = decoded[:4, :-400], signal[:4, :-400]
    assert np.abs(decoded - signal).max() < (0.1 if form == "OGG" else 2**-15)
    assert os.listdir(folder) == [path.name]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize(("subtype", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
def test_integers_survive_reading_and_writing(folder: Path, suffix: str, subtype: str, bits: int) -> None:
    full = 2 ** (bits - 1)
    random = np.random.default_rng(0).integers(-full, full, 50_000)
    integers = np.concatenate([[-full, full - 1, 0, 1, -1], random]).astype(np.int32) << (32 - bits)
    soundfile.write(folder / f"given{suffix}", integers, 16_000, subtype=subtype)
    decoded, rate = audio.read(folder / f"given{suffix}")
    assert audio.write(folder / f"written{suffix}", decoded, rate, subtype) == 0
    assert np.array_equal(soundfile.read(folder / f"written{suffix}", dtype="int32")[0], integers)


@pytest.mark.parametrize(("subtype", "step"), [("PCM_U8", 2**-8), ("PCM_16", 2**-16), ("PCM_24", 2**-24)])
def test_values_are_rounded_to_the_nearest(folder: Path, subtype: str, step: float) -> None:
    signal = np.linspace(-1, 1 - 2 * step, 12_345)
    audio.write(folder / "clip.wav", signal, 16_000, subtype)
    assert np.abs(soundfile.read(folder / "clip.wav")[0] - signal).max() <= step


def test_values_beyond_one_are_clipped_and_counted(folder: Path) -> None:
    signal = np.array([[0.5, 1.0, -1.0, 1.0001, -7.0, 1e30]])
    for suffix in (".wav", ".flac"):
        assert audio.write(folder / f"clip{suffix}", signal, 16_000) == 3
        top = 32767 / 32768
        assert audio.read(folder / f"clip{suffix}")[0].tolist() == [[0.5, *np.float32([top, -1, top, -1, top])]]
    assert audio.write(folder / "clip.ogg", np.tile(signal, 1_000), 16_000) == 3_000
    assert audio.write(folder / "clip.wav", signal, 16_000, subtype="float") == 0
    assert np.array_equal(soundfile.read(folder / "clip.wav", dtype="float32")[0], signal[0].astype(np.float32))


def test_arrays_of_one_dimension_and_other_float_types(folder: Path) -> None:
    for kind in (np.float16, np.float32, np.float64):
        audio.write(folder / "clip.wav", np.full(10, 0.25, kind), 16_000)
        assert audio.read(folder / "clip.wav")[0].tolist() == [[0.25] * 10]


@pytest.mark.parametrize(
    ("name", "signal", "rate", "subtype", "complaint"),
    [
        ("a.wav", np.array([0, 0, np.nan, np.nan]), 16_000, None, "2 samples are NaN or infinite, first at 2"),
        ("a.wav", np.array([[0, 1], [np.inf, 0]]), 16_000, None, "1 samples are NaN or infinite, first at 0"),
        ("a.wav", np.zeros(5, np.int16), 16_000, None, "samples are int16"),
        ("a.wav", np.zeros((1, 0)), 16_000, None, "no samples"),
        ("a.wav", np.zeros((1, 2, 3)), 16_000, None, r"got \[1, 2, 3\]"),
        ("a.wav", np.float32(1), 16_000, None, r"got \[\]"),
        ("a.wav", np.zeros((0, 5)), 16_000, None, "cannot hold 0 channels"),
        ("a.wav", np.zeros((16_000, 2)), 16_000, None, "cannot hold 16000 channels"),
        ("a.flac", np.zeros((9, 5)), 16_000, None, "cannot hold 9 channels"),
        ("a.mp3", np.zeros(5), 16_000, None, r"cannot write \.mp3; use \.wav"),
        ("a", np.zeros(5), 16_000, None, "no suffix"),
        ("a.flac", np.zeros(5), 16_000, "FLOAT", "cannot hold FLOAT; it holds"),
        ("a.ogg", np.zeros(5), 16_000, "PCM_16", "cannot hold PCM_16; it holds VORBIS"),
        ("a.opus", np.zeros(5), 44_100, None, "Opus cannot hold 44100 Hz; resample to one of 8000"),
        ("a.wav", np.zeros(5), 0, None, "sample rate"),
        ("a.wav", np.zeros(5), -16_000, None, "sample rate"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    folder: Path, name: str, signal: NDArray[np.float32], rate: int, subtype: str | None, complaint: str
) -> None:
    with pytest.raises(audio.AudioError, match=complaint) as caught:
        audio.write(folder / name, signal, rate, subtype)
    assert "\n" not in str(caught.value)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus"])
def test_blocks_make_the_same_audio_as_the_whole(folder: Path, tone: Tone, suffix: str) -> None:
    signal = 3 * tone(3.0, 48_000, 2)
    clipped = audio.write(folder / f"whole{suffix}", signal, 48_000)
    with audio.Writer(folder / f"blocks{suffix}", 48_000, 2) as writer:
        for begin in range(0, signal.shape[1], 7_001):
            writer.write(signal[:, begin : begin + 7_001])
            assert not (folder / f"blocks{suffix}").exists()
    assert writer.samples == signal.shape[1]
    assert writer.clipped == clipped > 0
    whole, _ = audio.read(folder / f"whole{suffix}", mono=False)
    blocks, _ = audio.read(folder / f"blocks{suffix}", mono=False)
    assert whole.shape == blocks.shape == signal.shape
    # Where a Vorbis encoder switches its windows depends on how far it can look ahead.
    assert np.abs(whole - blocks).max() <= (0.1 if suffix == ".ogg" else 0)


def test_minutes_of_vorbis_at_once(folder: Path) -> None:
    """libsndfile alone crashes on this."""
    audio.write(folder / "clip.ogg", np.zeros(3 * 60 * 16_000), 16_000)
    assert audio.info(folder / "clip.ogg").samples == 3 * 60 * 16_000


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_fails_keeps_the_former_file(folder: Path, failure: type[BaseException]) -> None:
    (folder / "clip.wav").write_text("former")

    def write_and_fail() -> None:
        with audio.Writer(folder / "clip.wav", 16_000) as writer:
            writer.write(np.zeros(100_000))
            raise failure

    def write_nothing_finite() -> None:
        with audio.Writer(folder / "clip.wav", 16_000) as writer:
            writer.write(np.zeros(100_000))
            writer.write(np.array([0, 0, np.nan]))

    with pytest.raises(failure):
        write_and_fail()
    with pytest.raises(audio.AudioError, match="first at 100002"):
        write_nothing_finite()
    with pytest.raises(audio.AudioError, match="no samples"), audio.Writer(folder / "clip.wav", 16_000):
        pass
    assert (folder / "clip.wav").read_text() == "former"
    assert os.listdir(folder) == ["clip.wav"]


def test_a_wav_that_grows_beyond_its_header_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xcodec.audio.writing._WAV_MAX_BYTES", 200_000)
    audio.write(folder / "short.wav", np.zeros(99_000), 16_000)
    audio.write(folder / "long.flac", np.random.default_rng(0).uniform(-1, 1, 200_000), 16_000)
    with pytest.raises(audio.AudioError, match=r"write \.flac"):
        audio.write(folder / "long.wav", np.zeros(101_000), 16_000)
    assert sorted(os.listdir(folder)) == ["long.flac", "short.wav"]


def test_atomic_write(folder: Path) -> None:
    target = folder / "table.npy"
    with audio.atomic_write(target) as temporary:
        assert temporary.parent == folder
        assert temporary.suffix == ".npy"
        np.save(temporary, np.arange(3))
        assert not target.exists()
    assert np.load(target).tolist() == [0, 1, 2]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    with pytest.raises(ZeroDivisionError), audio.atomic_write(target) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert np.load(target).tolist() == [0, 1, 2]
    assert os.listdir(folder) == ["table.npy"]


def test_atomic_write_goes_through_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "link.txt").symlink_to(tmp_path / "real.txt")
    for text in ("first", "second"):  # the first time, the link leads nowhere
        with audio.atomic_write(folder / "link.txt") as temporary:
            temporary.write_text(text)
        assert (folder / "link.txt").is_symlink()
        assert (tmp_path / "real.txt").read_text() == text


def test_targets_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (folder / "folder.wav").mkdir()
    for target, kind in [
        (tmp_path / "file/clip.wav", NotADirectoryError),
        (tmp_path / "missing/clip.wav", FileNotFoundError),
        (folder / "folder.wav", IsADirectoryError),
        (folder / f"{'x' * 300}.wav", OSError),
    ]:
        with pytest.raises(kind) as caught:
            audio.write(target, np.zeros(10), 16_000)
        assert str(target) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert os.listdir(folder) == ["folder.wav"]


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    device = tmp_path / "pipe.wav"
    os.mkfifo(device)
    with pytest.raises(OSError, match="Not a regular file"):
        audio.write(device, np.zeros(10), 16_000)
    assert stat.S_ISFIFO(device.stat().st_mode)


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Root may write everything, so what may not be written is tested as another user, to whom the folder belongs."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    os.chown(folder, nobody, nobody)
    os.setresuid(nobody, nobody, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_what_is_read_only_stays_as_it_is() -> None:
    with tempfile.TemporaryDirectory() as name:  # which nobody can reach, unlike pytest's own
        folder = Path(name)
        audio.write(folder / "first.wav", np.zeros(10), 16_000)  # imports what nobody may not be able to read
        (folder / "first.wav").unlink()
        with as_nobody(folder):
            (folder / "clip.wav").write_text("former")
            (folder / "clip.wav").chmod(0o444)
            with pytest.raises(PermissionError, match=r"clip\.wav"):
                audio.write(folder / "clip.wav", np.zeros(10), 16_000)
            (folder / "clip.wav").chmod(0o644)
            folder.chmod(0o555)
            with pytest.raises(PermissionError, match=r"clip\.wav"):
                audio.write(folder / "clip.wav", np.zeros(10), 16_000)
            folder.chmod(0o755)
            assert (folder / "clip.wav").read_text() == "former"
            assert [path.name for path in folder.iterdir()] == ["clip.wav"]


def test_an_error_about_another_file_is_left_alone(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, audio.atomic_write(folder / "copy.txt") as temporary:
        temporary.write_bytes((tmp_path / "missing.txt").read_bytes())
    assert "missing.txt" in str(caught.value)
    assert os.listdir(folder) == []


def test_a_full_disk(folder: Path) -> None:
    """A process whose files may have 10,000 bytes at most, which ends at every place where writing can fail."""
    program = """
        import os, resource, signal, sys
        import numpy as np
        from xcodec import audio

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        noise = np.random.default_rng(0).uniform(-1, 1, (1, 80_000))
        os.chdir(sys.argv[1])
        for suffix, samples in [
            (".wav", 80_000), (".wav", 4_979), (".flac", 80_000), (".flac", 4_979), (".ogg", 80_000),
            (".opus", 80_000),
        ]:
            path = f"clip{suffix}"
            for former in ("former", None):
                if former:
                    open(path, "w").write(former)
                else:
                    os.remove(path)
                try:
                    audio.write(path, noise[:, :samples], 16_000)
                except OSError as error:
                    assert str(error) == f"[Errno 27] File too large: '{path}'", error
                    assert isinstance(error.__cause__, OSError), error.__cause__
                else:
                    raise AssertionError(f"{path} of {samples} samples was written")
                assert os.listdir() == ([path] if former else []), os.listdir()
                assert not former or open(path).read() == former
        try:
            with audio.atomic_write("table.bin") as temporary:
                temporary.write_bytes(bytes(20_000))
        except OSError as error:
            assert str(error) == "[Errno 27] File too large: 'table.bin'", error
        else:
            raise AssertionError("table.bin was written")
        assert os.listdir() == []
        audio.write("clip.wav", noise[:, :4_978], 16_000)
        assert os.path.getsize("clip.wav") == 10_000
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(folder)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
