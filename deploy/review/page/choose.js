// The dialog that asks a reviewer for the right label.

import { combobox } from "./combobox.js";
import { searchOf } from "./search.js";

const at = (id) => document.getElementById(id);

// Returns choose(observation), which asks for the right label; `then(label)` is called with it.
export function chooser(then) {
  let find = null;
  let likely = [];
  const dialog = at("choosing");
  const query = at("query");

  // With nothing typed, what the teacher thinks comes first: often it is right.
  function offers(typed) {
    if (!find) return [];
    const found = typed ? find(typed) : [...new Set([...likely, ...find("")])];
    const choices = found.map((label) => ({ text: label, value: label }));
    if (typed && !found.includes(typed)) choices.push({ text: `A new label: ${typed}`, value: typed, quiet: true });
    return choices;
  }

  const list = combobox(query, at("found"), offers, (label) => {
    dialog.close();
    then(label);
  });

  return async (observation) => {
    likely = observation.teacher.map(([label]) => label).filter((label) => label !== observation.said);
    query.value = "";
    at("found").replaceChildren();
    dialog.showModal(); // before anything is waited for: what is typed from now on is a label, no shortcut
    query.focus();
    find ??= await labels();
    if (dialog.open) list.offer();
  };
}

async function labels() {
  try {
    return searchOf((await (await fetch("labels")).json()).labels);
  } catch {
    return searchOf([]); // whatever is typed can still be chosen
  }
}
