// What makes one file of another (attar.deploy.release.delta): a zlib stream of segments and of differences modulo 256.
//
// Nothing here is believed: no more is decompressed than the new file can need, and who asks holds the result against its
// SHA-256.

import { Refused, bounded } from "./reading.js";

const MOST_SEGMENTS = 4096;
const PIECE = 4096; // bytes given to the browser at once: a stream that grows a thousandfold gives a few megabytes of it

export const decodes = typeof DecompressionStream === "function";

// The new file of `size` bytes. Throws `Refused` where the delta is none that makes so many.
export async function applied(old, delta, size) {
  const body = await inflated(delta, 4 + 8 * MOST_SEGMENTS + size);
  const numbers = new DataView(body.buffer);
  demand(body.length >= 4);
  const count = numbers.getUint32(0, true);
  const start = 4 + 8 * count;
  demand(count <= MOST_SEGMENTS && body.length === start + size);
  const bytes = body.subarray(start);
  let at = 0;
  for (let segment = 0; segment < count; segment++) {
    const length = numbers.getUint32(4 + 8 * segment, true);
    const place = numbers.getUint32(8 + 8 * segment, true);
    demand(length <= size - at);
    const taken = old.subarray(place, place + length); // behind its end there is nothing to add
    for (let index = 0; index < taken.length; index++) bytes[at + index] += taken[index];
    at += length;
  }
  demand(at === size);
  return bytes;
}

async function inflated(delta, most) {
  let at = 0;
  const pieces = new ReadableStream({
    pull(control) {
      if (at < delta.length) control.enqueue(delta.slice(at, at += PIECE));
      else control.close();
    },
  }, { highWaterMark: 0 });
  const stream = pieces.pipeThrough(new DecompressionStream("deflate")).getReader();
  try {
    return await bounded(stream, "delta", most, () => {});
  } catch (error) {
    stream.cancel().catch(() => {});
    throw error instanceof Refused ? error : new Refused("malformed", `delta: ${error.message}`);
  }
}

function demand(right) {
  if (!right) throw new Refused("malformed", "delta");
}
