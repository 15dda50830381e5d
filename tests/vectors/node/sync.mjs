// A whole sync: docs/protocol.md. The identifiers of texts are taken from the vector; all else is worked out.
import { blake2b } from '@noble/hashes/blake2.js';
import { ascii, check, concat, fileIs, hex, ordered, unhex } from './octets.mjs';
import { blind, deriveKey, evaluateBlinded, finalize, fromLe, infoOf, le } from './voprf.mjs';
import { contextOf, labelIn, readSidecar } from './labels.mjs';
import { Directory, bucketOf, openScreen, readDelta, shape, slices, valueOf } from './files.mjs';

const codes = (partitions) => Object.keys(partitions).filter((name) => /^[0-9]+$/.test(name));
const total = (files) => files.reduce((sum, file) => sum + file.length, 0);

// Partitions that can be used, and the names of those that cannot.
function sorted(partitions) {
  const usable = {};
  const unusable = [];
  for (const [name, one] of partitions)
    if (/^[0-9]+$/.test(name) && (one.critical ?? ['patches']).join() === 'patches') usable[name] = one;
    else unusable.push(name);
  return { usable, unusable };
}

function manifestOf(given) {
  const published = JSON.parse(Buffer.from(given.manifest).toString('latin1'));
  if (!given.uses_next) return { ...published, ...sorted(Object.entries(published.partitions)) };
  const { next } = published;
  check(next.epoch === published.epoch + 1, 'malformed');
  return { ...published, ...next, ...sorted(next.partitions.map((one) => [one.name, one])) };
}

function missing(partition, held) {
  const reached = held.deltas.length ? held.deltas.at(-1).to : held.edition;
  if (reached === partition.edition) return [];
  const start = partition.deltas.findIndex((one) => one.from === reached);
  if (start < 0) return null;
  const chain = partition.deltas.slice(start);
  return held.deltas.length + chain.length <= 64 ? chain : null;
}

function carriedOn(partition, kind, whole, held) {
  const deltas = held ? missing(partition, held) : null;
  if (deltas === null || total(deltas.map((one) => one.file)) >= whole.length) {
    const base = { ...partition.base, count: partition.count, slot_bits: partition.slot_bits,
      remainder_bits: partition.remainder_bits, top_sha256: partition.top_sha256 };
    return { fetch: [whole], kind, edition: partition.edition, whole, base, deltas: [] };
  }
  return { ...held, fetch: deltas.map((one) => one.file), deltas: [...held.deltas, ...deltas] };
}

function rangesCost(partition, buckets) {
  const s = shape(partition.slot_bits, partition.remainder_bits, partition.count);
  const k = Math.min(buckets, s.buckets);
  return s.top + s.page * Math.min(k, s.pages) + Math.floor(((partition.base.length - s.data) * k) / s.buckets);
}

// The patches that are fetched: http-api.md, "The patches".
function unheld(partition, held) {
  const there = Object.values(held).flatMap((one) => one.patches ?? []).map((one) => one.file.sha256);
  return (partition.patches?.files ?? []).map((one) => one.file).filter((file) => !there.includes(file.sha256));
}

function planOf(partition, held, options) {
  const base = carriedOn(partition, 'base', partition.base, held.base);
  if (options.privacy === 'download' || partition.screen === null) return base;
  const screen = carriedOn(partition, 'screen', partition.screen, held.screen);
  return total(screen.fetch) + rangesCost(partition, options.buckets) < total(base.fetch) ? screen : base;
}

function chainOf(partition, plan, served) {
  let [sha, count] = [plan.base.sha256, plan.base.count];
  const deltas = plan.deltas.map((one) => {
    const delta = readDelta(served[one.file.sha256], one.file);
    check(delta.from === one.from && delta.to === one.to, 'not-following');
    check(delta.oldSha256 === sha && delta.oldCount === count, 'not-following');
    [sha, count] = [delta.newSha256, delta.newCount];
    return delta;
  });
  check(sha === partition.base.sha256 && count === partition.count, 'not-following');
  return deltas.map((one) => ({ ...one, left: new Set(one.left), joined: new Set(one.joined) }));
}

