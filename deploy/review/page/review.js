// One observation at a time: see it, decide, and go on to the next.

import { chooser } from "./choose.js";
import { card, decided, says } from "./card.js";

const at = (id) => document.getElementById(id);
const seen = { state: "open", observations: [], index: 0, own: [], busy: false };

// --- the server ------------------------------------------------------------------------------------

// Returns { status, told }; status 0 is a connection that is lost.
async function ask(path, message) {
  try {
    const how = message && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(message) };
    const response = await fetch(path, how);
    return { status: response.status, told: await response.json() };
  } catch {
    return { status: 0, told: { error: "The connection is lost. Is `attar review` still running?" } };
  }
}

// Observations of a state, from the first; an alarm if they do not come.
async function load(state) {
  const { status, told } = await ask(`queue?state=${state}`);
  if (status !== 200) return alarm(told.error);
  Object.assign(seen, { state, observations: told.observations, index: 0 });
  for (const button of document.querySelectorAll("nav button")) {
    button.setAttribute("aria-pressed", String(button.dataset.state === state));
  }
  alarm("");
  count(told.counts);
  show();
}

// --- showing ---------------------------------------------------------------------------------------

const current = () => seen.observations[seen.index];

function count(counts) {
  for (const [state, number] of Object.entries(counts)) at(`count-${state}`).textContent = number.toLocaleString();
}

function alarm(text) {
  at("alarm").textContent = text;
  at("alarm").hidden = !text;
}

function show() {
  const each = current();
  at("observation").hidden = !each;
  at("empty").hidden = Boolean(each);
  if (!each) {
    at("empty").textContent = seen.state === "open" ? "Nothing waits for you. All observations are decided." : "Nothing here yet.";
    at("heard").textContent = at("empty").textContent;
    return;
  }
  card(each);
  at("place").textContent = `${seen.index + 1} of ${seen.observations.length} shown, the most disputed first`;
  if (seen.state === "decided") at("place").textContent = `${seen.index + 1} of ${seen.observations.length} shown, the last decision first`;
  at("previous").disabled = seen.index === 0;
  at("undo").disabled = !each.decision && !seen.own.length;
  const after = seen.observations[seen.index + 1];
  if (after) new Image().src = `photos/${after.photo}.jpg`;
}

function go(step) {
  const index = seen.index + step;
  if (index < 0) return;
  if (index >= seen.observations.length) return load(seen.state);
  seen.index = index;
  show();
  at("heard").textContent = says(current());
}

// --- deciding --------------------------------------------------------------------------------------

async function decide(action, label = "") {
  const each = current();
  if (!each || seen.busy) return;
  if (!reviewer()) return name();
  seen.busy = true;
  const { status, told } = await ask("decisions", { observation: each.id, reviewer: reviewer(), action, label, seen: each.seen });
  seen.busy = false;
  if (told.counts) count(told.counts);
  if (told.observation) seen.observations[seen.index] = told.observation;
  alarm(status === 200 ? "" : `Not decided: ${told.error}`);
  if (status !== 200) return show();
  if (action === "undo") {
    seen.own = seen.own.filter((id) => id !== each.id);
    show();
    at("heard").textContent = `Taken back. ${says(current())}`;
    return;
  }
  seen.own.push(each.id);
  const heard = decided(told.observation.decision);
  await go(1);
  at("heard").textContent = `${heard}. ${current() ? says(current()) : at("empty").textContent}`;
}

// Takes back the decision that is shown, or goes back to one's own last one.
async function undo() {
  if (current()?.decision) return decide("undo");
  const last = seen.own.at(-1);
  if (!last) return;
  let index = seen.observations.findIndex((each) => each.id === last);
  if (index < 0) {
    await load("decided");
    index = seen.observations.findIndex((each) => each.id === last);
  }
  if (index < 0) return;
  seen.index = index;
  show();
  return decide("undo");
}

// --- who reviews -----------------------------------------------------------------------------------

let named = "";
try { named = localStorage.getItem("attar-reviewer") ?? ""; } catch { /* a browser that keeps nothing asks each time */ }
const reviewer = () => named;

function name() {
  at("name").value = named;
  at("naming").showModal();
}

// "submit" comes before the dialog closes, and "close" some time after: a key that is pressed between has a name already.
for (const event of ["submit", "close"]) at("naming").addEventListener(event, () => {
  named = at("name").value.trim() || named;
  try { localStorage.setItem("attar-reviewer", named); } catch { /* see above */ }
  at("who").textContent = named ? `You are ${named}` : "Say who you are";
});

// --- buttons and keys ------------------------------------------------------------------------------

const choose = chooser((label) => decide("relabel", label));
const relabel = () => current() && choose(current());
const actions = { accept: () => decide("accept"), relabel, reject: () => decide("reject"), undo, previous: () => go(-1), next: () => go(1) };
const keys = {
  a: "accept", r: "relabel", "/": "relabel", x: "reject", u: "undo", z: "undo",
  ArrowLeft: "previous", k: "previous", ArrowRight: "next", j: "next",
};

for (const [id, act] of Object.entries(actions)) at(id).addEventListener("click", act);
for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => load(button.dataset.state));
at("who").addEventListener("click", name);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || at(action).disabled || !current()) return;
  event.preventDefault();
  actions[action]();
});

at("who").textContent = named ? `You are ${named}` : "Say who you are";
await load("open");
if (!named) name();
