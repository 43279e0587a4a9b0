// A model with all that belongs to it, so that nothing of one model meets anything of another within one answer.

import { openModel, seesAlike } from "./classify.js";
import { squaring } from "./square.js";

// from is { about, bytes(name), release }: what model.json says, its files, and the release that it came with, as { digest,
// number }, or null for the app's own. Returns the same with { labels, squareOf, model, alike }; alike: this browser makes
// of whole photos what Python made of them. Null: the model does not run here. tell as for `openModel`.
export async function openAnswerer(from, tell, beside = false) {
  const { about, bytes } = from;
  const model = await openModel(about, bytes, tell, beside);
  if (!model) return null;
  const labels = JSON.parse(new TextDecoder().decode(await bytes("labels.json")));
  const squareOf = squaring(about.square);
  return { ...from, labels, squareOf, model, alike: await seesAlike(about, bytes, squareOf) };
}

// Whether a model gives a probability for each of its labels.
export async function fits({ about, labels, model }) {
  const answer = await model.classify(new Uint8Array(about.size * about.size * 3));
  return Array.isArray(labels) && labels.every((label) => typeof label === "string") && answer.length === labels.length;
}
