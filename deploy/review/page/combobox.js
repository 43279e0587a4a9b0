// Choosing from a list by typing: a combobox as the ARIA Authoring Practices describe it, with a list that is always open.

// query is the input, list the listbox. offers(typed) returns what can be chosen: [{ text, value, quiet }]; take(value) is
// called with what was. Returns { offer() }, which shows the list anew.
export function combobox(query, list, offers, take) {
  let marked = 0;
  let waiting = ""; // what was typed when Enter came before there was anything to choose

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

  function offer() {
    list.replaceChildren(...offers(query.value.trim()).map(({ text, value, quiet }, number) => {
      const item = document.createElement("li");
      item.id = `${list.id}-${number}`;
      item.role = "option";
      item.dir = "auto";
      item.textContent = text;
      item.className = quiet ? "new" : "";
      item.addEventListener("click", () => take(value));
      return item;
    }));
    mark(0);
    if (waiting && waiting === query.value) list.querySelector("li")?.click();
    waiting = "";
  }

  function choose() {
    const item = list.querySelectorAll("li")[marked];
    if (item) item.click();
    else waiting = query.value;
  }

  query.addEventListener("input", offer);
  query.addEventListener("keydown", (event) => {
    if (event.isComposing) return; // these keys choose characters, in languages that are written so
    if (event.key === "ArrowDown") mark(marked + 1);
    else if (event.key === "ArrowUp") mark(marked - 1);
    else if (event.key === "Enter") choose();
    else return;
    event.preventDefault();
  });
  return { offer };
}
