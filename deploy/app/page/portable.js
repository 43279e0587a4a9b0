// A photo as it may leave the page: its pixels alone, made anew as a JPEG. No metadata of the file survives that.

export const LONGEST = 1280; // pixels of the longer side
const QUALITY = 0.9;

// RGBA bytes -> the JPEG's bytes (ArrayBuffer).
export async function portable(data, width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const bitmap = await createImageBitmap(new ImageData(data, width, height));
  try {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  } finally {
    bitmap.close();
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  if (!blob) throw new Error("the photo cannot be made a JPEG here");
  return blob.arrayBuffer();
}
