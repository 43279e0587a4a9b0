// A release folder (attar.deploy.release) as a phone reads it: nothing of it counts unless a trusted key signed it.
//
// A pointer says which release each channel has. It is signed by a key that the pointer before lists and that it lists
// itself (DSSE 1.0.2 around ECDSA on P-256), names the file of the pointer before by its SHA-256, and has the next number.
// It names a release by its SHA-256, and that names all files by theirs.

import { sha256 } from "./files.js";
import { Refused } from "./reading.js";

const KIND = "application/vnd.attar.releases+json";
const LARGEST = 4e6; // bytes of a pointer or a release
const MOST_SIGNATURES = 8;
const MOST_KEYS = 32;
const MOST_FILES = 1000;
const LARGEST_MODEL = 1e9; // bytes of all files together
const WEB = "app/"; // what a release has for this page
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256" };

const HEX = /^[0-9a-f]{64}$/;
const DELTA = /^deltas\/([0-9a-f]{64})\/([0-9a-f]{64})$/; // what a file is called that makes the second content of the first
const CHANNEL = /^[a-z][a-z0-9-]{0,30}$/;
const COORDINATE = /^[A-Za-z0-9_-]{43}$/;
const NAME = /^(?!.{401})(?:(?!\.\.?(?:\/|$))[^/\\\x00-\x1f]{1,200})(?:\/(?!\.\.?(?:\/|$))[^/\\\x00-\x1f]{1,200})*$/s;

// --- forms -----------------------------------------------------------------------------------------

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value, most) => typeof value === "string" && value.length > 0 && [...value].length <= most;
const isCount = (value, least) => Number.isSafeInteger(value) && value >= least;
const has = (value, ...names) => isObject(value) && Object.keys(value).sort().join() === names.sort().join();

function demand(right, what) {
  if (!right) throw new Refused("malformed", what);
}

function textOf(bytes, what) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused("malformed", what);
  }
}

function parsed(text, what) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused("malformed", what);
  }
}

// Base64 in its one form: padded, and without bits to spare.
function decoded(text, what) {
  let binary = null;
  try {
    binary = atob(text);
  } catch { /* told below */ }
  demand(binary !== null && btoa(binary) === text, what);
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
}

const isKey = (key) => has(key, "kty", "crv", "x", "y") && key.kty === "EC" && key.crv === "P-256"
  && [key.x, key.y].every((side) => typeof side === "string" && COORDINATE.test(side));

const isChannel = ([name, channel]) => CHANNEL.test(name) && has(channel, "release", "share")
  && HEX.test(channel.release) && typeof channel.share === "number" && channel.share > 0 && channel.share <= 1;

function isPointer(value) {
  return has(value, "app", "number", "previous", "made", "keys", "channels", "schema")
    && value.schema === 1 && isText(value.app, 200) && isCount(value.number, 1) && typeof value.made === "string"
    && (value.previous === "" || HEX.test(value.previous))
    && Array.isArray(value.keys) && value.keys.length > 0 && value.keys.length <= MOST_KEYS && value.keys.every(isKey)
    && isObject(value.channels) && Object.hasOwn(value.channels, "stable") && Object.entries(value.channels).every(isChannel);
}

const isFile = (file) => has(file, "name", "sha256", "bytes") && typeof file.name === "string" && NAME.test(file.name)
  && HEX.test(file.sha256) && isCount(file.bytes, 0);

function isRelease(value) {
  return has(value, "app", "model", "targets", "files", "schema")
    && value.schema === 1 && isText(value.app, 200) && isObject(value.model) && isObject(value.targets)
    && Array.isArray(value.files) && value.files.length <= MOST_FILES && value.files.every(isFile)
    && new Set(value.files.map((file) => file.name)).size === value.files.length;
}

// --- signatures ------------------------------------------------------------------------------------

// An envelope, if its bytes are the only ones that it can have: as attar writes it.
function envelopeOf(bytes, what) {
  const text = textOf(bytes, what);
  const envelope = parsed(text, what);
  demand(has(envelope, "payloadType", "payload", "signatures"), what);
  const { payloadType, payload, signatures } = envelope;
  demand(payloadType === KIND && typeof payload === "string" && Array.isArray(signatures), what);
  demand(signatures.length > 0 && signatures.length <= MOST_SIGNATURES, what);
  demand(signatures.every((each) => has(each, "keyid", "sig") && typeof each.keyid === "string" && typeof each.sig === "string"), what);
  demand(text === `${JSON.stringify(envelope, null, 2)}\n`, what);
  return { payload: decoded(payload, what), signatures: signatures.map(({ keyid, sig }) => ({ keyid, bytes: decoded(sig, what) })) };
}

