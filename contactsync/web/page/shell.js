// The page's service worker: it keeps the files of one release, so that the page opens without a network, and whole.
//
// It answers for these files and for nothing else: not for /v1/, and not for what the operator says (service.json), so that
// nothing old is ever shown as new. A file counts only with the hash that the release has of it, and with the headers of the
// release, whatever the server sends that day. A new release is fetched as a whole beside this one, and takes over when no page
// of this one is open, or when the person says so. The build writes the first line, which has the files of the release.
/* global RELEASE -- {version: string, files: {[path: string]: [sha256: string, type: string]}} */
const PREFIX = 'contactsync-shell ';
const NAME = PREFIX + RELEASE.version;
const FOLDER = new URL('./', location.href).href;
const INDEX = 'index.html';

// As server/page.py and server/http/page.py have them; a test compares.
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; worker-src 'self'; img-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types contactsync-worker",
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'x-content-type-options': 'nosniff',
};

const addressOf = (path) => (path === INDEX ? FOLDER : FOLDER + path);
const hex = (octets) => Array.from(new Uint8Array(octets), (one) => one.toString(16).padStart(2, '0')).join('');
const kept = (path) => caches.match(addressOf(path), { cacheName: NAME });

/** Which file of the release is asked for; null: none of them. */
function fileOf(request) {
  if (request.method !== 'GET' || !request.url.startsWith(FOLDER)) return null;
  const url = new URL(request.url);
  const path = (url.origin + url.pathname).slice(FOLDER.length);
  if (path === '') return request.mode === 'navigate' ? INDEX : null;
  return path !== INDEX && url.search === '' && Object.hasOwn(RELEASE.files, path) ? path : null;
}

/** Fetch all files, and keep them if all are of this release. Else nothing changes. Throws Error */
async function fill() {
  const got = await Promise.all(
    Object.entries(RELEASE.files).map(async ([path, [sha256, type]]) => {
      const reply = await fetch(addressOf(path), { cache: 'no-cache', credentials: 'omit', redirect: 'error' });
      const octets = await reply.arrayBuffer();
      if (hex(await crypto.subtle.digest('SHA-256', octets)) !== sha256) throw new Error(`${path} is not of this release`);
      return [path, new Response(octets, { headers: { ...HEADERS, 'content-type': type } })];
    }),
  );
  const cache = await caches.open(NAME);
  got.sort(([one], [two]) => (one === INDEX) - (two === INDEX)); // last: with it, the release is whole
  for (const [path, reply] of got) await cache.put(addressOf(path), reply);
}

/** A file as it is kept. From the network, unless the whole release is here: files of two releases never meet in one page. */
async function answer(request, path) {
  const index = await kept(INDEX).catch(() => undefined);
  const found = index && path !== INDEX ? await kept(path) : index;
  return found ?? fetch(request);
}

addEventListener('install', (event) => {
  // Where a browser can be told so, it does not even ask here about the API.
  event.addRoutes?.({ condition: { urlPattern: `${new URL(FOLDER).pathname}v1/*` }, source: 'network' }).catch(() => {});
  event.waitUntil(fill());
});

addEventListener('activate', (event) => {
  const others = async () => (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== NAME);
  event.waitUntil(others().then((names) => Promise.all(names.map((name) => caches.delete(name)))));
});

addEventListener('fetch', (event) => {
  const path = fileOf(event.request);
  if (path === null) return;
  event.respondWith(answer(event.request, path));
});

addEventListener('message', (event) => {
  const { source, data } = event;
  if (data === 'fill') event.waitUntil(kept(INDEX).then((found) => found ?? fill()).catch(() => {})); // kept again after it was forgotten
  if (data !== 'take over') return;
  const takeOver = async () => {
    // Another tab would go on with a program of one release, and load the rest of the other.
    const open = await clients.matchAll({ type: 'window', includeUncontrolled: true });
    if (open.length > 1) source.postMessage('others are open');
    else await skipWaiting();
  };
  event.waitUntil(takeOver());
});
