"""What should the first codebook quantise, so that it keeps words? Candidates trained for equal time.

    python -m experiments.xcodec_mini.first_codebook prepare data/open-audio data/first-codebook --hours 2
    python -m experiments.xcodec_mini.first_codebook run data/first-codebook data/valid-english \
        data/models/whisper-base share-0.35 no-teacher lda learns --minutes 5

A candidate is a way to make vectors of frames of 20 ms: mel bands beside features of a frozen teacher. Two residual
codebooks of 1,024 entries are placed on them by k-means. A small decoder learns Whisper's log-mel spectrogram from the
codes, and Whisper-base transcribes it on real speech unseen in training; no vocoder is involved. As the teacher
is a relative of that recogniser, a classifier of phones that is no relative (it is trained here, on true log-mel
spectrograms, with pocketsphinx's alignment as labels) gives the share of frames whose phone is kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from xcodec import audio
from xcodec.utils.spectra import stft

RATE, HOP = 16_000, 320
CODEBOOK_SIZE = 1024
CROP = 200
"""Frames of a training crop: 4 s."""
BATCH = 8
CHANGES_WEIGHT = 2.0
"""Of the teacher's movements under changes that leave phones alone, among its movements within phones."""

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


# --- candidates ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """What is quantised, and how it is decoded."""

    share: float = 0.35
    """Of the variance, that of the teacher's features; 0: no teacher."""
    projection: str = "pca"
    """`pca`: the principal directions of the teacher's features; `lda`: those that separate phones."""
    dims: int = 48
    context: int = 1
    """Frames side by side whose features are projected."""
    gain_invariant: bool = False
    """All entries of the first codebook are equally loud: what differs is the shape of the spectrum."""
    learns: bool = False
    """A residual encoder learns on with the decoder, straight through the codebooks, which follow by moving average."""
    lookahead: int = 3
    """Future frames among the seven of each decoder block's kernel; 3 is symmetric."""
    speaker: bool = False
    """Condition the decoder on the mean of the clip's log-mel spectrogram, unquantised: an upper bound."""


LDA = {"projection": "lda", "dims": 38}
CANDIDATES = {
    "no-teacher": Candidate(share=0),
    "pca": Candidate(),
    "pca-learns": Candidate(learns=True),
    "pca-speaker": Candidate(speaker=True),
    "pca-lookahead": Candidate(lookahead=1),
    "lda": Candidate(**LDA),
    "lda-3": Candidate(**LDA, context=3),
    "lda-3-0.5": Candidate(**LDA, context=3, share=0.5),
    "lda-3-0.5-gain": Candidate(**LDA, context=3, share=0.5, gain_invariant=True),
    "lda-3-0.7-gain": Candidate(**LDA, context=3, share=0.7, gain_invariant=True),
    "no-teacher-gain": Candidate(share=0, gain_invariant=True),
}


# --- frames of the corpus, computed once --------------------------------------------------------------------


@dataclass
class Frames:
    """Of many clips, one after the other; N frames of 20 ms."""

    bands: Tensor
    """[N, 200]: compressed mel bands of two windows, what the codec's spectral encoder begins as."""
    log_mel: Tensor
    """[N, 160]: two frames of Whisper's log-mel spectrogram."""
    teacher: Tensor
    """[N, 384]: Whisper tiny.en, hidden state 3."""
    phones: Tensor
    """int64 [N]: index of the phone; -1 where none is known."""
    clips: list[slice]
    changes: Tensor
    """[M, 384]: how the teacher's features move when only level, noise or the grid of frames do."""


