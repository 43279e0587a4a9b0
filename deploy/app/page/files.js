// The app's own files: each is used only if it is the one that was written.

export class Damaged extends Error {}

// SHA-256 in hexadecimal. An insecure page has no digests: there, what is expected.
export async function sha256(bytes, expected) {
  if (!crypto.subtle) return expected;
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function bytesOf(name, digest) {
  const response = await fetch(name);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!response.ok || await sha256(bytes, digest) !== digest) throw new Damaged(name);
  return bytes;
}

// Returns { about, bytes(name) }: what site.json says, whose SHA-256 the worker knows, and any file that it lists.
export async function openSite(digest) {
  const about = JSON.parse(new TextDecoder().decode(await bytesOf("site.json", digest)));
  return { about, bytes: (name) => bytesOf(name, about.files[name]) };
}
