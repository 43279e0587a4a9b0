// WebP files whose colour profile a browser ignores (WebKitGTK does): their pixels as PNG with that profile, which every
// browser applies. PNG third edition, sections 5 and 11.3.2.3 (iCCP).

import { zlibSync } from "fflate";
import { nameAt, webpChunk } from "./containers.js";

const COLOURS = ["iCCP", "sRGB", "gAMA", "cHRM", "cICP"];

// The profile that a WebP file embeds; null if it has none, or is no WebP file.
export const profileOf = (bytes) => webpChunk(bytes, "ICCP");

// A PNG file with another profile.
export function withProfile(png, profile) {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const parts = [png.subarray(0, 8)];
  for (let at = 8; at < png.length;) {
    const end = at + 12 + view.getUint32(at);
    if (!COLOURS.includes(nameAt(png, at + 4))) parts.push(png.subarray(at, end));
    if (nameAt(png, at + 4) === "IHDR") parts.push(chunk("iCCP", [new TextEncoder().encode("photo\0\0"), zlibSync(profile)]));
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
