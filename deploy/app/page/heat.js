// Where the model looked for a class: the class activation map (arXiv 1512.04150) over the square that it saw.

const RED = [255, 120, 0];

// Half precision -> number, for browsers without Float16Array (IEEE 754, section 3.6).
function half(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
  return bits & 0x8000 ? -size : size;
}

// A class's weights: numbers that stand in the model's file. map is what site.json says of it.
export function weightsOf(bytes, map, index) {
  const { kind, channels, offset } = map;
  const size = { int8: 1, float16: 2, float32: 4 }[kind];
  const row = bytes.slice(offset + index * channels * size, offset + (index + 1) * channels * size).buffer;
  if (kind === "float16") return Float32Array.from(new Uint16Array(row), half);
  return kind === "int8" ? new Int8Array(row) : new Float32Array(row);
}

// features are the map's cells row by row, in the layout that map says -> how much each cell speaks for the class, 0 to 1.
export function activation(features, weights, { height, width, channels, layout }) {
  const [ofCell, ofChannel] = layout === "nhwc" ? [channels, 1] : [1, height * width];
  const cells = Float32Array.from({ length: height * width }, (_, cell) => {
    let sum = 0;
    for (let each = 0; each < channels; each++) sum += features[cell * ofCell + each * ofChannel] * weights[each];
    return Math.max(0, sum);
  });
  const most = Math.max(...cells);
  return most > 0 ? cells.map((each) => each / most) : cells;
}

// Draws the square (RGB, size x size) and the map over it. Returns the middle of the strongest cell, 0 to 1: [x, y].
export function draw(canvas, square, size, cells, { height, width }) {
  Object.assign(canvas, { width: 2 * size, height: 2 * size });
  const pen = canvas.getContext("2d");
  pen.drawImage(image(size, size, (at) => [...square.subarray(3 * at, 3 * at + 3), 255]), 0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image(width, height, (at) => [...RED, 200 * cells[at]]), 0, 0, canvas.width, canvas.height);
  const strongest = cells.indexOf(Math.max(...cells));
  return [(strongest % width + 0.5) / width, (Math.floor(strongest / width) + 0.5) / height];
}

function image(width, height, colorOf) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const data = new ImageData(width, height);
  for (let at = 0; at < width * height; at++) data.data.set(colorOf(at), 4 * at);
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}
