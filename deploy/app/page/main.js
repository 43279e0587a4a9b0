// The page: start, look, answer.

import { openModel, seesAlike } from "./classify.js";
import { watch } from "./camera.js";
import { circumstancesOf } from "./circumstances.js";
import { decide, isStrange } from "./decide.js";
import { pixelsOfFile } from "./decode.js";
import { Damaged, openSite } from "./files.js";
import { dayOf, openGeo, placeNow } from "./geo.js";
import { activation, draw, weightsOf } from "./heat.js";
import { mine, tokenOf } from "./mine.js";
import { observer } from "./observe.js";
import { beyond, qualityOf } from "./quality.js";
import { sender } from "./send.js";
import { squareOf } from "./square.js";
import { NAMES, megabytes, percent, speak, t } from "./texts.js";

const at = (id) => document.getElementById(id);
const SHOWN = 3;
const FEW = 4; // labels that are named where the answer is not sure, at most
const REGRET = 5000; // ms in which an answer can be changed before it is sent

let site, bytes, labels, model, camera, observing, collected;
let geo = null; // the prior of place and season, if the app has one
let here = null; // where this device is; null where that is not known, or is to be ignored
let seen = null; // what was answered about last: { square, features }; features are undefined where the file gives none

// --- language --------------------------------------------------------------------------------------

function remembered(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null; // a browser that keeps nothing
  }
}

for (const [code, name] of Object.entries(NAMES)) at("language").append(new Option(name, code));
at("language").value = speak(remembered("language") ?? navigator.language.slice(0, 2));
at("language").addEventListener("change", async () => {
  remembered("language", at("language").value);
  speak(at("language").value);
  if (model) await ready();
  await collected?.show();
});

// --- telling ---------------------------------------------------------------------------------------

function trouble(text) {
  at("trouble").textContent = text;
  at("trouble").hidden = !text;
}

function hint(text) {
  at("hint").textContent = text;
  at("hint").hidden = !text;
}

function tell(event, words = {}) {
  if (event === "loading") hint(t("loading", { megabytes: megabytes(words.bytes) }));
  else if (event === "testing") hint(t("testing"));
  else if (event === "disagrees") trouble(t("disagrees", { ...words, next: words.next ?? t("another") }));
  else trouble(t(event, words));
}

// --- offline ---------------------------------------------------------------------------------------

// The service worker keeps the app and isolates the page, which threads need: hosts cannot always set headers.
async function keep() {
  if (!navigator.serviceWorker) return;
  const controlled = navigator.serviceWorker.controller;
  const known = await navigator.serviceWorker.register("sw.js");
  // After a reload that asked for everything anew there is a worker, and it leaves this page alone.
  const worker = known.installing ?? (known.active?.state === "activating" ? known.active : null);
  if (!controlled && worker) await new Promise((resolve) => {
    navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true });
    // One that cannot be installed: without a network, on a full disk, or of a damaged app, which is found out below.
    const look = () => worker.state === "redundant" && resolve();
    worker.addEventListener("statechange", look);
    look();
  });
  const mark = `isolated ${location.pathname}`; // other apps of this host have their own
  const tried = sessionStorage.getItem(mark);
  if (!self.crossOriginIsolated && navigator.serviceWorker.controller && !tried) {
    sessionStorage.setItem(mark, "tried");
    location.reload();
    await new Promise(() => {});
  }
  navigator.storage?.persist?.();
}

// --- answering -------------------------------------------------------------------------------------

// With a photo, each answer is a button that shows where the model looked for it.
function show(probabilities, square, side) {
  const best = Array.from(probabilities, (share, index) => [share, index]).sort((a, b) => b[0] - a[0]).slice(0, SHOWN);
  at("answers").replaceChildren(...best.map(([share, index]) => {
    const item = document.createElement("li");
    const row = seen?.features ? item.appendChild(document.createElement("button")) : item;
    if (row !== item) Object.assign(row, { type: "button", title: t("look"), onclick: () => look(row, index) });
    if (row !== item) row.setAttribute("aria-pressed", "false");
    for (const [name, text] of [["label", labels[index]], ["share", percent(share)]]) {
      const part = row.appendChild(document.createElement("span"));
      part.className = name;
      part.dir = "auto";
      part.textContent = text;
    }
    return item;
  }));
  const words = doubt(probabilities, qualityOf(square, site.size, side));
  at("unsure").textContent = words;
  at("unsure").hidden = !words;
  return [t("heard", { label: labels[best[0][1]], percent: percent(best[0][0]) }), words].filter(Boolean).join(" ");
}