class FeatureExtractor:
    """Everything a candidate may want of a clip."""

    def __init__(self, teacher_folder: Path) -> None:
        from xcodec.codec.config import SpectralConfig, TeacherConfig
        from xcodec.codec.semantic import Teacher
        from xcodec.codec.spectral import SpectralEncoder
        from xcodec.train.init import load_teacher

        architecture = json.loads((teacher_folder / "config.json").read_text())
        config = TeacherConfig(architecture=architecture, source=str(teacher_folder), layers=3, window=3.0, context=0.5)
        self.teacher = Teacher(config, RATE)
        load_teacher(self.teacher)
        self.encoder = SpectralEncoder(SpectralConfig(), HOP, RATE)

    @torch.inference_mode()
    def __call__(self, samples: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Samples [T] -> bands [F, 200], log-mel [F, 160], teacher [F, 384]."""
        wav = torch.from_numpy(samples)[None, None]
        wav = F.pad(wav, (0, -wav.shape[2] % HOP))
        frames = wav.shape[2] // HOP
        bands = self.encoder.spectrogram.analyse(wav) @ self.encoder.filters
        log_mel = log_mel_spectrogram(self.teacher.network, wav[:, 0])
        return (
            bands.reshape(frames, -1),
            log_mel[0].T.reshape(frames, 160),
            self.teacher(wav, frames)[0].T,
        )


def log_mel_spectrogram(whisper: Any, wav: Tensor) -> Tensor:
    """[B, F × 320] -> Whisper's [B, 80, 2 F]."""
    power = stft(wav, torch.hann_window(400), 160)[:, :-1].abs().square()
    return whisper.log_mel(power.transpose(1, 2), whisper.filters)  # (B, F, bins) -> (B, bins, F)


@app.command()
def prepare(
    corpus: Annotated[Path, typer.Argument(help="The folder of recipes/open-audio.")],
    out: Annotated[Path, typer.Argument(help="Folder for the features.")],
    hours: Annotated[float, typer.Option(help="Of speech, half of it synthetic English.")] = 2.0,
    phone_hours: Annotated[float, typer.Option(help="Of synthetic English, to be aligned with its phones.")] = 0.5,
    teacher: Annotated[Path, typer.Option(help="Whisper tiny.en's encoder.")] = Path(
        "data/teachers/whisper-tiny.en-encoder"
    ),
) -> None:
    """Compute the features of training speech, once."""
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text("utf-8").splitlines()]
    rng = np.random.default_rng(0)
    speech = [row for row in rows if row["domain"] == "speech" and row["split"] == "train" and row["seconds"] > 1]
    chosen = []
    for english in (True, False):
        group = [row for row in speech if row["source"].startswith("synthetic") == english]
        group = [group[index] for index in rng.permutation(len(group))]
        seconds = 0.0
        for row in sorted(group, key=lambda row: row["source"] != "synthetic-kokoro"):  # the most natural ones first
            if seconds < hours / 2 * 3600:
                chosen.append(row)
                seconds += row["seconds"]
        print(f"{'synthetic English' if english else 'human speech'}: {seconds / 3600:.2f} h", flush=True)
    extract, label = FeatureExtractor(teacher), PhoneLabels()
    parts: list[list[Tensor]] = [[], [], [], []]
    aligned, changes = 0.0, []
    for number, row in enumerate(chosen):
        samples = audio.read(corpus / row["path"], RATE)[0][0]
        features = extract(samples)
        if number % 8 == 0:
            changes += [(extract(change(samples))[2] - features[2]).half() for change in CHANGES.values()]
        phones = torch.full((len(features[0]),), -1)
        if row["source"].startswith("synthetic") and aligned < phone_hours * 3600:
            aligned += row["seconds"]
            phones = label(samples, row["text"], len(phones))
        for part, values in zip(parts, (*features, phones), strict=True):
            part.append(values if values.dtype == torch.int64 else values.half())
    out.mkdir(parents=True, exist_ok=True)
    lengths = [len(phones) for phones in parts[3]]
    frames = {"parts": [torch.cat(part) for part in parts], "lengths": lengths, "changes": torch.cat(changes)}
    torch.save(frames, out / "frames.pt")
    print(f"{sum(lengths) / 50 / 3600:.2f} h, {int((torch.cat(parts[3]) >= 0).sum())} frames with phones")


class PhoneLabels:
    """pocketsphinx's phones as numbers."""

    def __init__(self) -> None:
        from xcodec.evaluate.alignment import PhoneAligner

        self.align = PhoneAligner()
        self.names: list[str] = []

    def __call__(self, samples: np.ndarray, text: str, frames: int) -> Tensor:
        """int64 [frames]: -1 where none is known."""
        from xcodec.evaluate.alignment import AlignmentError

        labels = torch.full((frames,), -1)
        try:
            for phone in self.align(samples, text):
                if phone.phone not in self.names:
                    self.names.append(phone.phone)
                labels[phone.frames(50, frames)] = self.names.index(phone.phone)
        except AlignmentError:
            pass
        return labels


