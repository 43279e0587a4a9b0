// What this browser tells of itself. Everything is asked once, and what it does not tell is null.

// A module that uses one instruction of relaxed SIMD.
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0,
  65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
];

export async function describe() {
  const hints = await navigator.userAgentData
    ?.getHighEntropyValues(["platformVersion", "model", "architecture"]).catch(() => null);
  return {
    user_agent: navigator.userAgent.slice(0, 500),
    platform: short(hints?.platform), platform_version: short(hints?.platformVersion),
    model: short(hints?.model), architecture: short(hints?.architecture),
    cores: navigator.hardwareConcurrency ?? null, memory: navigator.deviceMemory ?? null, gpu: await gpu(),
    isolated: self.crossOriginIsolated, secure: self.isSecureContext,
    relaxed_simd: WebAssembly.validate(Uint8Array.from(RELAXED_SIMD)),
  };
}

export async function conditions() {
  const battery = await navigator.getBattery?.().catch(() => null);
  return { timer: resolution(), battery: battery?.level ?? null, charging: battery?.charging ?? null };
}

// The smallest step of performance.now(), in nanoseconds: browsers make it coarse, more so without isolation.
function resolution() {
  let least = Infinity;
  for (let step = 0; step < 20; step++) {
    const start = performance.now();
    let now = start;
    while (now === start) now = performance.now();
    least = Math.min(least, now - start);
  }
  return Math.max(1, Math.round(least * 1e6));
}

// The name of the WebGPU adapter; null where there is none.
async function gpu() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return null;
  const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
  return short([vendor, architecture, description].filter(Boolean).join(" ")) ?? "WebGPU";
}

const short = (text) => (text ? text.slice(0, 120) : null);
