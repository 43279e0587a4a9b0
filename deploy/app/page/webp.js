// WebP files whose colour profile a browser ignores (WebKitGTK does): their pixels as PNG with that profile, which every
// browser applies. RFC 9649 (WebP's chunks), PNG third edition, sections 5 and 11.3.2.3 (iCCP).

import { zlibSync } from "fflate";

const COLOURS = ["iCCP", "sRGB", "gAMA", "cHRM", "cICP"];
const text = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));

// The profile that a WebP file embeds; null if it has none, or is no WebP file.
export function profileOf(bytes) {
  if (text(bytes, 0) !== "RIFF" || text(bytes, 8) !== "WEBP") return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= bytes.length;) {
    const size = view.getUint32(at + 4, true);
    if (text(bytes, at) === "ICCP") return bytes.subarray(at + 8, at + 8 + size);
    at += 8 + size + size % 2;
  }
  return null;
}

// A PNG file with another profile.
export function withProfile(png, profile) {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const parts = [png.subarray(0, 8)];
  for (let at = 8; at < png.length;) {
    const end = at + 12 + view.getUint32(at);
    if (!COLOURS.includes(text(png, at + 4))) parts.push(png.subarray(at, end));
    if (text(png, at + 4) === "IHDR") parts.push(chunk("iCCP", [new TextEncoder().encode("photo\0\0"), zlibSync(profile)]));
    at = end;
  }
  return new Blob(parts, { type: "image/png" });
}

function chunk(name, pieces) {
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const bytes = new Uint8Array(12 + size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, size);
  bytes.set(new TextEncoder().encode(name), 4);
  let at = 8;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  view.setUint32(at, crc(bytes.subarray(4, at)));
  return bytes;
}

// CRC-32 of PNG (annex D).
function crc(bytes) {
  let value = -1;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = value >>> 1 ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}
