// Parts of image files: what lies beside the pixels. The bytes may be anybody's: every loop goes forward, and none reads
// beyond their end. RFC 9649 (WebP), PNG third edition, JPEG (ITU-T T.81, annex B).

export const nameAt = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));
const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

// A chunk of a WebP file by its name of four letters; null if it has none, or is no WebP file.
export function webpChunk(bytes, name) {
  if (nameAt(bytes, 0) !== "RIFF" || nameAt(bytes, 8) !== "WEBP") return null;
  const view = viewOf(bytes);
  for (let at = 12; at + 8 <= bytes.length;) {
    const size = view.getUint32(at + 4, true);
    if (nameAt(bytes, at) === name) return bytes.subarray(at + 8, at + 8 + size);
    at += 8 + size + size % 2;
  }
  return null;
}

// Likewise of a PNG file.
export function pngChunk(bytes, name) {
  if (nameAt(bytes, 0) !== "\x89PNG") return null;
  const view = viewOf(bytes);
  for (let at = 8; at + 8 <= bytes.length;) {
    const size = view.getUint32(at);
    if (nameAt(bytes, at + 4) === name) return bytes.subarray(at + 8, at + 8 + size);
    at += 12 + size;
  }
  return null;
}

const SCAN = 0xda;
const APP1 = 0xe1;
const EXIF = "Exif\0\0";
// Markers without content: stuffed zeros, restarts, the image's start and end, and reserved ones.
const isBare = (kind) => kind === 0 || kind === 0xc8 || (kind >= 0xd0 && kind <= 0xd9) || (kind >= 0xf0 && kind <= 0xfd);

// The EXIF of a JPEG file, its segments put together, still with its prefix; null if it has none, or is no JPEG file.
export function jpegExif(bytes) {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  const view = viewOf(bytes);
  const segments = [];
  for (let at = 2; at + 4 <= bytes.length;) {
    const kind = bytes[at + 1];
    if (bytes[at] !== 0xff || kind === 0xff) at++; // what fills up between segments
    else if (isBare(kind)) at += 2;
    else if (kind < 0xc0 || kind === SCAN) break;
    else {
      const end = at + 2 + Math.max(2, view.getUint16(at + 2));
      const content = bytes.subarray(at + 4, end);
      const isExif = kind === APP1 && String.fromCharCode(...content.subarray(0, 6)) === EXIF;
      if (isExif) segments.push(content.subarray(segments.length ? 6 : 0));
      at = end;
    }
  }
  return segments.length ? joined(segments) : null;
}

function joined(pieces) {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
