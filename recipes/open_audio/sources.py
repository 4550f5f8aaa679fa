"""What each package holds: which files are clips, who speaks in them, in which language, saying what.

A source is a `Source` row plus a function that lists its clips; adding a package means adding one row.
`TRAINING` and `EVALUATION` never share a package: nothing in `EVALUATION` may be trained or tuned on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recipes.open_audio import texts
from recipes.open_audio.packages import AUDIO_SUFFIXES


@dataclass(frozen=True)
class Clip:
    """One recording inside a package, before conversion."""

    path: Path
    """The file as the package has it."""
    name: str
    """Path below the source's folder, without suffix: the clip's identity."""
    domain: str
    """`speech`, `music` or `sound`."""
    speaker: str | None = None
    language: str | None = None
    text: str | None = None
    """Transcript of speech, or a caption of a sound, where known."""
    group: str = ""
    """Clips of one group fall into the same split; by default the clip's own name."""


@dataclass(frozen=True)
class Source:
    """A Debian package and how to read it."""

    package: str
    licence: str
    clips: Callable[[dict[str, Path]], Iterable[Clip]]
    """Lists the clips, given the folders of the packages it needs."""
    needs: tuple[str, ...] = ()
    """Further packages, for transcripts."""
    weight: float = 1.0
    """How often a second of it is drawn, against a second of the others."""


def audio_files(folder: Path) -> list[Path]:
    """Audio files below `folder` in a stable order; not links, as what they point at is there too."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def stem_below(path: Path, folder: Path) -> str:
    """`folder/a/b.ogg` → `a/b`."""
    return path.relative_to(folder).with_suffix("").as_posix()


def family(name: str) -> str:
    """The name without its take number or hardness, so that variants of one sound share a split."""
    return re.sub(r"[-_ ]?(\d+|hard(est)?|soft(est)?|med)$", "", name, flags=re.IGNORECASE)


# --- speech ---------------------------------------------------------------------------------------------


def asterisk(language: str) -> Callable[[dict[str, Path]], Iterator[Clip]]:
    """Telephone prompts of one professional voice; the base package has the transcripts."""
    base = f"asterisk-core-sounds-{language}"

    def clips(folders: dict[str, Path]) -> Iterator[Clip]:
        known = texts.asterisk(folders[base] / f"usr/share/doc/{base}/core-sounds-{language}.txt.gz")
        for voice in sorted((folders[f"{base}-g722"] / "usr/share/asterisk/sounds").iterdir()):
            for path in audio_files(voice):
                name = stem_below(path, voice)
                if not name.startswith("silence/"):
                    yield Clip(path, name, "speech", voice.name, language, known.get(name))

    return clips


def festvox_ru(folders: dict[str, Path]) -> Iterator[Clip]:
    """Read sentences of one voice."""
    voice = folders["festvox-ru"] / "usr/share/festival/voices/russian/msu_ru_nsh_clunits"
    known = texts.festvox(voice / "etc/txt.done.data")
    for path in audio_files(voice / "wav"):
        yield Clip(path, path.stem, "speech", "msu_ru_nsh", "ru", known.get(path.stem))


def fillets(language: str) -> Callable[[dict[str, Path]], Iterator[Clip]]:
    """Acted dialogue of two fishes and those they meet; `m-` is the small fish, `v-` the big one."""

    def clips(folders: dict[str, Path]) -> Iterator[Clip]:
        sounds = folders[f"fillets-ng-data-{language}"] / "usr/share/games/fillets-ng/sound"
        scripts = folders["fillets-ng-data"] / "usr/share/games/fillets-ng/script"
        lines: dict[str, dict[str, str]] = {}
        for path in audio_files(sounds):
            level = path.relative_to(sounds).parts[0]
            if level not in lines:
                lines[level] = texts.fillets(scripts / level, language)
            fish = re.search(r"(?:^|-)([mv])-", path.stem)
            role = {"m": "small", "v": "big"}[fish[1]] if fish else f"other-{level}"
            speaker = f"fillets-{language}-{role}"
            yield Clip(path, stem_below(path, sounds), "speech", speaker, language, lines[level].get(path.stem))

    return clips


def tuxpaint(folders: dict[str, Path]) -> Iterator[Clip]:
    """Stamps: `X_desc_LANG` says the stamp's phrase, `X_LANG` its sound in words, a plain `X` is a noise."""
    stamps = folders["tuxpaint-stamps-default"] / "usr/share/tuxpaint/stamps"
    for path in audio_files(stamps):
        name = stem_below(path, stamps)
        match = re.match(r"^(.*?)(_desc)?(?:_([a-z]{2}(?:_[A-Za-z]{2})?))?(?:\.ogg)?$", path.stem)
        stem, described, language = match.groups() if match else (path.stem, None, None)
        # Plain names are words as well where the stamp is a letter or a number.
        spoken = described or language or "symbols/" in name
        group = stem_below(path.with_name(stem), stamps)
        if not spoken:
            yield Clip(path, name, "sound", text=texts.caption(stem), group=family(group))
            continue
        language = (language or "en").partition("_")[0]
        script = path.with_name(f"{stem}.txt")
        text = texts.tuxpaint(script).get(language) if described and script.exists() else None
        yield Clip(path, name, "speech", f"tuxpaint-{language}", language, text, group)


