// Files of a folder that others write to: no more is read than is asked for, and none is waited for without end.

const PATIENCE = 60e3; // ms without a byte

// What may not be used. `reason` is the name of a text.
export class Refused extends Error {
  constructor(reason, detail = "") {
    super(detail ? `${reason}: ${detail}` : reason);
    this.reason = reason;
  }
}

// The server, or the network, is away.
export class Unreached extends Error {}

// address is absolute or relative to the page. Returns read(name, most): the bytes of a file, at most so many.
export function reader(address) {
  const folder = new URL(`${address}/`, document.baseURI);
  return async (name, most) => {
    const stop = new AbortController();
    let clock = 0;
    const wait = () => {
      clearTimeout(clock);
      clock = setTimeout(() => stop.abort(), PATIENCE);
    };
    try {
      wait();
      const response = await fetch(new URL(name, folder), { cache: "no-cache", credentials: "same-origin", referrerPolicy: "no-referrer", signal: stop.signal });
      if (!response.ok) throw new Unreached(`${name}: ${response.status}`);
      return await bounded(response.body.getReader(), name, most, wait);
    } catch (error) {
      stop.abort();
      throw error instanceof Refused ? error : new Unreached(`${name}: ${error.message}`);
    } finally {
      clearTimeout(clock);
    }
  };
}

// The bytes of a stream, at most so many; each() is called for every part.
export async function bounded(stream, name, most, each) {
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await stream.read();
    if (done) break;
    each();
    size += value.length;
    if (size > most) throw new Refused("tooMuch", name);
    parts.push(value);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
