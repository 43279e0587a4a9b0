// Timing, as `attar bench` does it: files stay loaded and take turns in short blocks, in an order shuffled each round.

const WARMUP_RUNS = 10, WARMUP_MILLISECONDS = 300, ATTEMPTS = 3, MOST = 10_000;
export const nanoseconds = (milliseconds) => Math.max(1, Math.round(milliseconds * 1e6));

// Load a model by `open`, run it on every photo, warm it up -> { model, ready }.
export async function prepare(open, photos, timer, resolutions) {
  let start = performance.now();
  const model = await open();
  const load = nanoseconds(performance.now() - start);
  try {
    model.set(photos[0]);
    start = performance.now();
    await model.infer();
    const first = nanoseconds(performance.now() - start);
    const answers = [];
    for (const photo of photos) {
      model.set(photo);
      answers.push(Array.from(await model.infer(), (value) => (Number.isFinite(value) ? value : null)));
    }
    const runs = await warmUp(model);
    const per = await batch(model, (resolutions * timer) / 1e6);
    return { model, ready: { load, first, warmup: runs + photos.length, per, threads: model.threads, answers } };
  } catch (error) {
    await model.close();
    throw error;
  }
}

async function warmUp(model) {
  const start = performance.now();
  let runs = 0, now = start;
  while (runs < WARMUP_RUNS || now - start < WARMUP_MILLISECONDS) {
    await model.infer();
    runs++;
    now = performance.now();
  }
  return runs;
}

// How many inferences last long enough for the clock, even at their fastest: a mean would be spoiled by any interruption.
async function batch(model, milliseconds) {
  for (let per = 1; ; ) {
    let least = Infinity;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) least = Math.min(least, await time(model, per));
    if (least >= milliseconds || per === MOST) return per;
    const enough = Math.ceil((per * milliseconds) / Math.max(least, milliseconds / 100));
    per = Math.min(MOST, Math.max(per + 1, enough));
  }
}

async function time(model, runs) {
  const start = performance.now();
  for (let run = 0; run < runs; run++) await model.infer();
  return performance.now() - start;
}

// `count` samples in nanoseconds of one inference, each the mean of `per`; one untimed inference before them.
export async function block(model, count, per) {
  await model.infer();
  const samples = [];
  for (let sample = 0; sample < count; sample++) samples.push(nanoseconds((await time(model, per)) / per));
  return samples;
}
