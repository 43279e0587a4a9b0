// The app gets a new model from a release folder: loaded in the background, tested here, then used from the next answer on.
//
// What is known of releases is kept as { pin, seen, draw, good, failed, trial }: `pin` is what the app was written with,
// `seen` the last pointer that was proven, as { number, sha256, keys }; `draw` decides about channels; `good` are the last
// releases that passed the test here, the newest first, as { digest, number, files }; `failed` says of a release with which
// version of the app it failed; `trial` is the release that is being opened, and how often that was begun: one that kills
// the page is not opened for ever.

import { applied, decodes } from "./delta.js";
import { Damaged, sha256 } from "./files.js";
import * as kept from "./kept.js";
import { Refused, Unreached, reader } from "./reading.js";
import { channelOf, newest, releaseOf } from "./release.js";

const CACHE = `attar-releases ${new URL("./", location).pathname}`; // the service worker leaves it alone
const GOOD = 2; // releases that are kept
const DEATHS = 4; // of the page, while a release was opened
const EVERY = 6 * 3600e3; // ms between looks
const SOON = 3600e3; // ms after which a page that is shown again looks
const FIRST = 500; // ms after the start

const addressOf = (digest) => new URL(`release-files/${digest}`, document.baseURI).href;
const idOf = ({ x, y }) => `${x} ${y}`;

// A number in [0, 1) with 32 random bits.
const drawn = () => crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;

// What is known at the start of an app that was written with `pin`: { app, number, sha256, keys }.
function begun(state, pin) {
  const fresh = { pin, seen: { number: pin.number, sha256: pin.sha256, keys: pin.keys }, draw: state?.draw ?? drawn(), good: [], failed: {}, trial: null };
  if (!state) return fresh;
  if (JSON.stringify(state.pin) === JSON.stringify(pin)) return state;
  // The app was written anew. With other keys it begins anew, too; it never goes back to a lower number otherwise.
  const known = new Set([...state.pin.keys, ...state.seen.keys].map(idOf));
  const same = state.pin.app === pin.app && pin.keys.some((key) => known.has(idOf(key)));
  return same && pin.number <= state.seen.number ? { ...state, pin } : fresh;
}

// A file that is kept on this phone; null if it is not, or no longer the one that was loaded.
async function keptFile(digest) {
  const cache = await caches.open(CACHE);
  const response = await cache.match(addressOf(digest));
  const bytes = response && new Uint8Array(await response.arrayBuffer());
  return bytes && await sha256(bytes) === digest ? bytes : null;
}

// { about, bytes, release } of a release whose files are kept here.
async function sourceOf({ digest, number, files }) {
  const bytes = async (name) => {
    const content = Object.hasOwn(files, name) && await keptFile(files[name].sha256);
    if (!content) throw new Damaged(name);
    return content;
  };
  const about = JSON.parse(new TextDecoder().decode(await bytes("model.json")));
  if (about.schema !== 1) throw new Refused("unfit");
  return { about, bytes, release: { digest, number } };
}

