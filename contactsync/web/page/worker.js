// The page's worker: it reads address books and syncs, so that the page itself never waits. The contacts stay here.
import { ContactSyncError, LEDGER, Transport, readBooks, readyGroup, regionOf, sync } from '../src/index.js';
import { BrowserStore } from './kept.js';
import { readService } from './service.js';

const MOST_LISTED = 500; // entries that could not be read, of which the page is told
const SMALLEST_ROUND = 8;
const LETTERS = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'];

const own = new URL('..', import.meta.url);
const tell = (event, given) => postMessage({ event, given });
const utf8 = (text) => new TextEncoder().encode(text);
const hex = (octets) => Array.from(octets, (one) => one.toString(16).padStart(2, '0')).join('');

let service = null;
let store = new BrowserStore(own.origin); // that of the page's own server, until it says of another
let book = null;

class Faulty extends Error {
  constructor(problem, message, cause) {
    super(message, { cause });
    this.problem = problem;
  }
}

/** What the page can say of an error: which of its texts, and for who asks exactly. */
function described(error) {
  if (error instanceof ContactSyncError)
    return { ...error.toJSON(), detail: [error.message, error.hint].filter(Boolean).join('. '), own: error.problem, choices: error.choices };
  if (error instanceof Faulty) return { kind: 'page', own: error.problem, detail: error.message };
  return { kind: 'page', own: 'fault', detail: `${error?.name}: ${error?.message}` };
}

/** All that can be chosen. Needs no network. */
const regions = () => LETTERS.flatMap((one) => LETTERS.map((two) => one + two)).filter((code) => regionOf(code) === code);

async function open() {
  let reply;
  try {
    reply = await fetch(new URL('service.json', import.meta.url), { cache: 'no-cache', credentials: 'omit' });
  } catch (error) {
    throw new Faulty('offline', 'service.json could not be fetched', error);
  }
  try {
    service = readService(await reply.json(), own);
  } catch (error) {
    throw new Faulty('setup', error.message, error);
  }
  const octets = utf8(service.root);
  service.fingerprint = hex(new Uint8Array(await crypto.subtle.digest('SHA-256', octets)));
  store = new BrowserStore(service.url);
  const { name, link, url, fingerprint } = service;
  setTimeout(readyGroup); // once this is answered: nobody should wait for it later
  return { name, link, url, fingerprint, same: url === own.origin, kept: await kept() };
}

/** What is kept, in words of the page; `other`: of another root than the page has now; `told`: there is a ledger. */
async function kept() {
  const [since, root, credential] = await Promise.all(['since', 'root', 'credential'].map((name) => store.note(name)));
  const { usage = 0, usageDetails } = (since !== null && (await navigator.storage.estimate?.())) || {};
  const size = usageDetails?.indexedDB ?? usage; // without the page itself, where a browser can say so
  const told = await store.holds(LEDGER);
  return { since, credential, told, size, other: root !== null && service !== null && root !== service.fingerprint };
}

async function read({ files, region }) {
  const given = [];
  for (const file of files)
    try {
      given.push({ name: file.name, octets: new Uint8Array(await file.arrayBuffer()) });
    } catch (error) {
      throw new Faulty('unreadable', `${file.name}: ${error.name}`, error);
    }
  book = readBooks(given, { region });
  const { contacts, identifiers, unreadable } = book;
  let points = SMALLEST_ROUND;
  while (points < identifiers.length) points *= 2;
  return { contacts: contacts.length, identifiers: identifiers.length, points, unread: unreadable.length, unreadable: unreadable.slice(0, MOST_LISTED) };
}

/** `how`: what was chosen where the sync had stopped to ask. */
async function start({ credential, keep, how }) {
  if (service === null) await open(); // there was no network when this worker began
  const root = await store.note('root');
  if (root !== null && root !== service.fingerprint) throw new Faulty('root', `the root is now ${service.fingerprint}`);
  await store.setNote('root', service.fingerprint); // whatever happens next: it will be pinned
  if ((await store.note('since')) === null) await store.setNote('since', Date.now());
  const watch = (request) => tell('request', request);
  const progress = (what, done, total) => tell('progress', { what, done, total });
  const report = await sync(store, new Transport(service.url, credential, { watch }), book, { root: utf8(service.root), progress, ...how });
  await store.setNote('credential', keep ? credential : null);
  const order = new Intl.Collator(undefined, { numeric: true });
  report.matches.sort((one, two) => order.compare(one.name, two.name));
  return { report, kept: await kept() };
}

/** What the page's one-time code brings. */
async function signIn({ code }) {
  if (service === null) await open();
  const { credential, audience, until } = await new Transport(service.url, '', { watch: (request) => tell('request', request) }).exchange(code);
  if (audience !== 'people') throw new Faulty('audience', `the code is for ${audience}`);
  const ends = Date.parse(until);
  if (Number.isNaN(ends)) throw new Faulty('fault', 'the server does not say when the access ends');
  return { credential, ends };
}

async function forget() {
  await store.forget();
  return kept();
}

const calls = { regions, open, read, signIn, start, forget, kept };

addEventListener('message', async ({ data: { id, call, given } }) => {
  try {
    postMessage({ id, done: await calls[call](given) });
  } catch (error) {
    postMessage({ id, failed: described(error) });
  }
});
