// Where and when a photo was taken, as its camera wrote into it (EXIF): the place and day that attar.geo.places gives for the
// same file. The bytes may be anybody's: what is damaged is no place, and never an error.

import { jpegExif, pngChunk, webpChunk } from "./containers.js";
import { openTiff } from "./tiff.js";

const LARGEST = 64e6; // bytes of a file that are looked through
const DIRECTORIES = { camera: 0x8769, gps: 0x8825 };
const TAKEN = 0x9003; // in the camera's directory
const [LATITUDE, LONGITUDE, STAMP] = [2, 4, 29]; // in that of GPS; the side of the globe stands before each
const DATE = /^[\0 ]*(\d{4})[:/-](\d{1,2})[:/-](\d{1,2})(?!\d)/;

// Returns { latitude, longitude, day }, in degrees and of the year, 0 where that is not known; null without a place.
// Nothing here sends it anywhere.
export async function placeIn(file) {
  const bytes = new Uint8Array(await file.slice(0, LARGEST).arrayBuffer());
  const exif = jpegExif(bytes) ?? pngChunk(bytes, "eXIf") ?? webpChunk(bytes, "EXIF");
  return exif && placeOf(exif);
}

function placeOf(exif) {
  const tiff = openTiff(exif);
  if (!tiff) return null;
  const first = tiff.directory(tiff.start);
  const gps = tiff.directory(tiff.whole(first.get(DIRECTORIES.gps)));
  const [latitude, longitude] = [degrees(tiff, gps, LATITUDE, "NS"), degrees(tiff, gps, LONGITUDE, "EW")];
  if (!(Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180) || (latitude === 0 && longitude === 0)) return null;
  const camera = tiff.directory(tiff.whole(first.get(DIRECTORIES.camera)));
  return { latitude, longitude, day: dayIn(tiff.text(camera.get(TAKEN))) || dayIn(tiff.text(gps.get(STAMP))) };
}

// Degrees, minutes and seconds as one number; NaN where they are not there.
function degrees(tiff, gps, tag, sides) {
  const side = sides.indexOf(tiff.text(gps.get(tag - 1)).replace(/^[\0 ]+|[\0 ]+$/g, "").toUpperCase() || "?");
  const [whole, minutes, seconds] = tiff.triple(gps.get(tag));
  return side < 0 ? NaN : (whole + minutes / 60 + seconds / 3600) * (side ? -1 : 1);
}

// The day of the year of a date that there is; 0 otherwise.
function dayIn(text) {
  const [year, month, day] = (DATE.exec(text) ?? []).slice(1).map(Number);
  const date = new Date(0).setUTCFullYear(year, month - 1, day);
  const there = year > 0 && new Date(date).getUTCMonth() === month - 1 && new Date(date).getUTCDate() === day;
  return there ? (date - new Date(0).setUTCFullYear(year, 0, 1)) / 864e5 + 1 : 0;
}
