// What may be said of an answer: thresholds that were fitted on this very file's answers (attar.export.decision).

// decision is the file's, common how common each class is, or nothing where they are alike, levels are groups of labels,
// the nearest first. Returns { sure, among, group }: sure is null where no threshold is known, among are the numbers of the
// labels of which one is right, the likeliest first; group is { name, share } where a group is sure and no label.
export function decide(probabilities, decision, common, levels = []) {
  if (!decision) return { sure: null, among: [], group: null };
  const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
  const weighed = (index) => common ? probabilities[index] / (common[index] * common.length) : probabilities[index];
  const among = order.filter((index) => index === order[0] || weighed(index) >= decision.set.threshold);
  const { threshold } = decision.sure;
  const sure = threshold === null ? null : probabilities[order[0]] >= threshold;
  return { sure, among, group: sure === false ? groupOf(probabilities, decision.groups ?? [], levels) : null };
}

// Whether what a photo shows is none of the classes: it is less familiar than nearly all photos of them.
export function isStrange(familiarity, decision) {
  const threshold = decision?.familiar?.threshold ?? null;
  return threshold !== null && familiarity !== undefined && familiarity < threshold;
}

function groupOf(probabilities, thresholds, levels) {
  for (const [number, { names, of }] of levels.entries()) {
    const { threshold } = thresholds[number] ?? { threshold: null };
    if (threshold === null) continue;
    const shares = new Float64Array(names.length);
    of.forEach((group, label) => { shares[group] += probabilities[label]; });
    const most = shares.indexOf(Math.max(...shares));
    if (shares[most] >= threshold) return { name: names[most], share: shares[most] };
  }
  return null;
}
