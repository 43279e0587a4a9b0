// The prior of place and season that `attar geo` fitted: how likely each label is met there and then, and how that joins
// a photo's answer. It is computed from model.safetensors, in double precision. A place is { latitude, longitude } in
// degrees; nothing here sends it anywhere.
//     const about = aboutOf(await (await fetch("prior.json")).json(), labels); // labels of the model, in its order
//     const geo = openGeo(about, new Uint8Array(await (await fetch("model.safetensors")).arrayBuffer()));
//     const answer = geo.joined(probabilities, { latitude: 48.14, longitude: 11.58 }, dayOf(new Date()));

const RADIANS = Math.PI / 180;
const YEAR = 365.25; // days

// The arrays of a safetensors file, by name.
export function tensorsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const start = 8 + Number(view.getBigUint64(0, true));
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  delete head.__metadata__;
  return Object.fromEntries(Object.entries(head).map(([name, { dtype, data_offsets: [from, to] }]) => {
    if (dtype !== "F32") throw new Error(`${name}: ${dtype}`);
    return [name, new Float32Array(bytes.slice(start + from, start + to).buffer)]; // a copy, which is aligned
  }));
}

// A linear layer: of each row of weights (outputs x inputs) the sum with its bias.
function linear(input, weight, bias) {
  return Float64Array.from(bias, (sum, row) => {
    const from = row * input.length;
    for (let column = 0; column < input.length; column++) sum += weight[from + column] * input[column];
    return sum;
  });
}

const relu = (values) => values.map((value) => Math.max(0, value));

// A point on the globe, one on the year, and whether the day is known.
function encoded(latitude, longitude, day) {
  const north = latitude * RADIANS;
  const east = longitude * RADIANS;
  const angle = day * 2 * Math.PI / YEAR;
  const dated = day > 0.5 ? 1 : 0;
  return [
    Math.cos(north) * Math.cos(east), Math.cos(north) * Math.sin(east), Math.sin(north), Math.sin(2 * north),
    dated * Math.cos(angle), dated * Math.sin(angle), dated,
  ];
}

// The day of the year of a date, in this device's time zone.
export function dayOf(date) {
  return Math.round((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / 864e5) + 1;
}

// What openGeo needs of prior.json, for a model with these labels.
export function aboutOf({ architecture: { blocks }, labels: known, counts, combination: { floor, weight } }, labels) {
  const order = labels.map((label) => known.indexOf(label));
  if (order.includes(-1) || known.length !== labels.length) throw new Error("the prior has other labels than the model");
  return { blocks, order, observed: order.map((number) => counts[number] > 0), floor, weight };
}

// about: { blocks, order, observed, floor, weight }, where order has the prior's number of each label of the model, and
// observed says of each whether it was ever met. bytes are of model.safetensors.
// Returns { likely(place, day), joined(probabilities, place, day) }; day is of the year, 0 where it is not known.
export function openGeo(about, bytes) {
  const of = tensorsOf(bytes);
  const layer = (input, name) => linear(input, of[`${name}.weight`], of[`${name}.bias`]);

  function likely({ latitude, longitude }, day) {
    let known = relu(layer(encoded(latitude, longitude, day), "stem"));
    for (let block = 0; block < about.blocks; block++) {
      const inside = relu(layer(known, `blocks.${block}.first`));
      const more = relu(layer(inside, `blocks.${block}.second`));
      known = known.map((value, at) => value + more[at]);
    }
    const logits = layer(known, "head");
    return Float64Array.from(about.order, (number) => 1 / (1 + Math.exp(-logits[number])));
  }

  // p(label | photo) * max(prior, floor) ^ weight; a label that was never met keeps its share against the others' mean.
  function joined(probabilities, place, day) {
    if (!place || about.weight === 0) return probabilities;
    const factors = likely(place, day).map((share) => Math.max(share, about.floor) ** about.weight);
    const met = factors.filter((_, label) => about.observed[label]);
    const mean = met.reduce((sum, factor) => sum + factor, 0) / met.length;
    const weighed = factors.map((factor, label) => probabilities[label] * (about.observed[label] || !met.length ? factor : mean));
    const sum = weighed.reduce((total, share) => total + share, 0);
    return weighed.map((share) => share / sum);
  }

  return { likely, joined };
}
