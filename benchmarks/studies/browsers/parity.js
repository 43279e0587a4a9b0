// Every photo of photos.json through the app's own modules; each result goes to the server that this page came from.

import { openModel } from "./classify.js";
import { pixelsOfFile } from "./decode.js";
import { openSite } from "./files.js";
import { squaring } from "./square.js";

const TYPES = { jpg: "image/jpeg", png: "image/png", webp: "image/webp" };
const tell = (what, value) => fetch(`told/${what}`, { method: "POST", body: JSON.stringify(value) });
const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

async function photo(name, model, squareOf) {
  const bytes = await (await fetch(`photos/${name}`)).arrayBuffer();
  const file = new File([bytes], name, { type: TYPES[name.split(".").at(-1)] }); // as a person would choose it
  const { data, width, height } = await pixelsOfFile(file);
  const square = squareOf(data, width, height, 4);
  return { name, square: base64(square), answers: model ? Array.from(await model.classify(square)) : null };
}

async function all() {
  const { about, bytes } = await openSite(document.querySelector("meta[name=site]").content);
  const said = [];
  const model = await openModel(about, bytes, (event, words = {}) => said.push([event, words.way ?? words.reason ?? ""]));
  await tell("begun", { agent: navigator.userAgent, runtime: model?.title ?? null, file: model?.model.name ?? null, said });
  for (const name of await (await fetch("photos.json")).json()) {
    await tell("photo", await photo(name, model, squaring(about.square)).catch((error) => ({ name, error: `${error.name}: ${error.message}` })));
  }
}

all().then(() => tell("ended", {}), (error) => tell("ended", { error: `${error.name}: ${error.message}` }));
