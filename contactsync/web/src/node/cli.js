#!/usr/bin/env node
// contactsync-js: the client on the command line of Node. Exit codes and JSON as those of `contactsync sync`.
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BadInput, ContactSyncError, Transport, readBooks, regionOf, shown, sync } from '../index.js';
import { FolderStore } from './store.js';

const USAGE = `usage: contactsync-js sync BOOK… --url URL --credential-file FILE --root root.json
         [--region XX] [--only tel|mailto] [--audience people|business] [--state DIR] [--privacy download|screen]
         [--max-download SIZE] [--buckets N] [--leak-budget ODDS] [--labels yes|no] [--no-cover]
         [--witness VKEY]… [--quorum K] [--new-log] [--json]

BOOK is vCard, CSV, LDIF or a list of numbers and e-mail addresses; - is stdin. They are blinded before they leave this
machine. --only looks up only phone numbers, or only e-mail addresses. --labels no leaves the labels of members (their
account ids, say) where they are; else they are fetched for all members alike, never because of a match.
--privacy download: match on this machine only. screen: download far less, but the server also sees which buckets are
fetched for contacts that pass a filter: --buckets of them (64), or a multiple, decoys included, as long as all lists do
not multiply the odds of a guess by more than --leak-budget (1000). If the download would be larger than --max-download
(500000, 20M, 1.5G; default 1G), nothing is sent, and the choices are shown.
--witness requires a witness of the server's log instead of those that the server names, --quorum that many of them; give them
each time. --new-log accepts that the log began anew: ask the operator why, over another channel, before.
--root is the root of the server's metadata, from a source that you trust: \`contactsync trust URL\` shows its hash.
Exit codes: 0 done, 1 this installation, 2 usage, 3 input, 4 network, 5 the server must not be trusted, 6 refused,
7 a choice is needed, 8 the quota is used up, 130 interrupted.`;