function patchesOf(partition, served) {
  if (!partition.patches) return [];
  let [state, count] = [partition.base.sha256, partition.count];
  const patches = partition.patches.files.map((one) => {
    const patch = readDelta(served[one.file.sha256], one.file);
    check(patch.q === partition.slot_bits && patch.r === partition.remainder_bits, 'not-following');
    check(patch.from === one.from && patch.to === one.to, 'not-following');
    check(patch.oldSha256 === state && patch.oldCount === count, 'not-following');
    [state, count] = [patch.newSha256, patch.newCount];
    return patch;
  });
  check(state === partition.patches.state && count === partition.patches.count, 'not-following');
  return patches.map((one) => ({ ...one, left: new Set(one.left), joined: new Set(one.joined) }));
}

// Nobody joins who is there, or leaves who is not: as far as can be told without the base.
function uncontradicted(plan, deltas, served) {
  if (!deltas.length) return;
  const there = new Map();
  if (plan.kind === 'base') {
    const data = served[plan.whole.sha256];
    const held = new Set(new Directory({ ...plan.base, length: data.length }, slices(data)).values());
    for (const { left, joined } of deltas) for (const value of [...left, ...joined]) there.set(value, held.has(value));
  }
  for (const { left, joined } of deltas) {
    for (const value of left) check(there.get(value) !== false, 'contradicting');
    for (const value of joined) check(there.get(value) !== true, 'contradicting');
    for (const value of left) there.set(value, false);
    for (const value of joined) there.set(value, true);
  }
}

// Who is a member now, by who was one in the base; the edition stays that of the base.
function patchedBy(patches, partition, found, tokens) {
  const now = ([one, [member, edition]]) => {
    const value = valueOf(tokens[one], partition.slot_bits, partition.remainder_bits);
    return [one, [patches.reduce((is, { left, joined }) => (is || joined.has(value)) && !left.has(value), member), edition]];
  };
  return Object.fromEntries(Object.entries(found).map(now));
}

// The entries of each partition with labels, if they are wanted.
function sidecarsOf(given, manifest, served) {
  const wanted = Object.entries(manifest.usable).filter(([, one]) => given.options.labels && one.labels);
  return Object.fromEntries(wanted.map(([name, { count, slot_bits, labels }]) => {
    const info = { ...labels.file, count, slot_bits, size: labels.size, top_sha256: labels.top_sha256 };
    return [name, { sha256: info.sha256, ...readSidecar(served[info.sha256], info) }];
  }));
}

function labelOf(partition, sidecar, output, served, context) {
  const data = served[partition.base.sha256];
  const values = [...new Directory({ ...partition, length: data.length }, slices(data)).values()];
  const place = values.indexOf(valueOf(hex(output.subarray(0, 10)), partition.slot_bits, partition.remainder_bits));
  return labelIn(output, sidecar.entries[place], context) || null;
}

function evaluated(given, manifest, fresh, out, obtained) {
  const { options, held } = given;
  const size = fresh.length ? Math.max(8, 2 ** Math.ceil(Math.log2(fresh.length))) : options.cover ? 8 : 0;
  const most = Math.min(4096, Math.max(8, 2 ** Math.floor(Math.log2(options.largest_batch))));
  out.points = held.unfinished.map((batch) => batch.points);
  for (let at = 0; at < size; at += most) out.points.push(Math.min(most, size - at));
  const drawn = given.drawn.map((batch) => batch.inputs.length);
  if (JSON.stringify(drawn) !== JSON.stringify(out.points)) throw new Error('the round has other batches');
  const asked = given.drawn.flatMap((batch) => batch.inputs.filter((one) => 'contact' in one)).map((one) => one.contact);
  const waiting = held.unfinished.flatMap((batch) => batch.identifiers);
  if (JSON.stringify(asked.toSorted()) !== JSON.stringify([...waiting, ...fresh].toSorted()))
    throw new Error('the round has other contacts');
  out.new = fresh.toSorted(ordered);
  const key = deriveKey(unhex(given.seed), infoOf(manifest.audience, manifest.epoch));
  const publicKey = unhex(manifest.public_key);
  out.requests = [];
  const tokens = {};
  for (const batch of given.drawn) {
    const inputs = batch.inputs.map((one) => ('contact' in one ? ascii(one.contact) : unhex(one.padding)));
    const blinds = batch.blinds.map((one) => fromLe(unhex(one)));
    const blinded = inputs.map((input, i) => blind(input, blinds[i]));
    const answer = evaluateBlinded(key, concat(...blinded), fromLe(unhex(batch.nonce)));
    const honest = concat(...answer.evaluated, answer.proof);
    const outputs = finalize(inputs, blinds, blinded, 'reply' in batch ? unhex(batch.reply) : honest, publicKey);
    out.requests.push({
      path: `/v1/evaluate/${manifest.audience}/${manifest.epoch}`, body: hex(concat(...blinded)), reply: hex(honest),
    });
    batch.inputs.forEach((one, i) => {
      if (!('contact' in one)) return;
      tokens[one.contact] = hex(outputs[i].subarray(0, 10));
      obtained[one.contact] = outputs[i];
    });
  }
  out.tokens = tokens;
  return tokens;
}

