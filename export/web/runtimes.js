// The two runtimes behind one small object: { threads, set(pixels), infer() -> Float32Array, last(name), close() }.
// last(name) is another output of the last inference, where the file has one.

// A module that uses one instruction of SIMD, without which neither runtime works.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];
export const hasSimd = WebAssembly.validate(Uint8Array.from(SIMD));

const VENDOR = new URL("vendor/", document.baseURI).href;
const loaded = {};

// What one device has of a runtime: only this much is known before a file is opened.
export function threadsOf(job, plan, device) {
  if (!device.isolated || job.backend === "webgpu") return 1;
  if (job.format === "litert" && !device.relaxed_simd) return 1; // LiteRT.js has no build for that
  return Math.max(1, Math.min(plan.threads, device.cores ?? 1));
}

// Load the runtime itself, so that opening a file does not count it.
export function preload(job, threads) {
  return job.format === "litert" ? liteRt(threads) : onnx(job.backend, threads);
}

export async function open(job, bytes, shape, threads) {
  return job.format === "litert" ? openLiteRt(job, bytes, shape, threads) : openOnnx(job, bytes, shape, threads);
}

function liteRt(threads) {
  return (loaded.litert ??= import("@litertjs/core").then(async (core) => {
    await core.loadLiteRt(`${VENDOR}@litertjs/core/wasm/`, { threads: threads > 1 });
    return core;
  }));
}

// Forget LiteRT.js, so that it can be loaded once more in another way.
export async function unload() {
  const core = loaded.litert;
  delete loaded.litert; // also one that could not be loaded, such as a build that is not kept for use without a network
  (await core)?.unloadLiteRt();
}

async function openLiteRt(job, bytes, shape, threads) {
  const { loadAndCompile, Tensor } = await liteRt(threads);
  const cpuOptions = { numThreads: threads };
  const model = await loadAndCompile(bytes, { accelerator: job.backend, cpuOptions });
  if (job.backend === "webgpu" && model.options.accelerator !== "webgpu") {
    model.delete();
    throw new Error("WebGPU does not run all of this file");
  }
  let input;
  let values = {};
  async function taken(answer) {
    const here = job.backend === "webgpu" ? await answer.moveTo("wasm") : answer;
    const value = here.toTypedArray();
    here.delete();
    return value;
  }
  return {
    threads,
    set(pixels) {
      input?.delete();
      input = new Tensor(pixels, shape);
    },
    async infer() {
      const answers = await model.run({ [job.input]: input });
      values = {};
      for (const [name, answer] of Object.entries(answers)) values[name] = await taken(answer);
      return values[job.output];
    },
    last: (name) => values[name],
    close() {
      input?.delete();
      model.delete();
    },
  };
}

function onnx(backend, threads) {
  const [code, wasm] = backend === "webgpu"
    ? ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"]
    : ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"];
  const folder = `${VENDOR}onnxruntime-web/dist/`;
  return (loaded[backend] ??= import(folder + code).then((ort) => {
    ort.env.logLevel = "error";
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmPaths = { wasm: folder + wasm };
    return ort;
  }));
}

async function openOnnx(job, bytes, shape, threads) {
  const ort = await onnx(job.backend, threads);
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [job.backend] });
  let input;
  let values = {};
  return {
    threads,
    set(pixels) {
      input = new ort.Tensor("uint8", pixels, shape);
    },
    async infer() {
      values = await session.run({ [job.input]: input });
      return values[job.output].data;
    },
    last: (name) => values[name]?.data,
    async close() {
      await session.release();
    },
  };
}