def by_language(package: str, root: str, pattern: str = "*") -> Callable[[dict[str, Path]], Iterator[Clip]]:
    """Words in a folder per language, each taken to be one voice, and split as a whole."""

    def clips(folders: dict[str, Path]) -> Iterator[Clip]:
        for folder in sorted((folders[package] / root).iterdir()):
            for path in audio_files(folder) if folder.is_dir() else []:
                name = stem_below(path, folder.parent)
                if Path(name).match(pattern):
                    language = re.split(r"[_@]", folder.name)[0]
                    speaker = f"{package}-{folder.name}"
                    yield Clip(path, name, "speech", speaker, language, group=speaker)

    return clips


def gcin(folders: dict[str, Path]) -> Iterator[Clip]:
    """Mandarin syllables, one folder each; the file's name is the voice."""
    root = folders["gcin-voice"] / "usr/share/gcin-voice/ogg"
    for path in audio_files(root):
        name = stem_below(path, root)
        yield Clip(path, name, "speech", f"gcin-{path.stem}", "zh", group=path.parent.name)


def qabcs(folders: dict[str, Path]) -> Iterator[Clip]:
    """Words per language, and noises under plain nouns."""
    root = folders["qabcs-data"] / "usr/share/qabcs/abcs"
    for clip in by_language("qabcs-data", "usr/share/qabcs/abcs")(folders):
        if clip.name.startswith("all/"):
            noise = clip.path.stem
            yield Clip(
                clip.path,
                stem_below(clip.path, root),
                "sound",
                text=texts.caption(noise),
                group=family(noise),
            )
        else:
            yield clip


def hedgewars(folders: dict[str, Path]) -> Iterator[Clip]:
    """Character voices, effects and music of one game."""
    root = folders["hedgewars-data"] / "usr/share/games/hedgewars/Data"
    for path in audio_files(root):
        name = stem_below(path, root)
        if name.startswith("Sounds/voices/"):
            voice = path.parent.name
            language = voice.partition("_")[2] or ("und" if voice == "Russian" else "en")
            yield Clip(path, name, "speech", f"hedgewars-{voice}", language, group=voice)
        elif name.startswith("Sounds/"):
            yield Clip(path, name, "sound", text=texts.caption(path.stem), group=family(path.stem))
        else:
            yield Clip(path, name, "music")


def kajongg(folders: dict[str, Path]) -> Iterator[Clip]:
    """Calls of a board game, several voices; folders outside `de` do not tell their language."""
    voices = folders["kajongg"] / "usr/share/kajongg/voices"
    for path in audio_files(voices):
        speaker = path.parent.relative_to(voices).as_posix()
        language = "de" if speaker.startswith("de/") else "und"
        yield Clip(path, stem_below(path, voices), "speech", f"kajongg-{speaker}", language)


def pocketsphinx(folders: dict[str, Path]) -> Iterator[Clip]:
    """Five LibriVox sentences and five read card names, with transcripts."""
    data = folders["pocketsphinx-testdata"] / "usr/share/pocketsphinx/test/data"
    for folder, script in (("librivox", "transcription"), ("cards", "cards.transcription")):
        known = texts.transcription(data / folder / script)
        for path in audio_files(data / folder):
            yield Clip(path, stem_below(path, data), "speech", f"pocketsphinx-{folder}", "en", known.get(path.stem))


# --- music and sounds -------------------------------------------------------------------------------------


def tracks(package: str, root: str = "usr/share") -> Callable[[dict[str, Path]], Iterator[Clip]]:
    """Music: every audio file is a track."""

    def clips(folders: dict[str, Path]) -> Iterator[Clip]:
        folder = folders[package] / root
        return (Clip(path, stem_below(path, folder), "music") for path in audio_files(folder))

    return clips


def noises(
    package: str, root: str = "usr/share", captions: str | None = "file"
) -> Callable[[dict[str, Path]], Iterator[Clip]]:
    """Sounds: every audio file is one, captioned by its `file` name, by `folder` and file name, or not."""

    def clips(folders: dict[str, Path]) -> Iterator[Clip]:
        folder = folders[package] / root
        for path in audio_files(folder):
            named = {None: [], "file": [path.stem], "folder": [path.parent.name, path.stem]}[captions]
            name = stem_below(path, folder)
            yield Clip(path, name, "sound", text=texts.caption(*named) or None, group=family(name))

    return clips