const blake = (message, key, dkLen) => blake2b(message, { key, dkLen });

// "Buckets and decoys".
function listOf(given, partition, name, candidates, tested) {
  const { ledger, options } = given;
  const { slot_bits: q, remainder_bits: r } = partition;
  const seed = blake(concat(...tested.toSorted(ordered).map(unhex)), unhex(ledger.secret), 32);
  const earlier = ledger.asked[name];
  if (earlier && earlier.seed === hex(seed) && earlier.slot_bits === q && earlier.edition === partition.edition)
    return { seed: hex(seed), buckets: earlier.buckets };
  const all = new Set();
  for (const number of earlier?.buckets ?? []) {
    const more = q - earlier.slot_bits;
    if (more <= 0) all.add(Math.floor(number / 2 ** -more));
    else for (let i = 0; i < 2 ** more; i++) all.add(number * 2 ** more + i);
  }
  const before = all.size;
  for (const value of candidates) all.add(bucketOf(value, r));
  const t = options.buckets;
  const k = Math.min(2 ** (q - 12), before + t * Math.max(1, Math.ceil((all.size - before) / t)));
  for (let i = 0; all.size < k; i++) {
    const digest = blake(Uint8Array.from(le(BigInt(i)).subarray(0, 8)), seed, 8);
    all.add(Number(BigInt('0x' + hex(digest)) >> BigInt(64 - (q - 12))));
  }
  return { seed: hex(seed), buckets: [...all].sort((a, b) => a - b) };
}

function listed(spans) {
  const joined = [];
  for (const [start, end] of spans)
    if (joined.length && joined.at(-1)[1] === start) joined.at(-1)[1] = end;
    else joined.push([start, end]);
  return 'bytes=' + joined.map(([start, end]) => `${start}-${end - 1}`).join(',');
}

function ranges(directory, buckets) {
  const { top, page } = directory.shape;
  const pages = [...new Set(buckets.map((number) => Math.floor(number / 256)))];
  return [
    listed([[0, top]]),
    listed(pages.map((number) => [top + number * page, top + (number + 1) * page])),
    listed(buckets.map((number) => directory.place(number))),
  ];
}

function settle(given, name, partition, plan, deltas, mine, tokens, served, out) {
  const { slot_bits: q, remainder_bits: r } = partition;
  const value = Object.fromEntries(mine.map((one) => [one, valueOf(tokens[one], q, r)]));
  const steps = new Set([plan.edition, ...deltas.map((one) => one.to)]);
  const [sure, at, maybe] = [{}, {}, new Set()];
  let tested = [];
  for (const one of mine) {
    const known = given.held.tokens[one];
    if (known && steps.has(known.edition)) [sure[one], at[one]] = [known.member, known.edition];
    else {
      tested.push(one);
      at[one] = plan.edition;
    }
  }
  if (tested.length && plan.kind === 'base') {
    const data = served[plan.whole.sha256];
    fileIs(data, plan.whole);
    const members = new Set(new Directory({ ...plan.base, length: data.length }, slices(data)).values());
    for (const one of tested) sure[one] = members.has(value[one]);
    tested = [];
  } else if (tested.length) {
    const passes = openScreen(served[plan.whole.sha256], plan.whole, plan.base);
    for (const one of tested) {
      sure[one] = false;
      if (passes(value[one])) maybe.add(one);
    }
  }
  for (const delta of deltas)
    for (const one of mine.filter((other) => at[other] === delta.from)) {
      const [joined, left] = [delta.joined.has(value[one]), delta.left.has(value[one])];
      sure[one] = (sure[one] || joined) && !left;
      if (joined || left) maybe.delete(one);
      at[one] = delta.to;
    }
  if (tested.length) {
    const asked = listOf(given, partition, name, [...maybe].map((one) => value[one]), tested.map((one) => tokens[one]));
    const info = { ...partition, length: partition.base.length };
    const directory = new Directory(info, slices(served[partition.base.sha256]));
    out.lists.push({ partition: name, ...asked, ranges: ranges(directory, asked.buckets) });
    for (const one of maybe) {
      if (!asked.buckets.includes(bucketOf(value[one], r))) throw new Error('a bucket that was not asked for');
      sure[one] = directory.holds(value[one]);
    }
  }
  return Object.fromEntries(mine.map((one) => [one, [sure[one], partition.edition]]));
}

