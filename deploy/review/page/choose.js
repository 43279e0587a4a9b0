// Choosing a label: a combobox as the ARIA Authoring Practices describe it, with a list that is always open.

import { searchOf } from "./search.js";

const at = (id) => document.getElementById(id);

// Returns choose(observation), which asks for the right label; `then(label)` is called with it.
export function chooser(then) {
  let find = null;
  let likely = [];
  let marked = 0;
  const dialog = at("choosing");
  const query = at("query");
  const list = at("found");

  function mark(index) {
    const items = list.querySelectorAll("li");
    marked = Math.max(0, Math.min(index, items.length - 1));
    items.forEach((item, number) => item.setAttribute("aria-selected", String(number === marked)));
    const item = items[marked];
    if (item) {
      query.setAttribute("aria-activedescendant", item.id);
      item.scrollIntoView({ block: "nearest" });
    } else query.removeAttribute("aria-activedescendant");
  }

  // With nothing typed, what the teacher thinks comes first: often it is right.
  function offer() {
    const typed = query.value.trim();
    const found = typed ? find(typed) : [...new Set([...likely, ...find("")])];
    const choices = found.map((label) => ({ label, text: label }));
    if (typed && !found.includes(typed)) choices.push({ label: typed, text: `A new label: ${typed}` });
    list.replaceChildren(...choices.map(({ label, text }, number) => {
      const item = document.createElement("li");
      item.id = `found-${number}`;
      item.role = "option";
      item.textContent = text;
      item.className = text === label ? "" : "new";
      item.addEventListener("click", () => take(label));
      item.dataset.label = label;
      return item;
    }));
    mark(0);
  }

  function take(label) {
    dialog.close();
    then(label);
  }

  query.addEventListener("input", () => find && offer());
  query.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") mark(marked + 1);
    else if (event.key === "ArrowUp") mark(marked - 1);
    else if (event.key === "Enter") {
      const item = list.querySelectorAll("li")[marked];
      if (item) take(item.dataset.label);
    } else return;
    event.preventDefault();
  });

  return async (observation) => {
    likely = observation.teacher.map(([label]) => label).filter((label) => label !== observation.said);
    query.value = "";
    list.replaceChildren();
    dialog.showModal(); // before anything is waited for: what is typed from now on is a label, no shortcut
    query.focus();
    find ??= await labels();
    offer();
  };
}

async function labels() {
  try {
    return searchOf((await (await fetch("labels")).json()).labels);
  } catch {
    return searchOf([]); // whatever is typed can still be chosen
  }
}
