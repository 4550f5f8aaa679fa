// What is seen: sound in, players, spectrograms, tokens, files out.

import { readXc, writeXc } from "./xc_file.js";

const LONGEST_SECONDS = 600;
const LARGEST_BYTES = 200e6;
const LONGEST_RECORDING = 30;

const at = (id) => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let meta;
let tokens; // {codes, codebooks, frames, samples} of the sound at hand
let original; // its samples, or null where an .xc file was opened
let encodeSeconds;
let jobs = 0;

worker.onmessage = ({ data: { id, progress, result, error } }) => {
  if (progress !== undefined) return void (at("progress").value = progress);
  const [resolve, reject] = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) resolve(result);
  else reject(new Error(error));
};

function ask(verb, given = {}) {
  const id = ++jobs;
  at("progress").value = 0;
  worker.postMessage({ id, verb, ...given });
  return new Promise((resolve, reject) => waiting.set(id, [resolve, reject]));
}

function say(text, isError = false) {
  at("status").textContent = text;
  at("status").classList.toggle("error", isError);
}

/** Run a job with the inputs off; what goes wrong is said in one line. */
async function busy(job) {
  const inputs = [at("file"), at("record"), ...document.querySelectorAll("#bandwidths input")];
  for (const input of inputs) input.disabled = true;
  try {
    await job();
  } catch (error) {
    say(error.message, true);
  }
  for (const input of inputs) input.disabled = false;
  document.body.dataset.jobs = Number(document.body.dataset.jobs ?? 0) + 1;
}

// --- sound in ---------------------------------------------------------------------------------------------------------

async function open(file) {
  if (file.size === 0) throw new Error(`${file.name} is empty.`);
  if (file.size > LARGEST_BYTES) throw new Error(`${file.name} is larger than ${LARGEST_BYTES / 1e6} MB.`);
  if (file.name.toLowerCase().endsWith(".xc")) {
    show(readXc(new Uint8Array(await file.arrayBuffer()), meta), null);
    encodeSeconds = undefined;
    return decode();
  }
  const seconds = await statedSeconds(file);
  if (seconds > LONGEST_SECONDS) {
    throw new Error(`${file.name} lasts ${Math.round(seconds / 60)} minutes; this page takes up to ${LONGEST_SECONDS / 60}.`);
  }
  await encode(await samplesOf(await file.arrayBuffer(), file.name), file.type.startsWith("video/") ? "The sound of a video: " : "");
}

/** How long a file says that it lasts; NaN if it does not. */
function statedSeconds(file) {
  const player = new Audio();
  player.preload = "metadata";
  return new Promise((resolve) => {
    player.onloadedmetadata = () => resolve(player.duration);
    player.onerror = () => resolve(NaN);
    player.src = URL.createObjectURL(file);
  }).finally(() => URL.revokeObjectURL(player.src));
}

/** The mean of all channels, at the model's rate. */
async function samplesOf(bytes, name) {
  const context = new OfflineAudioContext(1, 1, meta.sample_rate);
  const audio = await context.decodeAudioData(bytes).catch(() => {
    throw new Error(`${name} holds no sound that this browser can read.`);
  });
  if (audio.duration > LONGEST_SECONDS) throw new Error(`${name} lasts longer than ${LONGEST_SECONDS / 60} minutes.`);
  const samples = new Float32Array(audio.length);
  for (let c = 0; c < audio.numberOfChannels; c++) {
    const channel = audio.getChannelData(c);
    for (let i = 0; i < samples.length; i++) samples[i] += channel[i] / audio.numberOfChannels;
  }
  return samples;
}

let recorder;

async function record() {
  if (recorder) return recorder.stop();
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true }).catch(() => {
    throw new Error("There is no microphone, or this page may not use it.");
  });
  const pieces = [];
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = ({ data }) => pieces.push(data);
  const timer = setTimeout(() => recorder.stop(), LONGEST_RECORDING * 1000);
  recorder.onstop = () => {
    clearTimeout(timer);
    recorder = undefined;
    for (const track of stream.getTracks()) track.stop();
    at("record").textContent = "Record";
    at("record").setAttribute("aria-pressed", "false");
    busy(async () => encode(await samplesOf(await new Blob(pieces).arrayBuffer(), "the recording"), ""));
  };
  recorder.start();
  at("record").textContent = "Stop";
  at("record").setAttribute("aria-pressed", "true");
  say(`Recording, for up to ${LONGEST_RECORDING} s …`);
}

