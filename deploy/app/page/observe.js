// What the person says of an answer: "Yes", "No, it is ...", "Something else", "I don't know". It becomes an observation.

import { combobox } from "./combobox.js";
import { sha256 } from "./files.js";
import * as kept from "./kept.js";
import { portable } from "./portable.js";
import { searchOf } from "./search.js";
import { t } from "./texts.js";

const at = (id) => document.getElementById(id);
const DECIMALS = 2; // of a degree: about a kilometre
const LOCATING = 15e3; // ms
const LONGEST = 500; // characters of a text

// One line of text that servers take: no control characters, and none that turn the writing direction.
export function oneLine(text) {
  const shown = text.normalize("NFC").replace(/\p{Z}+/gu, " ")
    .replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, (each) => "\u200c\u200d".includes(each) ? each : "");
  return Array.from(shown).slice(0, LONGEST).join("").trim(); // by characters: half of one is none
}

// What was said, in the person's language.
export function inWords({ verdict, predicted, label, text }) {
  return { confirmed: predicted, corrected: label, other: text, unknown: t("unknown") }[verdict];
}

// Where the phone is now, to about a kilometre.
function located() {
  return new Promise((resolve, reject) => {
    const failed = ({ message }) => reject(Object.assign(new Error(message), { name: "noPlace" }));
    if (!navigator.geolocation) return failed({ message: "?" });
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => resolve({ latitude: rounded(coords.latitude), longitude: rounded(coords.longitude) }),
      failed,
      { timeout: LOCATING, maximumAge: 60e3 },
    );
  });
}

const rounded = (degrees) => Number(degrees.toFixed(DECIMALS)) + 0;

// trouble(text) tells what went wrong, done() that something was kept or taken back, busy() returns the number of the record
// that is being sent. Returns { ask(picture, by, probabilities, alone, circumstances), hide() }.
export function observer({ trouble, done, busy }) {
  let find = null;
  let searched = null; // the labels that it finds
  let about = null; // { photo: promise of the bytes, labels, model, ranked: labels, probability, circumstances }
  let last = null; // what was said last: { number, about }

  function hide() {
    for (const id of ["verdict", "kept"]) at(id).hidden = true;
    about = last = null;
  }

  // A picture is { data: RGBA, width, height }. by is who answered: { labels, sha256 }, all labels of the model and the SHA-256
  // of its file. probabilities may take in a place; alone are those of the photo, and what is sent of them says nothing of a
  // place. circumstances are those of circumstances.js.
  function ask({ data, width, height }, { labels, sha256: model }, probabilities, alone = probabilities, circumstances = {}) {
    const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
    const photo = portable(data, width, height);
    photo.catch(() => {}); // told when it is needed
    const ranked = order.map((index) => labels[index]);
    about = { photo, labels, model, ranked, probability: Math.min(1, alone[order[0]]), circumstances };
    last = null;
    at("with-place").checked = false;
    at("kept").hidden = true;
    at("verdict").hidden = false;
  }

  async function say(verdict, more = {}) {
    const said = about;
    const withPlace = at("with-place").checked;
    buttons(false);
    try {
      const place = withPlace ? await located() : null;
      const record = await made(said, verdict, { ...more, place });
      const number = await kept.keep(record);
      if (about === said) tell(number, said, JSON.parse(record.text));
      trouble("");
      done();
    } catch (error) {
      const name = { noPlace: "noPlace", QuotaExceededError: "full" }[error.name] ?? "unkept";
      if (name === "noPlace") at("with-place").checked = false;
      trouble(t(name, { reason: error.message }));
    } finally {
      buttons(true);
    }
  }

  async function made({ photo, model, ranked, probability, circumstances }, verdict, more) {
    const bytes = await photo;
    const observation = {
      id: crypto.randomUUID(), image: await sha256(bytes), time: new Date().toISOString(),
      predicted: ranked[0], probability, model, verdict, ...more, ...circumstances,
    };
    return { id: observation.id, said: inWords(observation), text: JSON.stringify(observation), photo: bytes };
  }

  function buttons(on) {
    for (const button of document.querySelectorAll("#verdict button")) button.disabled = !on;
  }

  function tell(number, said, observation) {
    last = { number, about: said };
    const focused = document.activeElement === document.body || at("verdict").contains(document.activeElement);
    at("verdict").hidden = true;
    at("kept").hidden = false;
    at("kept-text").textContent = at("heard").textContent = t("keptAs", { said: inWords(observation) });
    at("change").hidden = false;
    if (focused) at("change").focus(); // the button that had it is gone
  }

  // Taken back, unless it has left the phone or is about to.
  async function takeBack() {
    if (!last) return;
    const { number, about: said } = last;
    if (busy() === number || !await kept.remove(number) || busy() === number) return settle();
    about = said;
    last = null;
    at("kept").hidden = true;
    at("verdict").hidden = false;
    at("yes").focus();
    done();
  }

  // What was said last can no more be taken back.
  function settle() {
    if (document.activeElement === at("change")) at("choose").focus();
    at("change").hidden = true;
    last = null;
  }

  // --- the right label ---

  function offers(typed) {
    const found = typed ? find(typed) : [...new Set([...about.ranked.slice(1, 6), ...find("")])];
    const choices = found.map((label) => ({ text: label, value: { label } }));
    const text = oneLine(typed);
    if (text && !found.includes(text)) choices.push({ text: t("otherwise", { text }), value: { text }, quiet: true });
    return choices;
  }

  const list = combobox(at("query"), at("found"), offers, ({ label, text }) => {
    at("choosing").close();
    if (text) say("other", { text });
    else if (label === about.ranked[0]) say("confirmed");
    else say("corrected", { label });
  });

  function choose() {
    if (searched !== about.labels) find = searchOf(searched = about.labels);
    at("query").value = "";
    at("choosing").showModal();
    at("query").focus();
    list.offer();
  }

  at("yes").addEventListener("click", () => say("confirmed"));
  at("no").addEventListener("click", choose);
  at("unknown").addEventListener("click", () => say("unknown"));
  at("other").addEventListener("click", () => {
    at("text").value = "";
    at("naming").showModal();
    at("text").focus();
  });
  at("naming-form").addEventListener("submit", () => {
    const text = oneLine(at("text").value);
    if (text) say("other", { text });
  });
  at("change").addEventListener("click", takeBack);
  for (const button of document.querySelectorAll("dialog .leave")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  return { ask, hide, sending: (number) => last?.number === number && settle() };
}
