// The codec in a thread of its own, so that the page stays awake: {id, verb, …} in, {id, …} out.

import { Codec } from "./codec.js";

let codec;

const verbs = {
  async load(_, progress) {
    codec = await Codec.load(progress);
    return { meta: codec.meta };
  },
  encode: ({ samples }, progress) => codec.encode(samples, progress),
  decode: async ({ tokens, codebooks }, progress) => ({ audio: await codec.decode(tokens, codebooks, progress) }),
};

let last = Promise.resolve(); // one job at a time, in order

self.onmessage = ({ data }) => {
  last = last.then(async () => {
    const started = performance.now();
    try {
      const result = await verbs[data.verb](data, (share) => postMessage({ id: data.id, progress: share }));
      postMessage({ id: data.id, result: { ...result, seconds: (performance.now() - started) / 1000 } });
    } catch (error) {
      postMessage({ id: data.id, error: String(error.message ?? error).split("\n")[0] });
    }
  });
};