function sync(given, expected) {
  const manifest = manifestOf(given);
  const served = Object.fromEntries(given.served.map((one) => [one.sha256, one.octets]));
  const identifiers = given.identifiers ?? expected.identifiers;
  const book = [...new Set((identifiers ?? contactsOf(given)).filter((one) => one !== null))];
  const held = {};
  for (const one of given.held.files) (held[one.partition] ??= {})[one.kind] = one;
  const [plans, chains, patches, out] = [{}, {}, {}, { lists: [] }];
  for (const name of codes(manifest.usable).toSorted(ordered)) {
    plans[name] = planOf(manifest.usable[name], held[name] ?? {}, given.options);
    plans[name].fetch.push(...unheld(manifest.usable[name], held[name] ?? {}));
    chains[name] = chainOf(manifest.usable[name], plans[name], served);
    patches[name] = patchesOf(manifest.usable[name], served);
    uncontradicted(plans[name], [...chains[name], ...patches[name]], served);
  }
  const sidecars = sidecarsOf(given, manifest, served);
  out.fetched = codes(plans).toSorted(ordered).flatMap((name) =>
    [...plans[name].fetch.map((file) => file.sha256), ...(sidecars[name] ? [sidecars[name].sha256] : [])]);
  const tokens = Object.fromEntries(Object.entries(given.held.tokens).map(([name, one]) => [name, one.token]));
  const waiting = new Set(given.held.unfinished.flatMap((batch) => batch.identifiers));
  const fresh = book.filter((one) => !(one in tokens) && !waiting.has(one));
  const obtained = {};
  Object.assign(tokens, evaluated(given, manifest, fresh, out, obtained));
  const digits = (one) => one.slice('tel:+'.length);
  const found = {};
  for (const name of [...codes(manifest.usable)].toSorted(ordered)) {
    const mine = book.filter((one) => digits(one).startsWith(name));
    if (!mine.length) continue;
    const byBase = settle(given, name, manifest.usable[name], plans[name], chains[name], mine, tokens, served, out);
    Object.assign(found, patchedBy(patches[name], manifest.usable[name], byBase, tokens));
  }
  for (const one of book.filter((other) => !(other in found)))
    found[one] = [manifest.unusable.some((name) => digits(one).startsWith(name)) ? null : false, -1];
  const context = contextOf(manifest.audience, manifest.epoch);
  const named = (one) => {
    const name = one !== null && found[one][0] ? Object.keys(sidecars).find((code) => digits(one).startsWith(code)) : undefined;
    return name === undefined ? null : labelOf(manifest.usable[name], sidecars[name], obtained[one], served, context);
  };
  if (given.options.labels) out.labels = identifiers?.map(named);
  return {
    ...out,
    identifiers,
    members: identifiers?.map((one) => (one === null ? null : found[one][0])),
    editions: identifiers?.map((one) => (one === null ? -1 : found[one][1])),
  };
}

// Of a sync that is refused, the vector names the contacts in what was drawn or is held.
const contactsOf = (given) => [
  ...given.drawn.flatMap((batch) => batch.inputs.filter((one) => 'contact' in one).map((one) => one.contact)),
  ...Object.keys(given.held.tokens),
];

export const OPERATIONS = { sync };
