// The page: what it shows, and the way of a measurement from Start to Done.
import { conditions, describe } from "./device.js";
import { block, prepare } from "./measure.js";
import { post, Refused } from "./post.js";
import { open, preload, threadsOf } from "./runtimes.js";

const $ = (id) => document.getElementById(id);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
let about, device, running = null, hidden = 0;

class Stopped extends Error {}

// --- before ---------------------------------------------------------------------------------------

async function begin() {
  about = await (await get("about")).json();
  device = await describe();
  $("name").textContent = about.name;
  $("about").textContent =
    `Runs ${plural(about.files, "file")} of this model here, checks ${about.files === 1 ? "its" : "their"} answers, ` +
    `and times ${about.files === 1 ? "it" : "them"}. It takes about ${Math.ceil(about.seconds + 2 * about.files)} seconds. ` +
    "Keep this page in view.";
  $("runtimes").textContent = `Runs on ${about.runtimes.join(", ")}, served by attar from your own machine.`;
  showDevice();
  $("start").disabled = false;
  $("start").addEventListener("click", () => (running ? stop() : start()));
}

function showDevice() {
  const facts = {
    Cores: device.cores ?? "not told",
    Threads: device.isolated ? Math.min(about.threads, device.cores ?? 1) : 1,
    WebGPU: device.gpu ?? "none",
    Memory: device.memory ? `${device.memory} GB or more` : "not told",
  };
  $("device").replaceChildren(...Object.entries(facts).map(([name, value]) => {
    const pair = make("div");
    pair.append(make("dt", name), make("dd", String(value)));
    return pair;
  }));
  if (!device.secure) {
    $("insecure").hidden = false;
    $("insecure").textContent =
      "This page came over plain HTTP, so the browser allows it one thread, no WebGPU and a coarser clock. " +
      "The times are right for one thread.";
  }
}

// --- a measurement --------------------------------------------------------------------------------

async function start() {
  running = { models: [], stopped: false };
  hidden = 0;
  $("alarm").replaceChildren();
  $("doubt").hidden = true;
  $("running").hidden = false;
  $("start").textContent = "Stop";
  $("start").className = "quiet";
  const awake = await navigator.wakeLock?.request("screen").catch(() => null);
  try {
    await measure();
  } catch (error) {
    leave();
    if (error instanceof Stopped) tell("Stopped.", 0);
    else alarm(error instanceof Refused ? `The lab said: ${error.message}` : `Not measured: ${error.message ?? error}`);
  } finally {
    for (const { model } of running.models) await model.close();
    await awake?.release();
    running = null;
    $("start").disabled = false;
    $("start").textContent = "Measure again";
    $("start").className = "";
  }
}

async function measure() {
  tell("Asking the lab what to do…", 0);
  const before = await conditions();
  const plan = await say("sessions", { device, webgpu: device.gpu !== null, conditions: before });
  running.session = plan.session;
  showJobs(plan.jobs);
  const photos = await photosOf(plan);
  const jobs = await loadAll(plan, photos, before.timer);
  if (jobs.length) await takeTurns(plan, jobs);
  tell("Sending the results…", 1);
  const { records, doubt } = await say(address("done"), { conditions: await conditions(), hidden });
  running.session = null;
  $("doubt").hidden = doubt === null;
  $("doubt").textContent = doubt ?? "";
  for (const record of records) showTimes(plan.jobs.findIndex((job) => same(job, record)), record.p50 / 1e6, record.p90 / 1e6, record);
  tell(records.length ? `Done. ${plural(records.length, "file")} measured; the lab has the results.` : "Done. No file ran here.", 1);
}

const same = (job, record) => job.file === record.file && job.runtime === record.runtime;

async function photosOf(plan) {
  const [count, ...shape] = plan.shape;
  const all = new Uint8Array(await (await get(plan.pixels)).arrayBuffer());
  const size = shape.reduce((a, b) => a * b);
  return Array.from({ length: count }, (_, i) => all.slice(i * size, (i + 1) * size));
}

async function loadAll(plan, photos, timer) {
  const jobs = [];
  for (const [number, job] of plan.jobs.entries()) {
    tell(`Loading ${job.title}…`, (0.4 * number) / plan.jobs.length);
    await breathe();
    const made = await load(plan, job, photos, timer).catch((error) => ({ error }));
    if (made.error) {
      await fail(number, made.error);
      continue;
    }
    running.models.push(made);
    const verdict = await say(address("ready"), { job: number, ...made.ready });
    showVerdict(number, verdict, job);
    jobs.push({ number, model: made.model, per: made.ready.per, samples: [] });
  }
  return jobs;
}