def load_frames(folder: Path) -> Frames:
    """What `prepare` wrote."""
    saved = torch.load(folder / "frames.pt", weights_only=True)
    ends = np.cumsum(saved["lengths"])
    clips = [slice(int(end - length), int(end)) for end, length in zip(ends, saved["lengths"], strict=True)]
    bands, log_mel, teacher, phones = saved["parts"]
    return Frames(bands, log_mel, teacher, phones, clips, saved["changes"])


@app.command()
def directions(
    folder: Annotated[Path, typer.Argument(help="What `prepare` wrote.")],
    out: Annotated[Path, typer.Argument(help="A safetensors file, for `semantic_directions` of a training config.")],
    dims: Annotated[int, typer.Option()] = 38,
    context: Annotated[int, typer.Option(help="Frames side by side.")] = 3,
) -> None:
    """Write the directions of the teacher's features that tell phones apart, [context, D, dims]."""
    from safetensors.torch import save_file

    frames = load_frames(folder)
    _, found = _lda(frames, context, dims)
    save_file({"directions": found.reshape(context, -1, dims).contiguous()}, out)


# --- what is quantised --------------------------------------------------------------------------------------


class Vectors:
    """Frames -> vectors whose distances say what should be kept. Fitted on the corpus."""

    def __init__(self, candidate: Candidate, frames: Frames) -> None:
        bands, teacher = frames.bands.float(), frames.teacher.float()
        self.share = candidate.share
        self.band_mean = bands.mean(0)
        self.band_scale = (1 - self.share) ** 0.5 / (bands - self.band_mean).square().sum(1).mean().sqrt()
        self.acoustic_width = bands.shape[1]
        if self.share:
            self.context = candidate.context
            fit = _lda if candidate.projection == "lda" else _pca
            self.teacher_mean, self.directions = fit(frames, candidate.context, candidate.dims)
            projected = (side_by_side(teacher, self.context) - self.teacher_mean) @ self.directions
            self.teacher_scale = self.share**0.5 / projected.square().sum(1).mean().sqrt()

    def __call__(self, bands: Tensor, teacher: Tensor) -> Tensor:
        """[N, 200], [N, 384] -> [N, D]."""
        acoustic = (bands.float() - self.band_mean) * self.band_scale
        if not self.share:
            return acoustic
        teacher = side_by_side(teacher.float(), self.context)
        semantic = (teacher - self.teacher_mean) @ self.directions * self.teacher_scale
        return torch.cat([acoustic, semantic], 1)

    def without_gain(self, vectors: Tensor) -> Tensor:
        """[N, D] without their part in the direction of the mean spectrum, which is what a gain changes most."""
        direction = self.band_mean / self.band_mean.norm()
        acoustic = vectors[:, : self.acoustic_width]
        without = acoustic - (acoustic @ direction)[:, None] * direction
        return torch.cat([without, vectors[:, self.acoustic_width :]], 1)


def side_by_side(features: Tensor, count: int) -> Tensor:
    """[N, D] -> [N, count × D]: each frame between its neighbours; the first and last stand in for missing ones."""
    at = torch.arange(len(features))[:, None] + torch.arange(count) - count // 2
    return features[at.clamp(0, len(features) - 1)].flatten(1)


def _moments(points: Tensor, context: int) -> Tensor:
    """Mean outer product of [N, D], side by side; in pieces, as they take much memory."""
    total = sum(x.T @ x for x in (side_by_side(chunk.double(), context) for chunk in points.split(20_000)))
    return cast(Tensor, total) / len(points)


def _pca(frames: Frames, context: int, dims: int) -> tuple[Tensor, Tensor]:
    mean = frames.teacher.float().mean(0).repeat(context)
    covariance = _moments(frames.teacher, context) - torch.outer(mean, mean).double()
    return mean, torch.linalg.eigh(covariance)[1].flip(1)[:, :dims].float()


def _lda(frames: Frames, context: int, dims: int) -> tuple[Tensor, Tensor]:
    """Directions in which phones differ, and changes of level, noise and the grid of frames do not; the variance within
    phones is one."""
    known = frames.phones >= 0
    x, labels = side_by_side(frames.teacher, context)[known].double(), frames.phones[known]
    count = torch.bincount(labels).double()
    means = torch.zeros(len(count), x.shape[1], dtype=torch.double).index_add_(0, labels, x) / count[:, None]
    within = (x - means[labels]).T @ (x - means[labels]) / len(x) + CHANGES_WEIGHT * _moments(frames.changes, context)
    within += 1e-3 * within.diagonal().mean() * torch.eye(len(within), dtype=torch.double)
    between = (means - x.mean(0)).T @ ((means - x.mean(0)) * count[:, None]) / len(x)
    values, vectors = torch.linalg.eigh(within)
    whiten = vectors / values.sqrt()
    directions = whiten @ torch.linalg.eigh(whiten.T @ between @ whiten)[1].flip(1)[:, :dims]
    return frames.teacher.float().mean(0).repeat(context), directions.float()