// --- the codec --------------------------------------------------------------------------------------------------------

async function encode(samples, before) {
  say(`${before}Encoding ${(samples.length / meta.sample_rate).toFixed(1)} s …`);
  const { seconds, ...made } = await ask("encode", { samples });
  encodeSeconds = seconds;
  show(made, samples);
  await decode(before);
}

/** The sound at hand, at the chosen bandwidth. */
async function decode(before = "") {
  const codebooks = Number(document.querySelector("#bandwidths input:checked").value);
  say(`${before}Decoding …`);
  const { audio, seconds } = await ask("decode", { tokens, codebooks });
  const length = tokens.samples / meta.sample_rate;
  const kept = { ...tokens, codebooks, codes: tokens.codes.subarray(0, codebooks * tokens.frames) };
  const xc = writeXc(kept, meta);
  link("save-xc", xc, "application/octet-stream");
  const wav = wavFile(audio);
  link("save-wav", wav, "audio/wav");
  const rows = Array.from({ length: codebooks }, (_, k) => [...kept.codes.subarray(k * tokens.frames, (k + 1) * tokens.frames)]);
  link("save-json", JSON.stringify({ model: meta.model, tokens: meta.tokens, samples: tokens.samples, codes: rows }), "application/json");
  at("decoded").src = at("save-wav").href;
  spectrogram(at("decoded-spectrogram"), audio);
  map(kept);
  facts({
    Length: `${length.toFixed(2)} s`,
    Bitrate: `${((8 * (xc.length - 63)) / length / 1000).toFixed(2)} kbit/s`,
    Size: `${xc.length.toLocaleString("en")} bytes`,
    Encoded: encodeSeconds === undefined ? "before" : `${(length / encodeSeconds).toFixed(1)} × real time`,
    Decoded: `${(length / seconds).toFixed(1)} × real time`,
  });
  Object.assign(document.body.dataset, { encode: encodeSeconds, decode: seconds });
  say(`${before}${length.toFixed(1)} s at ${document.querySelector("#bandwidths input:checked").dataset.kbps} kbit/s.`);
}

/** New tokens, with the recording that they are of, if there is one. */
function show(made, samples) {
  [tokens, original] = [made, samples];
  for (const input of document.querySelectorAll("#bandwidths input")) {
    input.parentElement.hidden = Number(input.value) > tokens.codebooks;
    input.checked = Number(input.value) <= tokens.codebooks && (input.checked || original === null);
  }
  const chosen = [...document.querySelectorAll("#bandwidths input")].filter((input) => Number(input.value) <= tokens.codebooks);
  if (!chosen.some((input) => input.checked)) chosen.at(-1).checked = true;
  at("original").closest("figure").hidden = at("switch").hidden = original === null;
  if (original) {
    at("original").src = URL.createObjectURL(new Blob([wavFile(original)], { type: "audio/wav" }));
    spectrogram(at("original-spectrogram"), original);
  }
  at("result").hidden = at("tokens").hidden = false;
}

// --- pictures and files -----------------------------------------------------------------------------------------------

const hue = (code) => `hsl(${(code * 137.508) % 360} 70% ${35 + (code % 5) * 8}%)`; // neighbouring numbers are no kin

function map({ codes, codebooks, frames }) {
  const canvas = at("map");
  const [step, rows] = [Math.max(1, Math.ceil(frames / 2000)), meta.bandwidths];
  canvas.width = Math.ceil(frames / step);
  canvas.height = Math.max(...Object.values(rows));
  const context = canvas.getContext("2d");
  for (let k = 0; k < codebooks; k++) {
    for (let x = 0; x < canvas.width; x++) {
      context.fillStyle = hue(codes[k * frames + x * step]);
      context.fillRect(x, k, 1, 1);
    }
  }
}

