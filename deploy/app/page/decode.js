// Whatever shows a picture -> its pixels as the model's own preprocessing wants them: upright, sRGB, over white.

import { profileOf, withProfile } from "./webp.js";

export const MOST_PIXELS = 60e6;

const HOW = { imageOrientation: "from-image", colorSpaceConversion: "default" };
let webpIsPlain = false; // this browser ignores the colour profiles of WebP files

export class Unreadable extends Error {
  constructor(name, words) {
    super(name);
    this.name = name;
    this.words = words;
  }
}

// Refuses a photo of too many pixels by its header, before a decoder makes room for them.
async function refuseHuge(file) {
  const image = new Image();
  const address = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject, src: address }));
    refuseLarge(image.naturalWidth, image.naturalHeight);
  } finally {
    image.src = "";
    URL.revokeObjectURL(address);
  }
}

function refuseLarge(width, height) {
  if (width * height > MOST_PIXELS) {
    throw new Unreadable("tooLarge", { megapixels: Math.round(width * height / 1e6), most: MOST_PIXELS / 1e6 });
  }
}

// Look whether this browser applies the profile of a WebP file of one colour, which becomes so many RGB levels.
export async function tryWebp(bytes, levels) {
  webpIsPlain = false;
  const { data } = await pixelsOfFile(new Blob([bytes], { type: "image/webp" })).catch(() => ({ data: levels }));
  webpIsPlain = levels.some((level, at) => Math.abs(level - data[at]) > 8);
}

// The file, or a PNG of it where the browser would ignore its profile.
async function managed(file) {
  if (!webpIsPlain) return file;
  const profile = profileOf(new Uint8Array(await file.arrayBuffer()));
  if (!profile) return file;
  const bitmap = await createImageBitmap(file);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  const png = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return withProfile(new Uint8Array(await png.arrayBuffer()), profile);
}

// A file -> { data: RGBA bytes, width, height }. The browser decodes it, turns it upright and converts its colours.
export async function pixelsOfFile(file) {
  let bitmap;
  try {
    await refuseHuge(file);
    bitmap = await createImageBitmap(await managed(file), HOW);
  } catch (error) {
    throw error instanceof Unreadable ? error : new Unreadable("unreadable");
  }
  try {
    return pixelsOf(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

// A picture that can be drawn (ImageBitmap, HTMLVideoElement, HTMLImageElement) of so many pixels.
export function pixelsOf(picture, width, height) {
  refuseLarge(width, height);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d", { colorSpace: "srgb", willReadFrequently: true });
  pen.fillStyle = "white";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(picture, 0, 0, width, height);
  const { data } = pen.getImageData(0, 0, width, height);
  return { data, width, height };
}
