// The model on this device: the first way of running it whose answers are those of the tested file.

import { hasSimd, open, unload } from "./runtimes.js";
import { pixelsOf, pixelsOfFile, tryWebp } from "./decode.js";
import { Damaged } from "./files.js";

const TOLERANCE = 0.02; // of one probability: a few steps of an integer file
const LEVELS = 2; // of 255, by which decoders differ

// Every way to run the site's models here, the fastest first: { model, backend, threads, title }.
function ways(site) {
  const cores = Math.min(4, navigator.hardwareConcurrency ?? 1);
  const threaded = self.crossOriginIsolated && cores > 1;
  return site.models.flatMap((model) => {
    const name = model.format === "litert" ? "LiteRT" : "ONNX Runtime";
    const found = [];
    if (model.float && navigator.gpu && model.format === "litert") found.push({ backend: "webgpu", threads: 1, title: `${name}, WebGPU` });
    if (threaded) found.push({ backend: "wasm", threads: cores, title: `${name}, ${cores} threads` });
    // ONNX Runtime Web cannot change its threads once it is loaded.
    if (!threaded || model.format === "litert") found.push({ backend: "wasm", threads: 1, title: `${name}, 1 thread` });
    return found.map((way) => ({ ...way, model }));
  });
}

// Returns { title, model, classify(square) -> probabilities, features(), familiarity(), test() -> boolean, close() }, or
// null. Throws `Damaged`. features() is the last feature map of what was classified last, familiarity() how much that is
// like what the model knows, from 0 to 1; each undefined where the file gives none.
// site is what site.json says, bytes(name) reads one of its files.
// tell(event, words) says what goes on: "loading", "testing", "disagrees", "fails", "tooOld".
// beside: another model runs, so that the runtime is not loaded anew.
export async function openModel(site, bytes, tell, beside = false) {
  if (!hasSimd) {
    tell("tooOld");
    return null;
  }
  await tryWebp(await bytes(site.webp.file), site.webp.levels);
  const golden = await Promise.all(site.golden.map(async (each) => ({ ...each, square: await squareOfGolden(each.file, await bytes(each.file), site.size) })));
  const list = ways(site);
  let reason = "";
  for (const [number, way] of list.entries()) {
    tell("loading", { bytes: way.model.bytes });
    try {
      const net = await open({ ...way.model, backend: way.backend }, await bytes(way.model.file), [1, site.size, site.size, 3], way.threads);
      tell("testing");
      const test = () => agrees(net, golden, way.model.name);
      if (await test()) return { ...way, test, classify: (square) => run(net, square), features: () => net.last?.(way.model.map?.output), familiarity: () => net.last?.("familiarity")?.[0], close: () => net.close() };
      tell("disagrees", { way: way.title, next: list[number + 1]?.title });
      await net.close();
      reason = "wrong answers";
    } catch (error) {
      if (error instanceof Damaged) throw error;
      reason = error.message;
    }
    if (way.model.format === "litert" && !beside) await unload().catch(() => {});
  }
  tell("fails", { reason });
  return null;
}

// Whether this browser makes of whole golden photos what Python made of them: decoding, colours and the resize.
export async function seesAlike(site, bytes, squareOf) {
  for (const { file, pixels } of site.photos) {
    const { data, width, height } = await pixelsOfFile(new File([await bytes(file)], file, { type: "image/png" }));
    const square = squareOf(data, width, height, 4);
    const expected = await squareOfGolden(pixels, await bytes(pixels), site.size);
    if (square.some((level, at) => Math.abs(level - expected[at]) > LEVELS)) return false;
  }
  return true;
}

async function run(net, square) {
  net.set(square);
  return await net.infer();
}

async function agrees(net, golden, name) {
  for (const { square, answers } of golden) {
    const got = await run(net, square);
    for (const [index, share] of answers[name]) {
      if (!(Math.abs(got[index] - share) <= TOLERANCE)) return false;
    }
  }
  return true;
}

// A golden photo is the model's square itself, as PNG: no resize changes it.
async function squareOfGolden(file, bytes, size) {
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
  const { data, width, height } = pixelsOf(bitmap, bitmap.width, bitmap.height);
  if (width !== size || height !== size) throw new Error(`${file}: ${width} x ${height} pixels`);
  return rgb(data);
}

function rgb(data) {
  const square = new Uint8Array(data.length / 4 * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    square[to++] = data[from];
    square[to++] = data[from + 1];
    square[to++] = data[from + 2];
  }
  return square;
}