// What a signature covers: DSSE's pre-authentication encoding.
function covered(payload) {
  const head = new TextEncoder().encode(`DSSEv1 ${KIND.length} ${KIND} ${payload.length} `);
  const message = new Uint8Array(head.length + payload.length);
  message.set(head);
  message.set(payload, head.length);
  return message;
}

// A key's thumbprint (RFC 7638).
async function idOf({ x, y }) {
  const text = JSON.stringify({ crv: "P-256", kty: "EC", x, y });
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return btoa(String.fromCharCode(...digest)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

async function isSigned({ envelope: { payload, signatures } }, keys) {
  const message = covered(payload);
  for (const key of keys) {
    const id = await idOf(key);
    for (const { keyid, bytes } of signatures) {
      if (keyid === id && bytes.length === 64 && await verified(key, bytes, message)) return true;
    }
  }
  return false;
}

async function verified(key, signature, message) {
  try {
    const opened = await crypto.subtle.importKey("jwk", key, ALGORITHM, false, ["verify"]);
    return await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, opened, signature, message);
  } catch {
    return false; // a point that is not on the curve
  }
}

// --- pointers --------------------------------------------------------------------------------------

// A pointer as it says of itself: nothing is known yet of who signed it.
async function pointerOf(read, name, app) {
  const bytes = await read(name, LARGEST);
  const envelope = envelopeOf(bytes, name);
  const pointer = parsed(textOf(envelope.payload, name), name);
  demand(isPointer(pointer), name);
  if (pointer.app !== app) throw new Refused("otherApp", name);
  return { ...pointer, name, envelope, sha256: await sha256(envelope.payload), file: await sha256(bytes) };
}

async function demandSigned(pointer, ...lists) {
  for (const keys of lists) {
    if (!await isSigned(pointer, keys)) throw new Refused("forged", pointer.name);
  }
}

// The current pointer of a folder, if it goes on from what was seen last: { number, sha256, keys }, where sha256 is of what
// was signed, not of the file around it. Where it is empty only keys are known, and the current pointer or the first one
// is taken if one of these signed it. Throws `Refused`, or what read(name, most) throws.
export async function newest(read, app, seen) {
  const current = await pointerOf(read, "current.json", app);
  if (current.number < seen.number) throw new Refused("older");
  if (!seen.sha256 && await isSigned(current, seen.keys)) {
    await demandSigned(current, current.keys);
    return current;
  }
  let before = { number: 0, file: "", keys: seen.keys };
  if (seen.sha256) {
    before = current.number === seen.number ? current : await pointerOf(read, `history/${seen.number}.json`, app);
    if (before.sha256 !== seen.sha256) throw new Refused("forged", before.name);
    await demandSigned(before, seen.keys);
  }
  while (before.number < current.number) { // each is proven before the next is asked for
    const number = before.number + 1;
    const next = number === current.number ? current : await pointerOf(read, `history/${number}.json`, app);
    if (next.number !== number || next.previous !== before.file) throw new Refused("forged", next.name);
    await demandSigned(next, before.keys, next.keys);
    before = next;
  }
  return current;
}

// The channel of a phone that drew a number in [0, 1): channels take their shares one after the other, as they stand.
export function channelOf({ channels }, draw) {
  let end = 0;
  for (const [name, { share }] of Object.entries(channels)) {
    if (name === "stable") continue;
    end += share;
    if (draw < end) return name;
  }
  return "stable";
}

// --- releases --------------------------------------------------------------------------------------

// What a release has for this page: { files, deltas }, or null if it has nothing. `files` are by name, { sha256, bytes };
// `deltas` are { old, made, sha256, bytes }, where `old` and `made` are SHA-256 of what one begins with and makes.
export async function releaseOf(read, digest, app) {
  const name = `releases/${digest}.json`;
  const bytes = await read(name, LARGEST);
  if (await sha256(bytes) !== digest) throw new Refused("changed", name);
  const release = parsed(textOf(bytes, name), name);
  demand(isRelease(release), name);
  if (release.app !== app) throw new Refused("otherApp", name);
  const files = release.files.filter((file) => file.name.startsWith(WEB));
  if (files.reduce((sum, file) => sum + file.bytes, 0) > LARGEST_MODEL) throw new Refused("tooMuch", name);
  if (!files.length) return null;
  const deltas = release.files.flatMap((file) => {
    const [, old, made] = DELTA.exec(file.name) ?? [];
    return made ? [{ old, made, sha256: file.sha256, bytes: file.bytes }] : [];
  });
  return {
    files: Object.fromEntries(files.map((file) => [file.name.slice(WEB.length), { sha256: file.sha256, bytes: file.bytes }])),
    deltas,
  };
}
