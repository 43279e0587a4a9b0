// Everything that is kept, as a zip that is an image folder: photos/ and metadata.csv, as `attar collect --export` writes.

import { Zip, ZipDeflate, ZipPassThrough } from "fflate";
import * as kept from "./kept.js";

const LARGEST = 1e9; // bytes of one archive: the rest goes into the next
const COLUMNS = [
  "file_name", "label", "review", "reviewer", "verdict", "said", "predicted", "probability", "text", "time", "latitude",
  "longitude", "contributor", "id", "image", "model", "backend", "latency_ms", "familiarity", "brightness", "sharpness",
  "side", "with_geo",
];

const cell = (value) => /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
const line = (values) => `${values.map((value) => cell(String(value ?? ""))).join(",")}\n`;

function row(file, observation) {
  const said = observation.verdict === "confirmed" ? observation.predicted : observation.label;
  const { latitude, longitude } = observation.place ?? {};
  return line(COLUMNS.map((name) => ({ ...observation, file_name: file, label: said, said, latitude, longitude })[name]));
}

// Returns { blob, numbers }: the archive, and which records are in it.
export async function archive() {
  const parts = [];
  let failed = null;
  const zip = new Zip((error, chunk) => {
    failed ??= error;
    parts.push(chunk);
  });
  const saved = [];
  let table = line(COLUMNS);
  let size = 0;
  for (const number of await kept.numbers()) {
    const record = await kept.one(number);
    if (!record) continue; // sent meanwhile
    if (size && size + record.photo.byteLength > LARGEST) break;
    size += record.photo.byteLength;
    const file = new ZipPassThrough(`photos/${record.id}.jpg`); // a JPEG becomes no smaller
    zip.add(file);
    file.push(new Uint8Array(record.photo), true);
    table += row(file.filename, JSON.parse(record.text));
    saved.push(number);
  }
  const metadata = new ZipDeflate("metadata.csv");
  zip.add(metadata);
  metadata.push(new TextEncoder().encode(table), true);
  zip.end();
  if (failed) throw failed;
  return { blob: new Blob(parts, { type: "application/zip" }), numbers: saved };
}
