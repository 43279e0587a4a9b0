// The page: start, look, answer.

import { fits, openAnswerer } from "./answerer.js";
import { watch } from "./camera.js";
import { circumstancesOf } from "./circumstances.js";
import { decide, isStrange } from "./decide.js";
import { pixelsOfFile } from "./decode.js";
import { placeIn } from "./exif.js";
import { Damaged, openSite } from "./files.js";
import { dayOf, openGeo } from "./geo_prior.js";
import { activation, draw, weightsOf } from "./heat.js";
import { mine, tokenOf } from "./mine.js";
import { observer } from "./observe.js";
import { placeNow } from "./place.js";
import { beyond, qualityOf } from "./quality.js";
import { sender } from "./send.js";
import { NAMES, megabytes, percent, speak, t } from "./texts.js";
import { openUpdates } from "./update.js";

const at = (id) => document.getElementById(id);
const SHOWN = 3;
const FEW = 4; // labels that are named where the answer is not sure, at most
const REGRET = 5000; // ms in which an answer can be changed before it is sent

let site, bytes, camera, observing, collected;
let current = null; // who answers (answerer.js): the app's own model, or a later one
let updates = null; // where later ones come from, if the app names a place
let news = ["notLooked"]; // what came of looking there: a text and its words
let wrong = false; // this device's GPU answered wrong
let geo = null; // the prior of place and season, if the app has one, with its labels
let here = null; // where this device is; null where that is not known, or is to be ignored
let chosen = null; // the file that was answered about last; null once the camera is begun
let refresh = null; // shows the answer to the camera's last frame anew; null while the camera is off
let seen = null; // what was answered about last: { square, features, by }; features are undefined where the file gives none

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
  if (current) await ready();
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

// One model gives a whole answer: another takes its place only while nothing is answered and the camera is off.
let working = 0;
const waiting = [];

async function within(act) {
  working++;
  try {
    return await act(current);
  } finally {
    rest();
  }
}

function rest() {
  working--;
  if (!working) for (const go of waiting.splice(0)) go();
}

async function quiet() {
  while (working) await new Promise((go) => waiting.push(go));
}

// With a photo, each answer is a button that shows where the model looked for it.
function show(by, probabilities, square, side) {
  const best = Array.from(probabilities, (share, index) => [share, index]).sort((a, b) => b[0] - a[0]).slice(0, SHOWN);
  at("answers").replaceChildren(...best.map(([share, index]) => {
    const item = document.createElement("li");
    const row = seen?.features ? item.appendChild(document.createElement("button")) : item;
    if (row !== item) Object.assign(row, { type: "button", title: t("look"), onclick: () => look(row, index) });
    if (row !== item) row.setAttribute("aria-pressed", "false");
    for (const [name, text] of [["label", by.labels[index]], ["share", percent(share)]]) {
      const part = row.appendChild(document.createElement("span"));
      part.className = name;
      part.dir = "auto";
      part.textContent = text;
    }
    return item;
  }));
  const words = doubt(by, probabilities, qualityOf(square, by.about.size, side));
  at("unsure").textContent = words;
  at("unsure").hidden = !words;
  return [t("heard", { label: by.labels[best[0][1]], percent: percent(best[0][0]) }), words].filter(Boolean).join(" ");
}

// Answers with what place and season say of what the camera sees, where the place is known.
function placed(by, probabilities) {
  return here && knowsPlaces(by) ? geo.joined(probabilities, here, dayOf(new Date())) : probabilities;
}

// Likewise of a file, by where and when its own camera says that it was taken: never by where this device is now.
async function placedBy(file, by) {
  if (!knowsPlaces(by) || at("ignore-place").checked) return { say: "", found: (_, probabilities) => probabilities };
  const place = await placeIn(file);
  const say = t(!place ? "fileWithoutPlace" : place.day ? "fileWithSeason" : "fileWithPlace");
  return { say, found: (_, probabilities) => geo.joined(probabilities, place, place?.day) };
}

// The prior is one of the app's own labels.
function knowsPlaces({ labels }) {
  return geo !== null && geo.labels.length === labels.length && geo.labels.every((label, index) => label === labels[index]);
}

// Ask the browser where this device is, unless that is to be ignored. Nothing here sends it anywhere.
async function locate() {
  const wanted = () => camera && knowsPlaces(current) && !at("ignore-place").checked; // it changes while the browser asks
  answerFrom(null, "");
  if (!wanted()) return;
  try {
    const place = await placeNow();
    if (wanted()) answerFrom(place, t("withSeason"));
  } catch (error) {
    if (wanted()) answerFrom(null, t("placeless", { reason: error.message }));
  }
}