const OPTIONS = {
  url: { type: 'string' },
  'credential-file': { type: 'string' },
  root: { type: 'string' },
  region: { type: 'string' },
  only: { type: 'string', multiple: true },
  audience: { type: 'string', default: 'people' },
  state: { type: 'string' },
  privacy: { type: 'string', default: 'download' },
  'max-download': { type: 'string', default: String(2 ** 30) },
  buckets: { type: 'string', default: '64' },
  'leak-budget': { type: 'string', default: '1000' },
  labels: { type: 'string', default: 'yes' },
  witness: { type: 'string', multiple: true, default: [] },
  quorum: { type: 'string' },
  'new-log': { type: 'boolean', default: false },
  'no-cover': { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
};

class Usage extends Error {}

async function octetsOf(path, what) {
  try {
    if (path !== '-') return new Uint8Array(await readFile(path));
    const parts = [];
    for await (const part of process.stdin) parts.push(part);
    return new Uint8Array(Buffer.concat(parts));
  } catch (error) {
    const why = { ENOENT: 'no such file', EACCES: 'permission denied', EISDIR: 'it is a folder' }[error.code] ?? error.code;
    throw new BadInput(`cannot read ${what} ${path}: ${why}`, { hint: 'check the path' });
  }
}

/** The region of the locale, in POSIX order; null if it names no country. */
function regionOfLocale() {
  for (const name of ['LC_ALL', 'LC_TELEPHONE', 'LANG']) {
    const value = process.env[name];
    if (!value) continue;
    const found = /^[a-z]{2,3}(?:[_-][A-Z][a-z]{3})?[_-]([A-Z]{2})(?![A-Za-z0-9])/.exec(value);
    return found && regionOf(found[1]);
  }
  return null;
}

function serverOf(url) {
  let parsed;
  try {
    parsed = new URL(url);
  } catch {
    throw new BadInput('--url is not a URL', { hint: 'give it as https://HOST' });
  }
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(parsed.hostname);
  if (parsed.protocol !== 'https:' && !(parsed.protocol === 'http:' && local))
    throw new BadInput('--url must be https (http only to this machine)', { hint: 'a credential is sent there' });
  if (parsed.username || parsed.password || parsed.search || parsed.hash || parsed.pathname !== '/')
    throw new BadInput('--url has more than a scheme, a host and a port', { hint: 'give it as https://HOST' });
  return parsed.origin;
}

function stateOf(given, url) {
  const base = given ?? join(process.env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'contactsync-js');
  return join(base, url.replace(/[^a-z0-9.-]+/g, '_'));
}

/** Octets of a size. Powers of ten, as the Python client takes them. */
function sizeOf(text) {
  const [, figure, unit] = /^(\d{1,15}(?:\.\d{1,3})?)\s*([KMGT]?)B?$/.exec(text.trim().toUpperCase()) ?? [];
  if (!figure) throw new Usage('--max-download is a size such as 500000, 20M or 1.5G');
  return Math.floor(Number(figure) * 1000 ** ' KMGT'.indexOf(unit || ' '));
}

/** What was chosen, and may be. */
function chosen(values) {
  if (!['yes', 'no'].includes(values.labels)) throw new Usage('--labels is yes or no');
  if (!['download', 'screen'].includes(values.privacy)) throw new Usage('--privacy is download or screen');
  const [buckets, leakBudget] = [Number(values.buckets), Number(values['leak-budget'])];
  if (!Number.isInteger(buckets) || buckets < 1 || buckets > 4096) throw new Usage('--buckets is a number from 1 to 4096');
  if (!(leakBudget >= 1)) throw new Usage('--leak-budget is at least 1');
  return {
    audience: values.audience, privacy: values.privacy, maxDownload: sizeOf(values['max-download']), buckets, leakBudget,
    cover: !values['no-cover'], labels: values.labels === 'yes', witnesses: values.witness,
    quorum: values.quorum === undefined ? undefined : Number(values.quorum), newLog: values['new-log'],
  };
}

async function run(values, books) {
  const options = chosen(values);
  const url = serverOf(values.url);
  const root = await octetsOf(values.root, '--root');
  const credential = new TextDecoder().decode(await octetsOf(values['credential-file'], '--credential-file')).trim();
  if (!/^[\x21-\x7e]+$/.test(credential)) throw new BadInput('the credential file has no credential', { hint: 'it is one line, cs_…' });
  const files = [];
  for (const name of books) files.push({ name, octets: await octetsOf(name, 'the address book') });
  const book = readBooks(files, { region: values.region ?? regionOfLocale(), kinds: values.only });
  const progress = process.stderr.isTTY && !values.json ? (what, done, total) => process.stderr.write(`\r${what} ${total ? `${Math.round((100 * done) / total)} %` : ''}\x1b[K`) : undefined;
  const store = new FolderStore(stateOf(values.state, url));
  const result = await sync(store, new Transport(url, credential), book, {
    root, progress, ...options,
  });
  if (progress) process.stderr.write('\r\x1b[K');
  return { book, result };
}

function say({ book, result }) {
  for (const one of book.unreadable.slice(0, 20))
    console.error(`skipped: ${one.file}, ${one.place}: ${one.reason}${one.hint ? ` (${one.hint})` : ''}`);
  if (book.unreadable.length > 20) console.error(`skipped: ${book.unreadable.length - 20} more (--json lists all)`);
  for (const one of result.unusable) console.error(`warning: partition ${one.partition} ${one.reason}: ${one.identifiers} numbers or addresses were not looked up`);
  if (result.withdrawn_epoch !== null) console.error(`warning: the server withdrew epoch ${result.withdrawn_epoch}`);
  if (result.uncovered) console.error('warning: no padding points were sent because the budget is nearly used up: the server could see that nothing was new');
  if (result.unchecked_history !== null) console.error('warning: too much was published since the last sync to check that the server still shows the same history; sync more often');
  if (result.labels?.unopened) console.error(`warning: ${result.labels.unopened} labels do not open for their match; tell the operator`);
  if (result.labels?.unknown) console.error(`warning: the label of ${result.labels.unknown} matches is not known yet; --privacy download has them all`);
  const plain = (text) => text.replace(/[^\P{C}\u200c\u200d]/gu, '?');
  for (const { name, identifiers } of book.contacts) {
    const mine = result.matches.filter((one) => one.name === name && identifiers.includes(one.written));
    const labels = new Set(mine.map((one) => one.label).filter((label) => label !== null));
    const cells = [name, mine.map((one) => shown(one.identifier)).join(', '), ...(labels.size ? [[...labels].join(', ')] : [])];
    if (mine.length) console.log(cells.map(plain).join('\t'));
  }
  const { audience, epoch, edition, members } = result;
  const [numbers, addresses] = ['tel:', 'mailto:'].map((prefix) => book.identifiers.some((one) => one.startsWith(prefix)));
  const asked = !addresses || result.unserved ? 'numbers' : numbers ? 'numbers and addresses' : 'addresses';
  if (result.unserved) console.error(`${result.unserved} not looked up: the server has no members with one of their kind`);
  console.log(`${result.matches.length} matches among ${result.identifiers} ${asked} of ${result.contacts} contacts (${audience}, epoch ${epoch}, edition ${edition}, ${members} members)`);
  console.log(result.leak);
}

async function main(given) {
  const json = given.includes('--json');
  const print = (value) => process.stdout.write(`${JSON.stringify({ version: 1, ...value })}\n`);
  try {
    let parsed;
    try {
      parsed = parseArgs({ args: given, options: OPTIONS, allowPositionals: true });
    } catch (error) {
      throw new Usage(error.message);
    }
    const { values, positionals: [command, ...books] } = parsed;
    if (values.help) return console.log(USAGE);
    if (command !== 'sync') throw new Usage('the command is sync');
    if (!books.length) throw new Usage('give an address book');
    for (const name of ['url', 'credential-file', 'root']) if (!values[name]) throw new Usage(`--${name} is missing`);
    const done = await run(values, books);
    if (json) print(done.result);
    else say(done);
  } catch (error) {
    if (error instanceof Usage) {
      console.error(`${USAGE}\n\nerror: ${error.message}`);
      process.exitCode = 2;
    } else if (error instanceof ContactSyncError) {
      if (json) print({ error });
      console.error(`error: ${error.message}${error.hint ? `\n${error.hint}` : ''}`);
      process.exitCode = error.exitCode;
    } else {
      const known = ['ENOSPC', 'EACCES', 'EROFS', 'EDQUOT', 'EIO', 'ENOTDIR', 'EPERM'].includes(error?.code);
      const message = known ? `cannot use the state: ${error.code}` : `a fault of this program: ${error?.name} (${error?.stack?.split('\n')[1]?.trim()})`;
      if (json) print({ error: { kind: 'installation', message, hint: 'check the disk and the folder of --state', exit_code: 1 } });
      console.error(`error: ${message}`);
      process.exitCode = 1;
    }
  }
}

process.removeAllListeners('warning'); // Node 20 calls Ed25519 in WebCrypto experimental
process.on('SIGINT', () => process.exit(130));
await main(process.argv.slice(2));
// Idle connections must not keep it; what was printed must be through a pipe that is read slowly.
process.stdout.write('', () => process.exit(process.exitCode));
