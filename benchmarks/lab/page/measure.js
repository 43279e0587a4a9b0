// Timing, as `attar bench` does it: files stay loaded and take turns in short blocks, in an order shuffled each round.

const WARMUP_RUNS = 10, WARMUP_MILLISECONDS = 300;
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
    const [runs, mean] = await warmUp(model);
    const per = Math.max(1, Math.ceil((resolutions * timer) / nanoseconds(mean)));
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
  return [runs, (now - start) / runs];
}

// `count` samples in nanoseconds of one inference, each the mean of `per`; one untimed inference before them.
export async function block(model, count, per) {
  await model.infer();
  const samples = [];
  for (let sample = 0; sample < count; sample++) {
    const start = performance.now();
    for (let run = 0; run < per; run++) await model.infer();
    samples.push(nanoseconds((performance.now() - start) / per));
  }
  return samples;
}
