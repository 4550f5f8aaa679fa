// The .xc file: a header of 63 bytes, then the codes, bit-packed; docs/xc-format.md has the layout.
// Codes are Int32Array [K × F], codebook by codebook, of one channel.

const HEADER_BYTES = 63;
const MAGIC = [0x89, 0x58, 0x43, 1]; // …XC, version 1
const NAME_BYTES = 31;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

function crc32(...parts) {
  let crc = ~0;
  for (const part of parts) for (const byte of part) crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

const bitsPerCode = (codebookSize) => 32 - Math.clz32(codebookSize - 1);

/** Bytes of a file. `meta` is the exported model's; `samples` are those of the recording. */
export function writeXc({ codes, codebooks, frames, samples }, meta) {
  const bits = bitsPerCode(meta.codebook_size);
  const payload = new Uint8Array(Math.ceil((codebooks * frames * bits) / 8));
  let at = 0;
  for (let f = 0; f < frames; f++) {
    for (let k = 0; k < codebooks; k++) {
      for (let bit = 0; bit < bits; bit++, at++) payload[at >> 3] |= ((codes[k * frames + f] >> bit) & 1) << (at & 7);
    }
  }
  const file = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(file.buffer);
  file.set(MAGIC);
  file[4] = 1; // channel
  file[5] = codebooks;
  view.setUint16(6, meta.codebook_size - 1, true);
  view.setUint32(8, meta.sample_rate, true);
  view.setUint16(12, meta.hop_length, true);
  view.setUint16(14, frames * meta.hop_length - samples, true);
  view.setUint32(16, frames, true);
  file.set(meta.tokens.match(/../g).map((byte) => parseInt(byte, 16)), 20);
  file.set(new TextEncoder().encode(meta.model).subarray(0, NAME_BYTES), 28);
  view.setUint32(59, crc32(payload, file.subarray(0, 59)), true);
  file.set(payload, HEADER_BYTES);
  return file;
}

/** What a file holds: {codes, codebooks, frames, samples}. Throws an Error of one line. */
export function readXc(file, meta) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < HEADER_BYTES || MAGIC.slice(0, 3).some((byte, i) => file[i] !== byte)) {
    throw new Error("This is no .xc file.");
  }
  if (file[3] !== 1) throw new Error(`This .xc file has format version ${file[3]}; this page reads 1.`);
  const [channels, codebooks, frames] = [file[4], file[5], view.getUint32(16, true)];
  const bits = bitsPerCode(view.getUint16(6, true) + 1);
  const payload = file.subarray(HEADER_BYTES);
  if (payload.length !== Math.ceil((channels * codebooks * frames * bits) / 8)) {
    throw new Error("This .xc file is truncated, or too long.");
  }
  if (crc32(payload, file.subarray(0, 59)) !== view.getUint32(59, true)) throw new Error("This .xc file is damaged.");
  const tokens = [...file.subarray(20, 28)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const name = new TextDecoder().decode(file.subarray(28, 59)).replace(/\0+$/, "");
  if (tokens !== meta.tokens) throw new Error(`This .xc file was made by ${name} (${tokens}); this page is ${meta.model} (${meta.tokens}).`);
  if (channels !== 1) throw new Error(`This .xc file has ${channels} channels; this page plays one.`);
  const codes = new Int32Array(codebooks * frames);
  let at = 0;
  for (let f = 0; f < frames; f++) {
    for (let k = 0; k < codebooks; k++) {
      let code = 0;
      for (let bit = 0; bit < bits; bit++, at++) code |= ((payload[at >> 3] >> (at & 7)) & 1) << bit;
      if (code >= meta.codebook_size) throw new Error("This .xc file is damaged: it has a code that there is not.");
      codes[k * frames + f] = code;
    }
  }
  return { codes, codebooks, frames, samples: frames * meta.hop_length - view.getUint16(14, true) };
}