async function load(plan, job, photos, timer) {
  const bytes = new Uint8Array(await (await get(job.url)).arrayBuffer());
  const threads = threadsOf(job, plan, device);
  await preload(job, threads);
  const shape = [1, ...plan.shape.slice(1)];
  return prepare(() => open(job, bytes, shape, threads), photos, timer, plan.resolutions);
}

async function takeTurns(plan, jobs) {
  const end = performance.now() + 1000 * plan.seconds;
  let active = jobs;
  for (const [number, order] of plan.rounds.entries()) {
    const turns = [];
    for (const index of order) {
      const job = active.find((each) => each.number === index);
      if (!job) continue;
      await breathe();
      try {
        turns.push({ job: job.number, samples: await block(job.model, plan.block, job.per) });
      } catch (error) {
        await fail(job.number, error);
        active = active.filter((each) => each !== job);
      }
    }
    if (!turns.length) return;
    await say(address("round"), { number, turns });
    for (const turn of turns) showSoFar(active.find((job) => job.number === turn.job), turn.samples);
    const count = (number + 1) * plan.block;
    const late = 1 - (end - performance.now()) / (1000 * plan.seconds);
    const share = Math.min(1, late, count / plan.least);
    tell(`Measuring: ${plural(count, "sample")} of each file.`, 0.4 + 0.6 * Math.max(0, share), `Measuring, ${25 * Math.floor(4 * share)}%.`);
    if (count >= plan.least && performance.now() >= end) return;
  }
}

async function fail(number, error) {
  const reason = String(error?.message ?? error).slice(0, 500) || "no reason given";
  showFailure(number, reason);
  await say(address("failed"), { job: number, error: reason });
}

const address = (kind) => `sessions/${running.session}/${kind}`;
const say = (path, message) => post(path, message, (trouble) => {
  if (trouble) tell(`${trouble} Trying again; nothing is lost while this page stays open.`);
  else tell("Connected again.");
});

async function get(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response;
}

// Let the page be painted, wait while it is out of sight, and end if the person asked for it.
async function breathe() {
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  if (running.stopped) throw new Stopped();
}

function stop() {
  running.stopped = true;
  $("start").disabled = true;
}

// Tell the lab that no more will come, even as the page is closed.
function leave() {
  if (!running?.session) return;
  navigator.sendBeacon(address("closed"), new Blob(["{}"], { type: "application/json" }));
  running.session = null;
}

addEventListener("pagehide", leave);
document.addEventListener("visibilitychange", () => (hidden += document.hidden ? 1 : 0));

// --- what is shown --------------------------------------------------------------------------------

// `heard` is what a screen reader says, where it should hear less than is seen.
function tell(text, share, heard = text) {
  $("now").textContent = text;
  if (share !== undefined) $("bar").value = share;
  if ($("heard").textContent !== heard) $("heard").textContent = heard;
}

function alarm(text) {
  $("alarm").append(make("p", text));
}

function showJobs(jobs) {
  $("results").hidden = false;
  $("rows").replaceChildren(...jobs.map((job) => {
    const row = make("tr"), file = make("th", job.file);
    file.scope = "row";
    file.append(make("small", job.runtime));
    row.append(file, make("td", "…"), make("td", "…", "number"), make("td", "…", "number"));
    return row;
  }));
}

const cells = (number) => $("rows").rows[number].cells;

function showVerdict(number, verdict, job) {
  const cell = cells(number)[1];
  cell.textContent = verdict.agrees ? "agree" : "disagree";
  cell.className = verdict.agrees ? "good" : "bad";
  const error = offBy(verdict.max_error);
  cell.append(make("small", error));
  if (!verdict.agrees) alarm(`${job.title} gives other answers here than in the manifest (${error}).`);
}

function showFailure(number, reason) {
  const cell = cells(number)[1];
  cell.textContent = "does not run";
  cell.className = "bad";
  cell.append(make("small", reason));
  for (const time of [...cells(number)].slice(2)) time.textContent = "–";
}

function showSoFar(job, samples) {
  job.samples.push(...samples);
  const sorted = [...job.samples].sort((a, b) => a - b);
  const at = (share) => sorted[Math.floor(share * (sorted.length - 1))] / 1e6;
  showTimes(job.number, at(0.5), at(0.9));
}

function showTimes(number, median, p90, record) {
  const [, , first, second] = cells(number);
  first.textContent = milliseconds(median);
  second.textContent = milliseconds(p90);
  if (record) first.append(make("small", plural(record.threads, "thread")));
}

const milliseconds = (value) => value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3);

function offBy(error) {
  if (error === null) return "not finite";
  return error < 1e-4 ? "within 0.0001" : `off by ${error < 1e6 ? Number(error.toPrecision(2)) : error.toExponential(1)}`;
}

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

begin().catch((error) => alarm(`The lab did not answer (${error.message ?? error}). Is it still running? Load the page again.`));
