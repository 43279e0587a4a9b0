// Whether a photo is darker, brighter, more blurred or smaller than all that the model learned from: attar/quality.py.

// square is what the model sees (RGB, size x size), side the whole photo's shorter side in pixels.
export function qualityOf(square, size, side) {
  const luma = Int32Array.from({ length: size * size }, (_, at) =>
    Math.floor((299 * square[3 * at] + 587 * square[3 * at + 1] + 114 * square[3 * at + 2] + 500) / 1000));
  let light = 0;
  for (const each of luma) light += each;
  let sum = 0;
  let squares = 0;
  for (let y = 1; y < size - 1; y++) {
    for (let x = 1; x < size - 1; x++) {
      const at = y * size + x;
      const edge = 4 * luma[at] - luma[at - size] - luma[at + size] - luma[at - 1] - luma[at + 1];
      sum += edge;
      squares += edge * edge;
    }
  }
  const count = Math.max((size - 2) * (size - 2), 1);
  const mean = sum / count;
  return { brightness: light / luma.length, sharpness: squares / count - mean * mean, side };
}

// known is the range of the training photos, or nothing -> names of what is beyond it.
export function beyond({ brightness, sharpness, side }, known) {
  if (!known) return [];
  const [least, most] = known.brightness;
  const found = { dark: brightness < least, bright: brightness > most, blurred: sharpness < known.sharpness, small: side < known.side };
  return Object.keys(found).filter((name) => found[name]);
}