// site is what site.json says, with its version. Returns null where this browser keeps nothing. Otherwise:
// - sources(): what may answer at the start, the best first, as functions that return { about, bytes, release }
// - started(release, works): whether it did
// - watch(hooks): look for releases from now on
export async function openUpdates(site) {
  const { address, ...pin } = site.releases;
  const change = (act) => kept.changeReleases((state) => act(begun(state, pin)));
  let state = begun(await kept.releases(), pin);

  // Whether a release may be opened once more here.
  async function begin(digest) {
    let times = 0;
    state = await change((known) => {
      times = known.trial?.digest === digest ? known.trial.times + 1 : 1;
      return times > DEATHS ? failing(known, digest) : { ...known, trial: { digest, times } };
    });
    return times <= DEATHS;
  }

  const failing = (known, digest) => ({
    ...known, trial: null, failed: { ...known.failed, [digest]: site.version }, good: known.good.filter((each) => each.digest !== digest),
  });

  async function failed(digest) {
    state = await change((known) => failing(known, digest));
  }

  async function good(entries) {
    state = await change((known) => ({ ...known, trial: null, good: entries(known.good).slice(0, GOOD) }));
  }

  const sources = () => state.good.map((entry) => ({
    digest: entry.digest,
    async open() {
      if (!await begin(entry.digest).catch(() => true)) throw new Refused("failed"); // on a full disk nothing is counted
      return sourceOf(entry);
    },
  }));

  async function started(digest, works) {
    const noted = works ? change((known) => ({ ...known, trial: null })).then((known) => { state = known; }) : failed(digest);
    await noted.catch(() => {});
  }

  // Its files are lost: it is loaded again.
  async function lost(digest) {
    await good((entries) => entries.filter((each) => each.digest !== digest)).catch(() => {});
  }

  function watch(hooks) {
    let last = 0;
    const look = async () => {
      last = Date.now();
      await (navigator.locks ? navigator.locks.request(CACHE, () => looked(hooks)) : looked(hooks));
    };
    setTimeout(look, FIRST);
    setInterval(look, EVERY);
    self.addEventListener("online", look);
    document.addEventListener("visibilitychange", () => !document.hidden && Date.now() - last > SOON && look());
  }

  async function looked(hooks) {
    await hooks.told(...await update(hooks).catch(trouble));
  }

  function trouble(error) {
    if (error instanceof Refused) return ["updateRefused", { reason: error.reason, detail: error.message }];
    return [error instanceof Unreached ? "updateUnreached" : "updateUnkept", { detail: error.message }];
  }

  // Returns what came of it: the name of a text, and its words.
  async function update(hooks) {
    const read = reader(address);
    state = await change((known) => known); // another page may have gone on
    const pointer = await newest(read, pin.app, state.seen);
    const { number, keys } = pointer;
    state = await change((known) => ({ ...known, seen: { number, sha256: pointer.sha256, keys } }));
    const { release: digest } = pointer.channels[channelOf(pointer, state.draw)];
    if (hooks.current()?.release?.digest === digest) return ["upToDate"];
    if (state.failed[digest] === site.version) return ["updateFailed", { number }];
    const { files, deltas } = await releaseOf(read, digest, pin.app) ?? {};
    if (!files?.["model.json"]) throw new Refused("unfit");
    if (isOwn(files)) return own(hooks, number);
    hooks.told("updating", { number });
    await load(read, files, deltas, hooks.own);
    return tried(hooks, { digest, number, files });
  }

  // Whether a release is what the app itself brings.
  const isOwn = (files) => Object.entries(files).every(([name, file]) => site.files[name] === file.sha256);

  async function own(hooks, number) {
    if (hooks.current() && !hooks.current().release) return ["upToDate"];
    await hooks.quiet();
    const answerer = await hooks.open(hooks.own);
    if (!answerer) {
      await hooks.recover();
      return ["updateFailed", { number }];
    }
    await good(() => []);
    await hooks.adopt(answerer);
    await prune([]);
    return ["updateTaken", { number }];
  }

  // What is here already is not loaded again, so that a load that was cut off goes on.
  async function load(read, files, deltas, own) {
    const cache = await caches.open(CACHE);
    const wanted = new Map(Object.values(files).map((file) => [file.sha256, file.bytes]));
    for (const [digest, size] of wanted) {
      if (await keptFile(digest)) continue;
      const bytes = await ownFile(digest, own) ?? await made(read, digest, size, deltas, own) ?? await exact(read, digest, size);
      await cache.put(addressOf(digest), new Response(bytes));
    }
  }

  // A file of the app itself; null if it has none with this content.
  async function ownFile(digest, own) {
    const name = Object.keys(site.files).find((each) => site.files[each] === digest);
    return name ? own.bytes(name).catch(() => null) : null;
  }

  // A file of the release folder, if it is the right one.
  async function exact(read, digest, size) {
    const bytes = await read(`files/${digest}`, size);
    if (bytes.length !== size || await sha256(bytes) !== digest) throw new Refused("changed", digest);
    return bytes;
  }

  // A file that the smallest delta from one that is here makes. Null if there is none, or if anything is wrong with it: then
  // the whole file is loaded.
  async function made(read, digest, size, deltas, own) {
    const fitting = decodes ? deltas.filter((delta) => delta.made === digest && delta.bytes < size) : [];
    for (const delta of fitting.sort((a, b) => a.bytes - b.bytes)) {
      const old = await keptFile(delta.old) ?? await ownFile(delta.old, own);
      if (!old) continue;
      try {
        const bytes = await applied(old, await exact(read, delta.sha256, delta.bytes), size);
        return await sha256(bytes) === digest ? bytes : null;
      } catch {
        return null;
      }
    }
    return null;
  }

  // Whatever goes wrong with the new model, the one that answers stays.
  async function tried(hooks, entry) {
    await hooks.quiet();
    if (!await begin(entry.digest)) return ["updateFailed", entry];
    const answerer = await opened(hooks, entry);
    if (answerer === null) {
      await failed(entry.digest);
      await prune(state.good);
      await hooks.recover();
      return ["updateFailed", entry];
    }
    await good((entries) => [entry, ...entries.filter((each) => each.digest !== entry.digest)]);
    await hooks.adopt(answerer);
    await prune(state.good);
    return ["updateTaken", entry];
  }

  // The model of a release, if it passes the test; null if not. Throws `Damaged` where its files are lost.
  async function opened(hooks, entry) {
    try {
      return await hooks.open(await sourceOf(entry));
    } catch (error) {
      if (error instanceof Damaged) throw error;
      return null;
    }
  }

  async function prune(entries) {
    const used = new Set(entries.flatMap(({ files }) => Object.values(files).map((file) => addressOf(file.sha256))));
    const cache = await caches.open(CACHE);
    for (const { url } of await cache.keys()) if (!used.has(url)) await cache.delete(url);
  }

  return { sources, started, lost, watch };
}
