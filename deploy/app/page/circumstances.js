// How an answer came about, for the observation of it (attar/data/observations.py): about the photo and about how the model
// ran. Nothing here names the device or the browser.

import { LONGEST } from "./portable.js";
import { qualityOf } from "./quality.js";

const rounded = (value) => Number(value.toFixed(2));

// model as `openModel` returns it, square what it saw (RGB, size x size), side the whole photo's shorter side in pixels,
// latency in ms, withGeo whether place and season changed the answer.
export function circumstancesOf(model, square, { size, side, latency, withGeo }) {
  const { brightness, sharpness } = qualityOf(square, size, side);
  const threads = model.backend === "wasm" ? ` ${model.threads} thread${model.threads === 1 ? "" : "s"}` : "";
  const familiarity = model.familiarity();
  return {
    backend: `${model.model.format} ${model.backend}${threads}`,
    latency_ms: rounded(latency),
    ...(Number.isFinite(familiarity) && { familiarity: Math.min(1, Math.max(0, familiarity)) }),
    brightness: rounded(brightness),
    sharpness: rounded(Math.max(0, sharpness)),
    side: Math.min(side, LONGEST), // no more than the photo itself says
    with_geo: withGeo,
  };
}
