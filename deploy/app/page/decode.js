// Whatever shows a picture -> its pixels as the model's own preprocessing wants them: upright, sRGB, over white.

export const MOST_PIXELS = 60e6;

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

// A file -> { data: RGBA bytes, width, height }. The browser decodes it, turns it upright and converts its colours.
export async function pixelsOfFile(file) {
  let bitmap;
  try {
    await refuseHuge(file);
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "default" });
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