// From now on the camera is answered with this place, or without one. What is shown already changes with the words about it.
function answerFrom(place, words) {
  here = place;
  placing(words);
  refresh?.();
}

function placing(text) {
  at("placed").textContent = text;
  at("placed").hidden = !text;
}

// No answer is shown: it was about something else.
function unanswered() {
  at("answers").replaceChildren();
  at("unsure").hidden = true;
  placing("");
}

// What speaks against an answer: something else than the model knows, a photo unlike those that it learned from, or too
// little confidence.
function doubt({ about, labels, model }, probabilities, quality) {
  const words = beyond(quality, about.quality).map((name) => t(name));
  const { sure, among, group } = decide(probabilities, model.model.decision, about.common, about.levels);
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
  const { square, features, by } = seen; // the camera may be begun while the file is read
  const { map, file } = by.model.model;
  const content = await by.bytes(file).catch(() => null); // a later model took its place on the disk
  if (!content) return at("seen").hidden = true;
  const cells = activation(features, weightsOf(content, map, index), map);
  const [x, y] = draw(at("seen"), square, by.about.size, cells, map);
  const words = t("looked", { label: by.labels[index], x: percent(x), y: percent(y) });
  at("seen").setAttribute("aria-label", words);
  at("heard").textContent = words;
}

async function answer(file) {
  trouble("");
  observing?.hide();
  stop();
  chosen = file;
  try {
    await within(async (by) => {
      const photo = await pixelsOfFile(file);
      const { say, found } = await placedBy(file, by);
      picture(URL.createObjectURL(file));
      unanswered();
      await about(by, photo, found);
      placing(say);
    });
  } catch (error) {
    trouble(error.words || error.name === "unreadable" ? t(error.name, error.words) : String(error.message));
  }
}

// Answer about pixels, and ask whether that is right.
async function about(by, photo, found) {
  const square = by.squareOf(photo.data, photo.width, photo.height, 4);
  const side = Math.min(photo.width, photo.height);
  const begun = performance.now();
  const alone = await by.model.classify(square);
  const latency = performance.now() - begun;
  const probabilities = found(by, alone);
  seen = { square, features: by.model.features(), by };
  at("seen").hidden = true;
  at("heard").textContent = show(by, probabilities, square, side);
  const how = { size: by.about.size, side, latency, withGeo: probabilities !== alone };
  const who = { labels: by.labels, sha256: by.model.model.sha256 };
  observing?.ask(photo, who, probabilities, alone, circumstancesOf(by.model, square, how));
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
  if (camera) rest();
  camera?.stop();
  camera = refresh = null;
  at("camera").hidden = true;
  at("shutter").hidden = true;
  at("watch").hidden = false;
}

async function begin() {
  trouble("");
  seen = chosen = null;
  at("seen").hidden = true;
  observing?.hide();
  at("watch").disabled = true; // while the browser asks
  working++;
  const by = current;
  try {
    const each = (known, ...frame) => {
      refresh = () => show(by, placed(by, known), ...frame);
      refresh();
    };
    camera = await watch(at("camera"), by.model, by.squareOf, { each, failed: again });
  } catch (error) {
    rest();
    return trouble(t("noCamera", { reason: error.message }));
  } finally {
    at("watch").disabled = false;
  }
  at("photo").hidden = true;
  at("camera").hidden = false;
  at("watch").hidden = true;
  at("shutter").hidden = false;
  hint("");
  unanswered();
  locate();
}

async function take() {
  const canvas = document.createElement("canvas");
  const { data, width, height } = camera.picture();
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  stop();
  await within((by) => about(by, { data, width, height }, placed));
  canvas.toBlob((blob) => picture(URL.createObjectURL(blob)), "image/png");
}

