// Finding a label among ten thousand: by the beginning of any of its words, in any order, accents and case aside.

const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const words = (text) => plain(text).split(/[^\p{L}\p{N}]+/u).filter(Boolean);

// Returns find(query, limit): labels in the order of how well they fit; an empty query gives the first ones.
export function searchOf(labels) {
  const known = labels.map((label) => ({ label, whole: plain(label), words: ` ${words(label).join(" ")}` }));
  return (query, limit = 50) => {
    const asked = words(query);
    const start = plain(query.trim());
    const found = known
      .map((each) => ({ ...each, rank: rank(each, asked, start) }))
      .filter((each) => each.rank < 4);
    return found.sort((a, b) => a.rank - b.rank).slice(0, limit).map((each) => each.label);
  };
}

// 0: the label itself, 1: it begins so, 2: each word asked for begins one of its words, 3: it holds them somewhere (in
// writing without spaces), 4: no.
function rank(label, asked, start) {
  if (label.whole === start) return 0;
  if (label.whole.startsWith(start)) return 1;
  if (asked.length && asked.every((word) => label.words.includes(` ${word}`))) return 2;
  return asked.length && asked.every((word) => label.words.includes(word)) ? 3 : 4;
}