def both(*parts: Callable[[dict[str, Path]], Iterable[Clip]]) -> Callable[[dict[str, Path]], Iterator[Clip]]:
    """The clips of several listings of one package."""
    return lambda folders: (clip for part in parts for clip in part(folders))


_FILLETS = "usr/share/games/fillets-ng"
_COLOBOT = "usr/share/games/colobot"

TRAINING = (
    *(
        Source(
            f"asterisk-core-sounds-{language}-g722",
            "CC-BY-SA-3.0",
            asterisk(language),
            (f"asterisk-core-sounds-{language}",),
        )
        for language in ("fr", "it", "ru")
    ),
    Source("festvox-ru", "BSD-like", festvox_ru),
    # Much of the Czech dialogue is noisy: DNSMOS 2.0 against about 3.
    Source("fillets-ng-data-cs", "GPL-2", fillets("cs"), ("fillets-ng-data",), weight=0.3),
    Source("fillets-ng-data-nl", "GPL-2", fillets("nl"), ("fillets-ng-data",)),
    Source("tuxpaint-stamps-default", "GPL-2", tuxpaint),
    Source("klettres-data", "GPL-2+", by_language("klettres-data", "usr/share/klettres")),
    Source("ktuberling-data", "GPL-2+", by_language("ktuberling-data", "usr/share/ktuberling/sounds")),
    Source("qabcs-data", "GPL-3+ / CC0", qabcs),
    Source("hedgewars-data", "GPL-2", hedgewars),
    Source("gcin-voice", "GPL-3 / CC-BY-3.0", gcin),
    Source("sonic-pi-samples", "CC0", noises("sonic-pi-samples", "usr/share/sonic-pi/samples")),
    Source("ufoai-sound", "GPL-2+", noises("ufoai-sound", "usr/share/games/ufoai/base", "folder")),
    Source("openarena-data", "GPL-2+", noises("openarena-data", "usr/share/games/openarena", "folder")),
    Source("lmms-common", "GPL-2+ / CC-BY-SA", noises("lmms-common", "usr/share/lmms/samples")),
    Source("hydrogen-drumkits", "GPL-2+ / CC", noises("hydrogen-drumkits", "usr/share/hydrogen/data/drumkits")),
    Source("sound-icons", "GPL-2+", noises("sound-icons")),
    Source(
        "colobot-common-sounds",
        "GPL-3+",
        both(
            noises("colobot-common-sounds", f"{_COLOBOT}/sounds", None),
            tracks("colobot-common-sounds", f"{_COLOBOT}/music"),
        ),
    ),
    Source(
        "fillets-ng-data",
        "GPL-2",
        both(
            noises("fillets-ng-data", f"{_FILLETS}/sound", None),
            tracks("fillets-ng-data", f"{_FILLETS}/music"),
        ),
    ),
    Source("warzone2100-music", "CC-BY-SA-3.0 / CC0 / GPL-2+", tracks("warzone2100-music")),
    # Four of the ten tracks loop: 1.2 of the 2.7 hours are unique.
    Source("planetblupi-music-ogg", "GPL-3+", tracks("planetblupi-music-ogg"), weight=0.45),
    Source("wesnoth-1.16-music", "GPL-2+", tracks("wesnoth-1.16-music")),
    Source("nexuiz-music", "GPL-2+", tracks("nexuiz-music")),
    Source("singularity-music", "CC-BY-SA-3.0", tracks("singularity-music")),
    Source("asc-music", "GPL-2+", tracks("asc-music")),
)

EVALUATION = (
    *(
        Source(
            f"asterisk-core-sounds-{language}-g722",
            "CC-BY-SA-3.0",
            asterisk(language),
            (f"asterisk-core-sounds-{language}",),
        )
        for language in ("en", "es")
    ),
    Source("pocketsphinx-testdata", "BSD-2", pocketsphinx),
    Source("kajongg", "GPL-2+", kajongg),
    Source("drascula-music", "Drascula-License", tracks("drascula-music")),
    Source(
        "hyperrogue-music",
        "CC-BY-SA / CC-BY",
        both(
            tracks("hyperrogue-music", "usr/share/hyperrogue/music"),
            noises("hyperrogue-music", "usr/share/hyperrogue/sounds"),
        ),
    ),
    Source("asterisk-moh-opsound-g722", "CC-BY-SA", tracks("asterisk-moh-opsound-g722")),
    Source("sound-theme-freedesktop", "CC-BY-SA-3.0 / GPL-2+", noises("sound-theme-freedesktop")),
    Source("oxygen-sounds", "LGPL-3+", noises("oxygen-sounds")),
)