// The model's answers became wrong (drivers of GPUs do that): the next way, from the start.
async function again() {
  stop();
  wrong = true;
  await within(async (by) => {
    await by.model.close();
    await start();
  });
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
    trouble, busy: () => queue?.sending(),
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
  const { model, about, release } = current;
  const rows = [
    ["model", `${model.model.name} (${megabytes(model.model.bytes)} MB)`],
    ["runtime", model.title],
    ["input", about.preprocessing],
    ...(updates ? [["release", `${released(release)} ${told(...news)}`]] : []),
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

const released = (release) => release ? t("released", { number: release.number, digest: release.digest.slice(0, 12) }) : t("asWritten");
const told = (name, words = {}) => t(name, { ...words, reason: words.reason ? t(words.reason) : "" });

// The card of the model that answers, as plain text: nothing of a release is shown as anything else.
async function card() {
  if (at("card").href.startsWith("blob:")) URL.revokeObjectURL(at("card").href);
  const text = current.release && await current.bytes("MODEL_CARD.md").catch(() => null);
  at("card").href = text ? URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" })) : "MODEL_CARD.md";
  at("card").hidden = text === null && current.release !== null; // the app's own card is none of this model
}

async function ready() {
  for (const id of ["watch", "choose"]) at(id).disabled = false;
  if (!camera && at("photo").hidden) hint(t("ready"));
  const { notReady } = current.about;
  at("doubt").hidden = !notReady.length;
  at("doubt").textContent = t("notReady", { reasons: notReady.join(" ") });
  at("ignoring").hidden = !knowsPlaces(current);
  await facts();
}

// The best model that works here: the last release that did, the one before, or the app's own.
async function start() {
  current = null;
  for (const id of ["watch", "choose"]) at(id).disabled = true;
  for (const { digest, open } of updates?.sources() ?? []) {
    try {
      current = await openAnswerer(usable(await open()), (event, words) => progress.has(event) && tell(event, words));
      await updates.started(digest, current !== null);
    } catch (error) {
      await (error instanceof Damaged ? updates.lost(digest) : updates.started(digest, false));
    }
    if (current) break;
  }
  current ??= await openAnswerer(usable(own()), tell);
  if (!current) return hint("");
  if (!current.alike) trouble(t("seesOtherwise"));
  await card();
  await ready();
}

const progress = new Set(["loading", "testing"]);
const own = () => ({ about: site, bytes, release: null });

// Where the GPU answered wrong, no model is run on it.
function usable(from) {
  return wrong ? { ...from, about: { ...from.about, models: from.about.models.map((each) => ({ ...each, float: false })) } } : from;
}

// --- later models ----------------------------------------------------------------------------------

// A later model, opened and tested beside the one that answers; null if it is not to be used here.
async function open(from) {
  const next = await openAnswerer(usable(from), () => {}, true);
  if (next && await fits(next) && (next.alike || !current?.alike)) return next;
  await next?.model.close();
  return null;
}

// From the next answer on.
async function adopt(next) {
  await quiet();
  const before = current;
  current = next;
  await before?.model.close();
  await card();
  await ready();
}

// A model that failed may have taken the runtime with it.
async function recover() {
  await quiet();
  if (current && !await current.model.test().catch(() => false)) await again();
}

function watchReleases() {
  let looks = 0;
  updates.watch({
    current: () => current, own: own(), open, adopt, quiet, recover,
    async told(name, words) {
      news = [name, words];
      if (current) await facts();
      Object.assign(at("facts").dataset, { news: name, detail: words?.detail ?? "" });
      if (name !== "updating") at("facts").dataset.looks = ++looks;
    },
  });
}

async function load() {
  if (!self.isSecureContext) trouble(t("insecure"));
  else await keep().catch(() => {});
  const version = document.querySelector("meta[name=site]").content;
  ({ about: site, bytes } = await openSite(version));
  site.version = version;
  document.title = at("name").textContent = site.name;
  if (site.geo) geo = { ...openGeo(site.geo, await bytes(site.geo.file)), labels: JSON.parse(new TextDecoder().decode(await bytes("labels.json"))) };
  at("ignore-place").checked = remembered("ignore place") === "yes";
  if (self.isSecureContext) await collect();
  if (self.isSecureContext && site.releases) updates = await openUpdates(site).catch(() => null); // a browser that keeps nothing
  await start();
  if (updates) watchReleases();
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
  else if (chosen && at("kept").hidden) answer(chosen); // unless it was said whether the answer is right
});
at("shutter").addEventListener("click", take);
self.addEventListener("hashchange", () => collected && invited());
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("stage").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && current && event.dataTransfer.files[0]) answer(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  const file = Array.from(event.clipboardData?.files ?? []).find((each) => each.type.startsWith("image/"));
  if (file && current) answer(file);
});

load().catch((error) => {
  hint("");
  trouble(error instanceof Damaged ? t("damaged", { file: error.message }) : t("fails", { reason: error.message }));
});