// Answers with what place and season say, where the place is known: of what the camera sees, never of files.
function placed(probabilities) {
  return here ? geo.joined(probabilities, here, dayOf(new Date())) : probabilities;
}

// Ask the browser where this device is, unless that is to be ignored. Nothing here sends it anywhere.
async function locate() {
  here = null;
  if (!geo || at("ignore-place").checked) return placing("");
  try {
    const place = await placeNow();
    if (!at("ignore-place").checked) here = place; // ticked while the browser asked
    placing(here ? t("withSeason") : "");
  } catch (error) {
    placing(t("placeless", { reason: error.message }));
  }
}

function placing(text) {
  at("placed").textContent = text;
  at("placed").hidden = !text;
}

// What speaks against an answer: something else than the model knows, a photo unlike those that it learned from, or too
// little confidence.
function doubt(probabilities, quality) {
  const words = beyond(quality, site.quality).map((name) => t(name));
  const { sure, among, group } = decide(probabilities, model.model.decision, site.common, site.levels);
  if (isStrange(model.familiarity(), model.model.decision)) words.unshift(t("strange"));
  else if (group) words.push(t("group", { label: group.name, percent: percent(group.share) }));
  else if (sure === false) {
    const few = among.length > 1 && among.length <= FEW;
    words.push(few ? t("oneOf", { labels: among.map((index) => labels[index]).join(", ") }) : t("unsure"));
  }
  return words.join(" ");
}

// Show where the model looked for a class, or the photo again.
async function look(button, index) {
  const on = button.getAttribute("aria-pressed") === "false";
  for (const each of at("answers").querySelectorAll("button")) each.setAttribute("aria-pressed", String(on && each === button));
  at("seen").hidden = !on;
  if (!on) return;
  const { map, file } = model.model;
  const { square, features } = seen; // the camera may be begun while the file is read
  const cells = activation(features, weightsOf(await bytes(file), map, index), map);
  const [x, y] = draw(at("seen"), square, site.size, cells, map);
  const words = t("looked", { label: labels[index], x: percent(x), y: percent(y) });
  at("seen").setAttribute("aria-label", words);
  at("heard").textContent = words;
}

async function answer(file) {
  trouble("");
  observing?.hide();
  stop();
  try {
    const { data, width, height } = await pixelsOfFile(file);
    picture(URL.createObjectURL(file));
    placing(geo && !at("ignore-place").checked ? t("fileWithoutPlace") : "");
    await about({ data, width, height });
  } catch (error) {
    trouble(error.words || error.name === "unreadable" ? t(error.name, error.words) : String(error.message));
  }
}

// Answer about pixels, and ask whether that is right.
async function about(photo, found = (probabilities) => probabilities) {
  const square = squareOf(photo.data, photo.width, photo.height, 4);
  const side = Math.min(photo.width, photo.height);
  const begun = performance.now();
  const alone = await model.classify(square);
  const latency = performance.now() - begun;
  const probabilities = found(alone);
  seen = { square, features: model.features() };
  at("seen").hidden = true;
  at("heard").textContent = show(probabilities, square, side);
  const withGeo = probabilities !== alone;
  observing?.ask(photo, probabilities, alone, circumstancesOf(model, square, { size: site.size, side, latency, withGeo }));
}

function picture(address) {
  if (at("photo").src.startsWith("blob:")) URL.revokeObjectURL(at("photo").src);
  at("photo").src = address;
  at("photo").alt = t("photo");
  at("photo").hidden = false;
  at("camera").hidden = true;
  hint("");
}

function stop() {
  camera?.stop();
  camera = null;
  at("camera").hidden = true;
  at("shutter").hidden = true;
  at("watch").hidden = false;
}

async function begin() {
  trouble("");
  seen = null;
  at("seen").hidden = true;
  observing?.hide();
  try {
    camera = await watch(at("camera"), model, squareOf, { each: (known, ...rest) => show(placed(known), ...rest), failed: again });
    locate();
  } catch (error) {
    return trouble(t("noCamera", { reason: error.message }));
  }
  at("photo").hidden = true;
  at("camera").hidden = false;
  at("watch").hidden = true;
  at("shutter").hidden = false;
  hint("");
}

