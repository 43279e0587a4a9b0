// The service worker: the app without a network, each file checked before it is used, and the page isolated from others.

const SITE = "__SITE__"; // SHA-256 of site.json
const OURS = `attar ${new URL("./", self.location).pathname} `; // other apps of this host have caches of their own
const CACHE = OURS + SITE;
const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
// What is kept once it is used: a browser needs one of the runtimes' builds, not all.
const LATER = /^vendor\/(@litertjs|onnxruntime-web)\//;

const nameOf = (url) => new URL(url).pathname.slice(new URL("./", self.location).pathname.length) || "index.html";

async function digestOf(bytes) {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A file from the network, if it is the one that was written.
async function fetched(name, wanted) {
  const response = await fetch(new URL(name, self.location), { cache: "no-cache" });
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  const bytes = await response.arrayBuffer();
  if (await digestOf(bytes) !== wanted) throw new Error(`${name}: another file than was written`);
  const type = response.headers.get("Content-Type") ?? "application/octet-stream";
  return new Response(bytes, { headers: { "Content-Type": type } });
}

async function described() {
  const cache = await caches.open(CACHE);
  const known = await cache.match("site.json");
  if (known) return known.json();
  const response = await fetched("site.json", SITE);
  await cache.put("site.json", response.clone());
  return response.json();
}

// The page itself names the version, so that no digest of it can be listed: it is the right one if it names this one.
async function page() {
  const response = await fetch(new URL("index.html", self.location), { cache: "no-cache" });
  const text = await response.text();
  if (!response.ok || !text.includes(SITE)) throw new Error("index.html: of another version");
  return new Response(text, { headers: { "Content-Type": "text/html; charset=utf-8" } });
}

async function install() {
  const cache = await caches.open(CACHE);
  const { files } = await described();
  if (!await cache.match("index.html")) await cache.put("index.html", await page());
  for (const [name, digest] of Object.entries(files)) {
    if (!LATER.test(name) && !await cache.match(name)) await cache.put(name, await fetched(name, digest));
  }
}

async function activate() {
  for (const name of await caches.keys()) {
    if (name.startsWith(OURS) && name !== CACHE) await caches.delete(name);
  }
  await self.clients.claim();
}

async function answer(request) {
  const name = nameOf(request.url);
  const cache = await caches.open(CACHE);
  let response = await cache.match(name);
  if (!response) {
    const { files } = await described();
    if (!files[name]) return fetch(request);
    try {
      response = await fetched(name, files[name]);
    } catch (error) {
      return new Response(String(error.message), { status: 503 });
    }
    await cache.put(name, response.clone()).catch(() => {}); // a full disk: it works, but not without a network
  }
  const headers = new Headers(response.headers);
  for (const [key, value] of Object.entries(ISOLATED)) headers.set(key, value);
  return new Response(response.body, { headers });
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const own = url.origin === self.location.origin && url.href.startsWith(new URL("./", self.location).href);
  if (event.request.method === "GET" && own) event.respondWith(answer(event.request));
});
