// The exported graphs at work: audio to codes and back, in chunks whose results, joined, are those of the whole.

import * as ort from "./ort.wasm.min.mjs";

const CHUNK_FRAMES = 500;

ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;
// Threads share memory, which browsers allow only to pages whose server asks for isolation (COOP and COEP headers).
ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
ort.env.logLevel = "error";

export class Codec {
  /** The model beside the page; `progress` is told the share of bytes that have come, 0 … 1. */
  static async load(progress) {
    const meta = await (await fetched("meta.json")).json();
    const names = [...(meta.teacher ? ["teacher"] : []), "encoder", "decoder"];
    const codec = new Codec(meta);
    for (const [i, name] of names.entries()) {
      const bytes = await read(await fetched(`${name}.onnx`), (share) => progress((i + share) / names.length));
      codec.graphs[name] = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    }
    return codec;
  }

  constructor(meta) {
    this.meta = meta;
    this.codebooks = Math.max(...Object.values(meta.bandwidths));
    this.graphs = {};
  }

  /** Float32Array at the model's rate -> {codes: Int32Array [K × F], codebooks, frames, samples}. */
  async encode(samples, progress) {
    const hop = this.meta.hop_length;
    const frames = Math.ceil(samples.length / hop);
    const audio = new Float32Array(frames * hop);
    audio.set(samples);
    const features = this.meta.teacher ? await this.#features(audio, frames, (share) => progress(share / 2)) : null;
    const codes = new Int32Array(this.codebooks * frames);
    const context = this.meta.encoder.context_frames;
    for (let start = 0; start < frames; start += CHUNK_FRAMES) {
      const end = Math.min(start + CHUNK_FRAMES, frames);
      const [first, last] = [Math.max(start - context, 0), Math.min(end + context, frames)];
      const given = { audio: tensor(audio.subarray(first * hop, last * hop), [1, 1, (last - first) * hop]) };
      if (features) {
        const part = columns(features.data, frames, first, last);
        given.features = tensor(part, [1, features.width, last - first]);
      }
      const made = (await this.graphs.encoder.run(given)).codes.data; // int64 [1, K, last - first]
      for (let k = 0; k < this.codebooks; k++) {
        for (let f = start; f < end; f++) codes[k * frames + f] = Number(made[k * (last - first) + f - first]);
      }
      progress(0.5 + (0.5 * end) / frames);
    }
    return { codes, codebooks: this.codebooks, frames, samples: samples.length };
  }

  /** The first `codebooks` of codes -> Float32Array of exactly the samples that were encoded. */
  async decode({ codes, frames, samples }, codebooks, progress) {
    const hop = this.meta.hop_length;
    const { context_frames: before, lookahead_frames: after, align_frames: align } = this.meta.decoder;
    const audio = new Float32Array(frames * hop);
    for (let start = 0; start < frames; start += CHUNK_FRAMES) {
      const end = Math.min(start + CHUNK_FRAMES, frames);
      const reach = Math.max(start - before, 0);
      const [first, last] = [reach - (reach % align), Math.min(end + after, frames)];
      const given = new BigInt64Array(this.codebooks * (last - first)).fill(-1n); // no code
      for (let k = 0; k < codebooks; k++) {
        for (let f = first; f < last; f++) given[k * (last - first) + f - first] = BigInt(codes[k * frames + f]);
      }
      const shape = [1, this.codebooks, last - first];
      const made = (await this.graphs.decoder.run({ codes: new ort.Tensor("int64", given, shape) })).audio.data;
      audio.set(made.subarray((start - first) * hop, (end - first) * hop), start * hop);
      progress(end / frames);
    }
    return audio.slice(0, samples);
  }

  /** The teacher's features, window by window: {data: Float32Array [D × F], width: D}. */
  async #features(audio, frames, progress) {
    const hop = this.meta.hop_length;
    const { window_frames, context_frames: context } = this.meta.teacher;
    const window = window_frames ?? frames;
    let features = null;
    for (let start = 0; start < frames; start += window) {
      const end = Math.min(start + window, frames);
      const [first, last] = [Math.max(start - context, 0), Math.min(end + context, frames)];
      const given = { audio: tensor(audio.subarray(first * hop, last * hop), [1, 1, (last - first) * hop]) };
      const made = (await this.graphs.teacher.run(given)).features; // [1, D, last - first]
      const width = made.dims[1];
      features ??= { data: new Float32Array(width * frames), width };
      for (let d = 0; d < width; d++) {
        const row = made.data.subarray(d * (last - first) + start - first, d * (last - first) + end - first);
        features.data.set(row, d * frames + start);
      }
      progress(end / frames);
    }
    return features;
  }
}

const tensor = (data, shape) => new ort.Tensor("float32", data, shape);

/** Columns first … last - 1 of a matrix with so many columns. */
function columns(matrix, count, first, last) {
  const rows = matrix.length / count;
  const part = new Float32Array(rows * (last - first));
  for (let r = 0; r < rows; r++) part.set(matrix.subarray(r * count + first, r * count + last), r * (last - first));
  return part;
}

async function fetched(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} is missing beside this page (${response.status}).`);
  return response;
}

async function read(response, progress) {
  const total = Number(response.headers.get("Content-Length")) || Infinity;
  const pieces = [];
  let size = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    size += value.length;
    progress(Math.min(1, size / total));
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}