async function take() {
  const canvas = document.createElement("canvas");
  const { data, width, height } = camera.picture();
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  stop();
  await about({ data, width, height }, placed);
  canvas.toBlob((blob) => picture(URL.createObjectURL(blob)), "image/png");
}

// The model's answers became wrong (drivers of GPUs do that): the next way, from the start.
async function again() {
  stop();
  await model.close();
  site.models = site.models.map((each) => ({ ...each, float: false }));
  await start();
}

// --- observations ----------------------------------------------------------------------------------

// What people say of answers is kept, and sent if the app names a server and somebody was invited to it.
async function collect() {
  let queue = null;
  const changed = async () => {
    observing?.sending(queue?.sending());
    await collected.show();
  };
  if (site.collect) queue = sender(site.collect, changed);
  collected = mine({ server: site.collect, queue, trouble });
  try {
    await collected.show();
  } catch (error) {
    return trouble(t("keepsNothing", { reason: error.message }));
  }
  observing = observer({
    labels, model: () => model.model.sha256, trouble, busy: () => queue?.sending(),
    done: () => {
      queue?.wake(REGRET);
      changed();
    },
  });
  at("mine").hidden = false;
  queue?.wake();
  await invited();
}

// An invitation's link opens this page with the token behind "#", which browsers tell nobody.
async function invited() {
  const token = location.hash.startsWith("#invitation=") && tokenOf(location.hash);
  if (!token) return;
  history.replaceState(null, "", location.pathname + location.search);
  at("mine").open = true;
  if (site.collect) await collected.accept(token);
  else trouble(t("noServer"));
}

// --- from the start --------------------------------------------------------------------------------

async function facts() {
  const used = await navigator.storage?.estimate?.() ?? {};
  const kept = Boolean(navigator.serviceWorker?.controller);
  const rows = [
    ["model", `${model.model.name} (${megabytes(model.model.bytes)} MB)`],
    ["runtime", model.title],
    ["input", site.preprocessing],
    ["version", `${site.version.slice(0, 12)}, attar ${site.attar}`],
    ["offline", kept ? t("kept", { megabytes: megabytes(used.usage ?? 0) }) : t("notKept")],
  ];
  at("facts").replaceChildren(...rows.map(([name, text]) => {
    const row = document.createElement("div");
    row.appendChild(document.createElement("dt")).textContent = t(name);
    row.appendChild(document.createElement("dd")).textContent = text;
    return row;
  }));
}

async function ready() {
  for (const id of ["watch", "choose"]) at(id).disabled = false;
  if (!camera && at("photo").hidden) hint(t("ready"));
  at("doubt").hidden = !site.notReady.length;
  at("doubt").textContent = t("notReady", { reasons: site.notReady.join(" ") });
  await facts();
}

async function start() {
  model = await openModel(site, bytes, tell);
  if (!model) return hint("");
  if (!await seesAlike(site, bytes, squareOf)) trouble(t("seesOtherwise"));
  await ready();
}

async function load() {
  if (!self.isSecureContext) trouble(t("insecure"));
  else await keep().catch(() => {});
  const version = document.querySelector("meta[name=site]").content;
  ({ about: site, bytes } = await openSite(version));
  site.version = version;
  labels = JSON.parse(new TextDecoder().decode(await bytes("labels.json")));
  document.title = at("name").textContent = site.name;
  if (site.geo) geo = openGeo(site.geo, await bytes(site.geo.file));
  at("ignoring").hidden = !geo;
  at("ignore-place").checked = remembered("ignore place") === "yes";
  if (self.isSecureContext) await collect();
  await start();
}

at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  const [file] = at("file").files;
  if (file) answer(file);
  at("file").value = ""; // the same file chosen again is asked about again
});
at("watch").addEventListener("click", begin);
at("ignore-place").addEventListener("change", () => {
  remembered("ignore place", at("ignore-place").checked ? "yes" : "no");
  if (camera) locate();
  else placing("");
});
at("shutter").addEventListener("click", take);
self.addEventListener("hashchange", () => collected && invited());
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("stage").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && model && event.dataTransfer.files[0]) answer(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  const file = Array.from(event.clipboardData?.files ?? []).find((each) => each.type.startsWith("image/"));
  if (file && model) answer(file);
});

load().catch((error) => {
  hint("");
  trouble(error instanceof Damaged ? t("damaged", { file: error.message }) : t("fails", { reason: error.message }));
});