def kmeans(points: Tensor, iterations: int = 12) -> Tensor:
    """[N, D] -> [1024, D]."""
    from xcodec.codec.config import QuantizerConfig
    from xcodec.codec.quantizer import Codebook

    config = QuantizerConfig(codebook_size=CODEBOOK_SIZE, kmeans_iterations=iterations)
    codebook = Codebook(config, points.shape[1], seed=0)
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:150_000]
    codebook.initialise(points[chosen])
    return codebook.vectors


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """[N, D], [M, D] -> int64 [N]."""
    bias = centres.square().sum(1)
    return torch.cat([(bias - 2 * chunk @ centres.T).argmin(1) for chunk in points.split(8192)])


# --- networks -----------------------------------------------------------------------------------------------


class Block(nn.Module):
    """ConvNeXt with a choice of how much of what is to come it sees."""

    def __init__(self, width: int, lookahead: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, groups=width)
        self.padding = (6 - lookahead, lookahead)
        self.norm = nn.LayerNorm(width)
        self.expand, self.contract = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, C] -> [B, F, C]."""
        y = F.pad(x.transpose(1, 2), self.padding)[..., None]  # (B, F, C) -> (B, C, F, 1)
        y = F.conv2d(y, self.depthwise.weight[..., None], self.depthwise.bias, groups=y.shape[1])
        y = y[..., 0].transpose(1, 2)  # (B, C, F, 1) -> (B, F, C)
        return x + self.scale * self.contract(F.gelu(self.expand(self.norm(y))))


def convnext(channels_in: int, width: int, layers: int, channels_out: int, lookahead: int = 3) -> nn.Sequential:
    """[B, F, C] -> [B, F, C']."""
    blocks = [Block(width, lookahead) for _ in range(layers)]
    return nn.Sequential(nn.Linear(channels_in, width), *blocks, nn.LayerNorm(width), nn.Linear(width, channels_out))


class Model(nn.Module):
    """Vectors -> codes -> log-mel."""

    def __init__(self, candidate: Candidate, codebooks: list[Tensor], acoustic_width: int) -> None:
        super().__init__()
        width = codebooks[0].shape[1]
        self.candidate = candidate
        self.acoustic_width = acoustic_width
        self.register_buffer("first", codebooks[0].clone())
        self.register_buffer("second", codebooks[1].clone())
        self.register_buffer("uses", torch.ones(2, CODEBOOK_SIZE))
        self.register_buffer("sums", torch.stack(codebooks))
        self.encoder = convnext(width, 256, 3, width) if candidate.learns else None
        if self.encoder is not None:
            nn.init.zeros_(self.encoder[-1].weight)
            nn.init.zeros_(self.encoder[-1].bias)
        extra = 160 if candidate.speaker else 0
        self.decoder = convnext(width + extra, 256, 5, 160, candidate.lookahead)

    def forward(self, vectors: Tensor, speaker: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, F, D], [B, 160], int64 [B] -> log-mel [B, F, 160], and the commitment loss."""
        if self.encoder is not None:
            vectors = vectors + self.encoder(vectors)
        points = vectors.flatten(0, 1)
        residual, total, commitment = points, torch.zeros_like(points), points.new_zeros(())
        used = levels.repeat_interleave(vectors.shape[1])[:, None]
        for level, centres in enumerate((self.first, self.second)):
            codes = nearest(residual.detach(), centres)
            chosen = centres[codes]
            commitment = commitment + (residual - chosen).square().sum(1).mean()
            if self.encoder is not None and self.training:
                self._follow(level, centres, residual.detach(), codes)
            total = total + chosen * (level < used)
            residual = residual - chosen
        total = points + (total - points).detach() if self.encoder is not None else total
        quantized = total.view_as(vectors)
        if self.candidate.speaker:
            quantized = torch.cat([quantized, speaker[:, None].expand(-1, vectors.shape[1], -1)], 2)
        return self.decoder(quantized), commitment

    def _follow(self, level: int, centres: Tensor, points: Tensor, codes: Tensor) -> None:
        if level:  # of what the first left over, the acoustic channels alone
            points = F.pad(points[:, : self.acoustic_width], (0, points.shape[1] - self.acoustic_width))
        uses = torch.bincount(codes, minlength=CODEBOOK_SIZE).float()
        sums = torch.zeros_like(centres).index_add_(0, codes, points)
        self.uses[level].lerp_(uses, 0.01)
        self.sums[level].lerp_(sums, 0.01)
        centres.copy_(self.sums[level] / self.uses[level].clamp(min=1e-3)[:, None])


# --- evaluation -------------------------------------------------------------------------------------------------


class WhisperReader:
    """Whisper-base transcribes log-mel spectrograms of at most 30 s, greedily."""

    def __init__(self, folder: Path) -> None:
        import ctranslate2
        from tokenizers import Tokenizer

        self.model = ctranslate2.models.Whisper(str(folder), compute_type="int8", intra_threads=1)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        marks = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>")
        self.prompt = [self.tokenizer.token_to_id(mark) for mark in marks]

    def __call__(self, log_mel: Tensor) -> str:
        """[80, N] -> words."""
        import ctranslate2

        floor = log_mel.max() - 2
        padded = torch.full((1, 80, 3000), float(floor))
        padded[0, :, : log_mel.shape[1]] = log_mel.clamp(min=float(floor))
        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(padded.numpy()))
        result = self.model.generate(features, [self.prompt], beam_size=1, max_length=224)[0]
        return str(self.tokenizer.decode(result.sequences_ids[0], skip_special_tokens=True))


def phone_classifier(frames: Frames, minutes: float) -> nn.Module:
    """Trained on true log-mel spectrograms [B, F, 160] -> [B, F, phones], with level and noise varied."""
    torch.manual_seed(0)
    classes = int(frames.phones.max()) + 1
    network = convnext(160, 128, 3, classes)
    known = [clip for clip in frames.clips if (frames.phones[clip] >= 0).any()]
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    rng = np.random.default_rng(0)
    begin = time.process_time()
    while time.process_time() - begin < 60 * minutes:
        crops = list(_crops(known, 100, 16, rng))
        x = torch.stack([frames.log_mel[crop].float() for crop in crops])
        x = x + 0.2 * torch.randn(len(x), 1, 1) + 0.1 * torch.randn_like(x)
        y = torch.stack([frames.phones[crop] for crop in crops])
        loss = F.cross_entropy(network(x).flatten(0, 1), y.flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


# --- the comparison -----------------------------------------------------------------------------------------


def _crops(clips: list[slice], length: int, count: int, rng: np.random.Generator) -> Iterator[slice]:
    """Random crops of clips that are long enough."""
    while count:
        clip = clips[rng.integers(len(clips))]
        if clip.stop - clip.start > length:
            start = int(rng.integers(clip.start, clip.stop - length))
            count -= 1
            yield slice(start, start + length)


def train(candidate: Candidate, frames: Frames, minutes: float) -> tuple[Model, Vectors, int]:
    """For so many minutes of processor time, k-means not counted."""
    torch.manual_seed(0)
    make = Vectors(candidate, frames)
    vectors = make(frames.bands, frames.teacher)
    first = kmeans(make.without_gain(vectors) if candidate.gain_invariant else vectors)
    residual = vectors - first[nearest(vectors, first)]
    residual[:, make.acoustic_width :] = 0
    model = Model(candidate, [first, kmeans(residual)], make.acoustic_width)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1.5e-3, betas=(0.9, 0.98))
    rng = np.random.default_rng(0)
    speakers = frames.log_mel
    begin, steps = time.process_time(), 0
    while (progress := (time.process_time() - begin) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min(1, (steps + 1) / 50) * (0.5 + 0.5 * np.cos(np.pi * progress))
        crops = list(_crops(frames.clips, CROP, BATCH, rng))
        target = torch.stack([frames.log_mel[crop].float() for crop in crops])
        speaker = torch.stack([speakers[crop].float().mean(0) for crop in crops])
        levels = torch.from_numpy(rng.integers(1, 3, len(crops)))
        output, commitment = model(torch.stack([vectors[crop] for crop in crops]), speaker, levels)
        loss = (output - target).abs().mean()
        if candidate.learns:
            loss = loss + 0.02 * commitment
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        steps += 1
    return model.eval(), make, steps


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="What `prepare` wrote.")],
    validation: Annotated[Path, typer.Argument(help="Real speech, FLAC files of at most 30 s.")],
    reader: Annotated[Path, typer.Argument(help="Whisper-base as a CTranslate2 folder.")],
    names: Annotated[list[str], typer.Argument(help=f"Of: {', '.join(CANDIDATES)}.")],
    minutes: Annotated[float, typer.Option(help="Of processor time, for each.")] = 5.0,
    teacher: Annotated[Path, typer.Option()] = Path("data/teachers/whisper-tiny.en-encoder"),
    out: Annotated[Path | None, typer.Option(help="JSON lines to append to.")] = None,
) -> None:
    """Train candidates, and evaluate them on real speech."""
    torch.set_num_threads(1)
    frames, extract, read = load_frames(folder), FeatureExtractor(teacher), WhisperReader(reader)
    recordings = [audio.read(path, RATE)[0][0] for path in sorted(validation.glob("*.flac"))]
    clips = [extract(samples) for samples in recordings]
    changed = {name: [extract(change(samples)) for samples in recordings] for name, change in CHANGES.items()}
    classify = phone_classifier(frames, 1.0)

    def judge(log_mels: list[Tensor]) -> tuple[list[str], Tensor]:
        with torch.inference_mode():
            texts = [read(log_mel.reshape(-1, 80).T) for log_mel in log_mels]
            return texts, torch.cat([classify(log_mel[None])[0].argmax(1) for log_mel in log_mels])

    true_texts, true_phones = judge([log_mel for _, log_mel, _ in clips])
    loud = torch.cat([log_mel.mean(1) for _, log_mel, _ in clips])
    loud = loud > loud.quantile(0.3)  # phones are undefined in pauses
    for name in names:
        model, make, steps = train(CANDIDATES[name], frames, minutes)
        result: dict[str, Any] = {"candidate": name, "steps": steps, "minutes": minutes}
        for levels in (1, 2):
            with torch.inference_mode():
                outputs = [
                    model(make(bands, teacher)[None], log_mel.mean(0)[None], torch.tensor([levels]))[0][0]
                    for bands, log_mel, teacher in clips
                ]
            texts, phones = judge(outputs)
            errors = [(o - m).abs().mean() for o, (_, m, _) in zip(outputs, clips, strict=True)]
            result[f"wer_{levels}"] = word_error_rate(true_texts, texts)
            result[f"phones_{levels}"] = float((phones == true_phones)[loud].float().mean()) * 100
            result[f"l1_{levels}"] = float(torch.stack(errors).mean())
        codes = first_codes(model, make, clips)
        for change, versions in changed.items():
            result[f"kept_{change}"] = float((first_codes(model, make, versions) == codes).float().mean()) * 100
        line = json.dumps(
            {key: round(value, 3) if isinstance(value, float) else value for key, value in result.items()}
        )
        print(line, flush=True)
        if out is not None:
            with out.open("a") as file:
                file.write(line + "\n")


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "6 dB less": lambda samples: samples / 2,
    "noise 30 dB below": lambda samples: (
        samples + np.random.default_rng(0).normal(0, samples.std() / 10**1.5, len(samples)).astype(np.float32)
    ),
    "half a frame": lambda samples: np.concatenate([samples[HOP // 2 :], np.zeros(HOP // 2, np.float32)]),
}
"""Changes of a recording that leave its words alone. Half a frame is the most that a shift can be."""


@torch.inference_mode()
def first_codes(model: Model, make: Vectors, clips: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Of the first codebook, int64 [N]."""
    codes = []
    for bands, _, teacher in clips:
        vectors = make(bands, teacher)
        if model.encoder is not None:
            vectors = vectors + model.encoder(vectors[None])[0]
        codes.append(nearest(vectors, model.first))
    return torch.cat(codes)


def word_error_rate(references: list[str], hypotheses: list[str]) -> float:
    """In percent; no clip counts for more errors than it has words."""
    from xcodec.evaluate.asr import errors

    counts = [errors(reference, text, "en") for reference, text in zip(references, hypotheses, strict=True)]
    return 100 * sum(min(c.word_errors, c.words) for c in counts) / sum(c.words for c in counts)


if __name__ == "__main__":
    app()
