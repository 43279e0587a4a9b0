// Observations on this phone, until the server has them or the person deletes them (IndexedDB).
//
// A record is { number, id, said, text, photo, state, reason }: `text` is the observation as JSON, just as it is sent, and
// `photo` the JPEG's bytes, so that sending it again is the same message to the byte. Numbers rise: they are the order in
// which people answered, whatever the phone's clock says.

import { openDB } from "idb";

export const NAME = `attar ${new URL("./", location).pathname}`; // other apps of this host have their own
const FIRM = { durability: "strict" }; // what is said to be kept is on the disk

const open = () => openDB(NAME, 1, {
  upgrade(database) {
    const observations = database.createObjectStore("observations", { keyPath: "number", autoIncrement: true });
    observations.createIndex("state", "state");
    database.createObjectStore("settings");
  },
});

// Calls act(store, settings) within one transaction. Nothing else may be waited for in it.
async function within(mode, act) {
  const database = await open();
  try {
    const transaction = database.transaction(["observations", "settings"], mode, FIRM);
    const done = transaction.done.catch((error) => error); // looked at below, whatever happens first
    const value = await act(transaction.objectStore("observations"), transaction.objectStore("settings"));
    const error = await done;
    if (error) throw error;
    return value;
  } finally {
    database.close();
  }
}

const reading = (act) => within("readonly", act);
const writing = (act) => within("readwrite", act);

// Returns the record's number once it is on the disk. Throws a QuotaExceededError if the phone is full.
export const keep = (record) => writing((store) => store.add({ ...record, state: "waiting", reason: "" }));

export const oldest = () => reading(async (store) => (await store.index("state").openCursor("waiting"))?.value ?? null);

export const one = (number) => reading((store) => store.get(number));

export const numbers = () => reading((store) => store.getAllKeys());

// Returns whether it was still there.
export const remove = (number) => writing(async (store) => {
  const there = await store.count(number);
  await store.delete(number);
  return there > 0;
});

const change = (number, values) => writing(async (store) => {
  const record = await store.get(number);
  if (record) await store.put({ ...record, ...values });
});

export const refuse = (number, reason) => change(number, { state: "refused", reason });

export const wait = (number) => change(number, { state: "waiting", reason: "" });

// The server has it: it leaves the phone.
export const sent = (number) => writing(async (store, settings) => {
  await store.delete(number);
  await settings.put((await settings.get("sent") ?? 0) + 1, "sent");
});

export const refused = () => reading((store) => store.index("state").getAll("refused"));

export const counts = () => reading(async (store, settings) => ({
  waiting: await store.index("state").count("waiting"),
  refused: await store.index("state").count("refused"),
  sent: await settings.get("sent") ?? 0,
}));

// The invitation: { token, contributor }, or undefined. The contributor is unknown until the server was asked.
export const invitation = () => reading((_, settings) => settings.get("invitation"));

export const setInvitation = (value) => writing((_, settings) => value ? settings.put(value, "invitation") : settings.delete("invitation"));

// What is known of releases (update.js), or undefined. act(state) returns what it is from now on, without waiting.
export const releases = () => reading((_, settings) => settings.get("releases"));

export const changeReleases = (act) => writing(async (_, settings) => {
  const state = act(await settings.get("releases"));
  await settings.put(state, "releases");
  return state;
});
