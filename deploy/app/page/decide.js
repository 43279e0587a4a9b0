// What may be said of an answer: thresholds that were fitted on this very file's answers (attar.export.decision).

// decision is the file's, common how common each class is, or nothing where they are alike. Returns { sure, among }: sure
// is null where no threshold is known, among are the numbers of the labels of which one is right, the likeliest first.
export function decide(probabilities, decision, common) {
  if (!decision) return { sure: null, among: [] };
  const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
  const weighed = (index) => common ? probabilities[index] / (common[index] * common.length) : probabilities[index];
  const among = order.filter((index) => index === order[0] || weighed(index) >= decision.set.threshold);
  const { threshold } = decision.sure;
  return { sure: threshold === null ? null : probabilities[order[0]] >= threshold, among };
}
