// One observation, as text on the page. Whatever people wrote is set as text, never as markup.

const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 2 : 1)}%`;

// What the person said, in a sentence.
export function said(each) {
  switch (each.verdict) {
    case "confirmed": return `Yes, it is ${each.said}`;
    case "corrected": return `No, it is ${each.said}`;
    case "other": return `Something else: ${each.text}`;
    default: return "I don’t know";
  }
}

// What a screen reader is told of an observation.
export function says(each) {
  const teacher = each.teacher.length ? ` Teacher: ${each.teacher[0][0]}, ${percent(each.teacher[0][1])}.` : "";
  return `${each.doubt ? `Look again: ${each.doubt}. ` : ""}Person: ${said(each)}. Model: ${each.predicted}, ${percent(each.probability)}.${teacher}`;
}

// What was decided, in words.
export function decided(decision) {
  const words = { accept: "Accepted", relabel: `Relabelled as ${decision.label}`, reject: "Rejected", undo: "Taken back" };
  return words[decision.action];
}

export function card(each) {
  const photo = at("photo");
  photo.hidden = false;
  at("missing").hidden = true;
  photo.onerror = () => { photo.hidden = true; at("missing").hidden = false; };
  photo.src = `photos/${each.photo}.jpg`;
  photo.alt = `Photo, which the model calls ${each.predicted}`;
  at("doubt").hidden = !each.doubt;
  at("doubt").textContent = `Look again: ${each.doubt}.`;
  at("person").textContent = said(each);
  answers(at("model"), [[each.predicted, each.probability]], each.said);
  at("teacher-row").hidden = !each.teacher.length;
  answers(at("teacher"), each.teacher.slice(0, 3), each.said);
  at("label").textContent = label(each);
  at("sender").textContent = `Sent by ${each.contributor}, ${new Date(each.time).toLocaleString()}. Disagreement ${each.disagreement.toFixed(2)}.`;
  history(each.decisions);
}

function label(each) {
  if (each.decision?.action === "reject") return "none: rejected";
  return each.decision?.label || each.said || "none";
}

function answers(place, pairs, right) {
  const list = document.createElement("ul");
  for (const [name, share] of pairs) {
    const item = list.appendChild(document.createElement("li"));
    const word = item.appendChild(document.createElement("span"));
    word.textContent = name;
    word.className = name === right ? "agrees" : "";
    const number = item.appendChild(document.createElement("span"));
    number.className = "share";
    number.textContent = ` ${percent(share)}`;
  }
  place.replaceChildren(list);
}

function history(decisions) {
  at("past").hidden = !decisions.length;
  at("decisions").replaceChildren(...decisions.map((each) => {
    const item = document.createElement("li");
    item.textContent = `${decided(each)} by ${each.reviewer}, ${new Date(each.made).toLocaleString()}`;
    return item;
  }));
}