/** 0 Hz to half the rate upwards, 80 dB deep. */
function spectrogram(canvas, samples) {
  const [size, bins] = [512, 128];
  const width = Math.min(600, Math.max(50, Math.floor(samples.length / 160)));
  [canvas.width, canvas.height] = [width, bins];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, bins);
  const [real, imaginary] = [new Float64Array(size), new Float64Array(size)];
  for (let x = 0; x < width; x++) {
    const start = Math.floor((x / width) * samples.length) - size / 2;
    for (let i = 0; i < size; i++) {
      real[i] = (samples[start + i] ?? 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
      imaginary[i] = 0;
    }
    fft(real, imaginary);
    for (let y = 0; y < bins; y++) {
      const power = real[2 * y] ** 2 + imaginary[2 * y] ** 2 + real[2 * y + 1] ** 2 + imaginary[2 * y + 1] ** 2;
      const level = Math.max(0, Math.min(1, (10 * Math.log10(power + 1e-12) - 36 + 80) / 80));
      const pixel = 4 * ((bins - 1 - y) * width + x);
      image.data[pixel] = 255 * Math.min(1, 1.6 * level);
      image.data[pixel + 1] = 255 * level ** 2;
      image.data[pixel + 2] = 255 * (level < 0.5 ? 1.1 * level : Math.max(0.25, 1.1 - 1.1 * level));
      image.data[pixel + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

/** In place, of a length that is a power of two. */
function fft(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let half = 1; half < size; half *= 2) {
    for (let k = 0; k < half; k++) {
      const [c, s] = [Math.cos((-Math.PI * k) / half), Math.sin((-Math.PI * k) / half)];
      for (let i = k; i < size; i += 2 * half) {
        const j = i + half;
        const [a, b] = [real[j] * c - imaginary[j] * s, real[j] * s + imaginary[j] * c];
        [real[j], imaginary[j]] = [real[i] - a, imaginary[i] - b];
        real[i] += a;
        imaginary[i] += b;
      }
    }
  }
}

/** 16 bits, mono. */
function wavFile(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (offset, letters) => [...letters].forEach((letter, i) => view.setUint8(offset + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, meta.sample_rate, true);
  view.setUint32(28, 2 * meta.sample_rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true));
  return view.buffer;
}

function link(id, content, type) {
  URL.revokeObjectURL(at(id).href);
  at(id).href = URL.createObjectURL(new Blob([content], { type }));
}

function facts(values) {
  const entries = Object.entries(values).map(([name, value]) => {
    const [entry, term, detail] = ["div", "dt", "dd"].map((kind) => document.createElement(kind));
    [term.textContent, detail.textContent] = [name, value];
    entry.append(term, detail);
    return entry;
  });
  at("facts").replaceChildren(...entries);
}

/** Play the other of the two, from where this one is. */
function switchPlayers() {
  const [from, to] = at("decoded").paused ? [at("original"), at("decoded")] : [at("decoded"), at("original")];
  const playing = !from.paused;
  from.pause();
  to.currentTime = from.currentTime;
  if (playing || to.paused) to.play();
}

// --- start ------------------------------------------------------------------------------------------------------------

at("file").onchange = () => {
  const [file] = at("file").files;
  if (file) busy(() => open(file)).then(() => (at("file").value = ""));
};
at("record").onclick = () => record().catch((error) => say(error.message, true));
at("switch").onclick = switchPlayers;
document.body.ondragover = (event) => event.preventDefault();
document.body.ondrop = (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file && !at("file").disabled) busy(() => open(file));
};
busy(async () => {
  ({ meta } = await ask("load"));
  for (const [kbps, codebooks] of Object.entries(meta.bandwidths).sort((a, b) => a[1] - b[1])) {
    const [label, input] = ["label", "input"].map((kind) => document.createElement(kind));
    Object.assign(input, { type: "radio", name: "bandwidth", value: codebooks, checked: true });
    input.dataset.kbps = Number(kbps);
    input.onchange = () => busy(() => decode());
    label.append(input, ` ${Number(kbps)} kbit/s`);
    at("bandwidths").append(label);
  }
  say(`${meta.model} is ready.`);
});
