// What the client makes of patches, case by case. Reads {folder, cases} from stdin; `folder` has data files by their SHA-256.
// A case is {manifest: text}, and with `name` that of a partition: its plan by what is `stored`, and whether that passes; with
// `subjects` also who is a member by the base, and now. Prints for each the result, or {refusal}.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../../contactsync/web/src/errors.js';
import { Ledger } from '../../contactsync/web/src/ledger.js';
import { filesOf as filesOfPartitions, readManifest } from '../../contactsync/web/src/manifest.js';
import { concat, utf8 } from '../../contactsync/web/src/octets.js';
import { patched, patchesOf } from '../../contactsync/web/src/patches.js';
import { costOf, filesOf, inspect, matchPartition, planOf } from '../../contactsync/web/src/plan.js';
import { settle } from '../../contactsync/web/src/settling.js';
import { MemoryStore } from '../../contactsync/web/src/store.js';

const { folder, cases } = JSON.parse(readFileSync(0, 'utf8'));
const read = async (name) => new Uint8Array(readFileSync(join(folder, name)));
const names = (files) => files.map(({ sha256 }) => sha256);

const transport = {
  received: 0,
  pace: async () => {},
  async ranges(name, ranges) {
    const octets = await read(name);
    const spans = ranges.slice('bytes='.length).split(',').map((one) => one.split('-').map(Number));
    const field = ([first, last]) => `bytes ${first}-${last}/${octets.length}`;
    const part = ([first, last]) => octets.subarray(first, last + 1);
    if (spans.length === 1) return { status: 206, headers: new Headers({ 'content-range': field(spans[0]) }), body: part(spans[0]) };
    const parts = spans.map((span) => concat(utf8(`\r\n--limit\r\nContent-Range: ${field(span)}\r\n\r\n`), part(span)));
    return { status: 206, headers: new Headers({ 'content-type': 'multipart/byteranges; boundary=limit' }), body: concat(...parts, utf8('\r\n--limit--\r\n')) };
  },
};

async function settled(plan, subjects, screen, buckets) {
  const [told, fetched] = [[], []];
  const desk = {
    audience: 'people', epoch: 1, read, transport, told, ledger: await Ledger.open(new MemoryStore()),
    allowed: { limit: Infinity, buckets, leakBudget: Infinity, whole: 0 }, download: async (_, { fetch }) => fetched.push(...names(fetch)),
  };
  return { ...(await settle(plan, subjects, desk, { screen, last: true })), crowded: told.some((one) => one.crowded), fetched };
}

async function result({ manifest: text, name, stored = {}, subjects }) {
  const manifest = readManifest(utf8(text));
  if (!name) return { count: manifest.count, files: names(filesOfPartitions(manifest.partitions)) };
  const plan = planOf(manifest.partitions[name], stored);
  const { kind, fetch, holding, unchecked, later } = plan;
  const shown = { kind, fetch: names(fetch), holding, kept: names(filesOf(holding)), unchecked, later, cost: costOf([plan]) };
  if (!subjects) return shown;
  const opened = unchecked ? await inspect(plan, read) : undefined;
  const done = kind === 'base'
    ? { member: await matchPartition(plan, subjects, read, opened), plan }
    : await settled(plan, subjects, opened, stored.buckets);
  const members = patched(done.plan.partition, await patchesOf(done.plan, read), subjects.map(({ token }) => token), done.member);
  const { crowded = false, fetched = [] } = done;
  return { ...shown, by_base: done.member, members, crowded, fetched, kept: names(filesOf(done.plan.holding)) };
}

const results = [];
for (const one of cases)
  results.push(await result(one).catch((error) => {
    if (!(error instanceof Refusal)) throw error;
    return { refusal: error.word };
  }));
console.log(JSON.stringify(results));
