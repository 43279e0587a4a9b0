// The queue: what is kept goes to the server, the oldest first, and leaves the phone once the server says it has it.

import * as kept from "./kept.js";

const FIRST = 2e3; // ms until the next try, doubled after each
const LONGEST = 3600e3;
const PATIENCE = 60e3; // ms for one message
// Answers that are about this observation: sending it once more would change nothing.
const REFUSED = [400, 409, 411, 413, 415, 422, 431];
// Answers that are about the invitation.
const UNINVITED = [401, 403, 404];

const base64 = (text) => btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));

// Returns { status, told }; status 0 is a server that is not reached, or something else in its place.
async function ask(address, message = {}) {
  try {
    const response = await fetch(address, {
      ...message, credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer", signal: AbortSignal.timeout(PATIENCE),
    });
    return { status: response.status, told: await response.json() };
  } catch {
    return { status: 0, told: {} };
  }
}

// What became of a record: "sent", "refused", "uninvited" or "unreached", with the server's reason.
async function put(link, record) {
  const headers = { "Content-Type": "image/jpeg", "X-Observation": base64(record.text) };
  const { status, told } = await ask(`${link}/observations/${record.id}`, { method: "PUT", body: record.photo, headers });
  if (status < 300 && ["new", "known"].includes(told.kept)) return { outcome: "sent" };
  if (REFUSED.includes(status)) return { outcome: "refused", reason: told.error };
  return { outcome: UNINVITED.includes(status) ? "uninvited" : "unreached", reason: told.error };
}

// One tab sends at a time: two would only send everything twice. The next one's turn comes when a tab is done, or closed.
const alone = (act) => navigator.locks ? navigator.locks.request(kept.NAME, act) : act();

// server is the address that observations go to. changed() is called after every step. Returns
// { wake(delay), sending(), trouble() }: look again after so many ms; the number that is under way, if any; and
// what hinders, as { name, reason }, or null.
export function sender(server, changed) {
  let timer = 0;
  let pause = FIRST;
  let sending = null;
  let trouble = null;
  let asked = false; // for the turn to send

  function later(delay) {
    clearTimeout(timer);
    timer = setTimeout(run, delay);
  }

  async function run() {
    if (asked) return;
    asked = true;
    try {
      await alone(empty);
    } catch (error) {
      trouble = { name: "unkept", reason: error.message };
      hindered();
    }
    asked = false;
    changed();
  }

  function hindered() {
    later(pause * (0.75 + Math.random() / 2)); // not all phones at once when a server is back
    pause = Math.min(2 * pause, LONGEST);
  }

  // Sends all that waits; ends early if something hinders.
  async function empty() {
    const invited = await kept.invitation();
    if (!invited) return;
    const link = `${server}/${invited.token}`;
    if (!invited.contributor && !await introduced(link, invited)) return hindered();
    for (let record; (record = await kept.oldest());) {
      sending = record.number;
      changed();
      const { outcome, reason } = await put(link, record);
      if (outcome === "sent") await kept.sent(record.number);
      if (outcome === "refused") await kept.refuse(record.number, reason);
      sending = null;
      trouble = ["unreached", "uninvited"].includes(outcome) ? { name: outcome, reason } : null;
      if (trouble) return hindered();
      pause = FIRST;
      changed();
    }
    trouble = null;
  }

  async function introduced(link, invited) {
    const { status, told } = await ask(link);
    if (status === 200 && typeof told.contributor === "string") {
      await kept.setInvitation({ ...invited, contributor: told.contributor });
      return true;
    }
    trouble = { name: UNINVITED.includes(status) ? "uninvited" : "unreached", reason: told.error };
    return false;
  }

  function wake(delay = 0) {
    pause = FIRST;
    later(delay);
  }

  self.addEventListener("online", () => wake());
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake());
  return { wake, sending: () => sending, trouble: () => trouble };
}
