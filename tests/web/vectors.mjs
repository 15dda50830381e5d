// Runs the vectors of a client through the JavaScript client (contactsync/web/src). Prints one JSON object, as
// tests/vectors/node/verify.mjs does, whose reader of vector files it shares.
//
// GROUP=noble or GROUP=libsodium in the environment says what computes with elements; libsodium must then run.
//
//     node vectors.mjs FOLDER [FILE…]
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { filesOf, resolved } from '../vectors/node/octets.mjs';
import { evaluateBlinded, deriveKey, fromLe, infoOf } from '../vectors/node/voprf.mjs'; // the server of `sync`
import { Refusal } from '../../contactsync/web/src/errors.js';
import { concat, hex, unhex, utf8, u64, sha256 } from '../../contactsync/web/src/octets.js';
import { GENERATOR, readyGroup, useGroup } from '../../contactsync/web/src/group/group.js';
import { noble } from '../../contactsync/web/src/group/noble.js';
import { blind, blindsFrom, finalize, layers, tokenOf } from '../../contactsync/web/src/voprf.js';
import { openBase, placeOf, shapeOf } from '../../contactsync/web/src/directory.js';
import { checkAgainst, ranksOf, readDelta, valueOf } from '../../contactsync/web/src/delta.js';
import { filesOf as filesOfPartitions, readManifest, sortedNames, ahead } from '../../contactsync/web/src/manifest.js';
import { cipherOf, contextOf, isLabel, keyOf, opened, readyCipher } from '../../contactsync/web/src/labels.js';
import { keyOf as logKeyOf, openNote } from '../../contactsync/web/src/log/notes.js';
import { accepted, policyOf } from '../../contactsync/web/src/log/policy.js';
import { HashReader, leafHash, split } from '../../contactsync/web/src/log/tiles.js';
import { labelPartition } from '../../contactsync/web/src/labelled.js';
import { linkOf, walk, MAX_MANIFEST } from '../../contactsync/web/src/history.js';
import { checkTarget, metadataOf, openRoot, refresh, targetOf } from '../../contactsync/web/src/metadata.js';
import { furtherForms } from '../../contactsync/web/src/forms.js';
import { normalise } from '../../contactsync/web/src/identifiers.js';
import { partitionOf } from '../../contactsync/web/src/kinds.js';
import { normaliseMail } from '../../contactsync/web/src/mail.js';
import { inspect, matchPartition, planOf } from '../../contactsync/web/src/plan.js';
import { patched, patchesOf } from '../../contactsync/web/src/patches.js';
import { Rejected } from '../../contactsync/web/src/rejected.js';
import { Ledger } from '../../contactsync/web/src/ledger.js';
import { readBuckets } from '../../contactsync/web/src/parts.js';
import { openScreen } from '../../contactsync/web/src/screen.js';
import { settle } from '../../contactsync/web/src/settling.js';
import { MemoryStore } from '../../contactsync/web/src/store.js';
import { Sidecar, checkSidecarChain, entryThrough, readSidecarDelta } from '../../contactsync/web/src/sidecar.js';
import { blinded, finish, makeRound } from '../../contactsync/web/src/round.js';

const group = process.env.GROUP === 'noble' ? noble : await readyGroup();
useGroup(group);
await readyCipher();
if ((process.env.GROUP ?? 'libsodium') !== group.name) throw new Error(`${group.name} runs, and not ${process.env.GROUP}`);

const check = (holds, word) => {
  if (!holds) throw new Refusal(word);
};
const tokensOf = ({ tokens }) =>
  Array.isArray(tokens) ? tokens : Array.from({ length: tokens.length / 10 }, (_, i) => hex(tokens.subarray(10 * i, 10 * i + 10)));
const textOf = (value, q, r) => value.toString(16).padStart(Math.ceil((q + r) / 4), '0');

function valuesOf(directory) {
  const { buckets, r } = directory.shape;
  const all = [];
  for (let number = 0; number < buckets; number++) {
    const { slots, rests } = directory.bucket(number);
    slots.forEach((slot, i) => all.push(valueOf({ slot: 4096 * number + slot, rest: rests[i] }, r)));
  }
  return all;
}

function found(given, directory) {
  const { q, r } = directory.shape;
  const places = tokensOf(given).map((token) => placeOf(token, q, r));
  return { buckets: places.map(({ slot }) => Math.floor(slot / 4096)), found: places.map((place) => directory.holds(place)) };
}

// A directory that is held: its header says what the manifest said.
function held(data) {
  const [q, r] = [data[10], data[11]];
  return {
    count: u64(data, 16), slot_bits: q, remainder_bits: r, length: data.length, sha256: hex(sha256(data)),
    top_sha256: hex(sha256(data.subarray(0, shapeOf(q, r, 0).top))),
  };
}

// Likewise a sidecar.
function heldSidecar(data) {
  const pages = u64(data, 32);
  return {
    count: u64(data, 16), slot_bits: data[10], size: data[11], length: data.length, sha256: hex(sha256(data)),
    top_sha256: hex(sha256(data.subarray(0, 64 + 32 * pages))),
  };
}

const announced = (next) => ({
  epoch: next.epoch, edition: next.edition, public_key: next.public_key, until: next.until, count: next.count,
  usable: sortedNames(next.partitions), unusable: next.unusable, files: filesOfPartitions(next.partitions).map((one) => one.sha256).sort(),
});

const gapOf = (gap) => gap && [gap.since, gap.until].map(({ epoch, edition }) => [epoch, edition]);

async function follow({ root, now, audience, states }) {
  await openRoot(root);
  const trusted = { root };
  let [seen, octets, gap] = [null, null, null];
  for (const state of states) {
    const files = new Map(state.map((one) => [one.name, one.octets]));
    const get = async (name, limit) => {
      const file = files.get(name) ?? null;
      check(file === null || file.length <= limit, 'too-large');
      return file;
    };
    const target = targetOf(await refresh(trusted, get, now), audience, MAX_MANIFEST);
    octets = await get(`${target.sha256}.${audience}.json`, target.length);
    check(octets !== null, 'withheld');
    checkTarget(octets, target);
    const link = linkOf(octets);
    check(link.audience === audience, 'not-as-described');
    ({ gap } = await walk(link, seen, async (name) => files.get(`${name}.${audience}.json`) ?? null));
    seen = link;
  }
  const { epoch, edition, sha256: name } = seen;
  return { root_version: metadataOf(trusted.root, 'root').signed.version, epoch, edition, sha256: name, gap: gapOf(gap) };
}

/** The ledger as it is given. */
function ledgerOf({ secret, asked, odds }, audience, epoch) {
  const told = Object.entries(odds).map(([partition, one]) => ({ audience, partition, lists: 1, log2_odds: Math.log2(one), first: '', last: '' }));
  const lists = Object.entries(asked).map(([partition, { slot_bits, edition, seed, buckets: numbers }]) => ({ audience, partition, epoch, slot_bits, edition, seed, numbers }));
  return new Ledger(new MemoryStore(), { version: 1, decoy_secret: secret, told, asked: lists });
}

/** A server that answers ranges, and notes which. */
const rangedBy = (served, noted) => ({
  received: 0,
  pace: async () => {},
  async ranges(name, ranges) {
    noted.push(ranges);
    const octets = served.get(name);
    const spans = ranges.slice('bytes='.length).split(',').map((one) => one.split('-').map(Number));
    const field = ([first, last]) => `bytes ${first}-${last}/${octets.length}`;
    const part = ([first, last]) => octets.subarray(first, last + 1);
    if (spans.length === 1) return { status: 206, headers: new Headers({ 'content-range': field(spans[0]) }), body: part(spans[0]) };
    const parts = spans.map((span) => concat(utf8(`\r\n--limit\r\nContent-Range: ${field(span)}\r\n\r\n`), part(span)));
    return { status: 206, headers: new Headers({ 'content-type': 'multipart/byteranges; boundary=limit' }), body: concat(...parts, utf8('\r\n--limit--\r\n')) };
  },
});

async function sync(given, expected) {
  const published = readManifest(given.manifest);
  const manifest = given.uses_next ? ahead(published) : published;
  const served = new Map(given.served.map((one) => [one.sha256, one.octets]));
  const read = async (name) => served.get(name);
  const identifiers = given.contacts?.map(({ written, region }) => {
    try {
      return normalise(written, region);
    } catch (error) {
      if (error instanceof Rejected) return null;
      throw error;
    }
  });
  const book = [...new Set(identifiers.filter((one) => one !== null))];
  const heldAs = (kind, more) => Object.fromEntries(given.held.files.filter((one) => one.kind === kind)
    .map((one) => [one.partition, { edition: one.edition, base: one.base, deltas: one.deltas, patches: one.patches ?? [], ...more(one) }]));
  const [bases, screens] = [heldAs('base', (one) => ({ base: { ...one.base, ...one.whole } })), heldAs('screen', (one) => ({ screen: one.whole }))];
  const buckets = given.options.privacy === 'screen' ? given.options.buckets : null;
  const plans = new Map(sortedNames(manifest.partitions).map((name) =>
    [name, planOf(manifest.partitions[name], { held: bases[name], screen: screens[name], labels: given.options.labels ?? false, buckets })]));
  const opened = new Map();
  for (const [name, plan] of plans) if (plan.unchecked) opened.set(name, await inspect(plan, read));
  const tokens = Object.fromEntries(Object.entries(given.held.tokens).map(([name, one]) => [name, one.token]));
  const waiting = given.held.unfinished;
  const fresh = book.filter((one) => !(one in tokens) && !waiting.some((batch) => batch.identifiers.includes(one)));
  const { cover, largest_batch: most } = given.options;
  const batches = [...waiting, ...makeRound(fresh, waiting, { cover, most })];
  const key = deriveKey(unhex(given.seed), infoOf(manifest.audience, manifest.epoch));
  const [requests, obtained, rows] = [[], {}, {}];
  for (const drawn of given.drawn) {
    const inputs = drawn.inputs.map((one) => 'contact' in one ? { identifier: one.contact, octets: utf8(one.contact) } : { octets: unhex(one.padding) });
    const batch = blinded(inputs, blindsFrom(drawn.blinds.map(unhex)));
    const { evaluated, proof } = evaluateBlinded(key, batch.body, fromLe(unhex(drawn.nonce)));
    const honest = concat(...evaluated, proof);
    for (const [name, { token, key }] of finish(batch, 'reply' in drawn ? unhex(drawn.reply) : honest, unhex(manifest.public_key)))
      [obtained[name], rows[name]] = [token, { token, key, label: null, labelled: -1 }];
    requests.push({ path: `/v1/evaluate/${manifest.audience}/${manifest.epoch}`, body: hex(batch.body), reply: hex(honest) });
  }
  Object.assign(tokens, obtained);
  const [result, lists, { audience, epoch }] = [new Map(), [], manifest];
  for (const [name, plan] of plans) {
    if (plan.kind !== 'screen') continue;
    const mine = book.filter((one) => partitionOf(one) === name);
    const subjects = mine.map((one) => ({ member: false, edition: -1, ...given.held.tokens[one], token: tokens[one] }));
    const [ranges, ledger] = [[], ledgerOf(given.ledger, audience, epoch)];
    const allowed = { limit: Infinity, buckets, leakBudget: given.options.leak_budget, whole: 0 };
    const desk = { audience, epoch, read, transport: rangedBy(served, ranges), ledger, told: [], allowed };
    const settled = await settle(plan, subjects, desk, { last: true });
    const now = patched(plan.partition, await patchesOf(settled.plan, read), mine.map((one) => tokens[one]), settled.member);
    mine.forEach((one, i) => result.set(one, [now[i], plan.partition.edition]));
    if (!ranges.length) continue;
    const { seed, numbers } = ledger.asked(audience, epoch, name);
    lists.push({ partition: name, seed, buckets: numbers, ranges });
  }
  for (const one of book) {
    const name = partitionOf(one);
    const plan = plans.get(name);
    if (result.has(one)) continue;
    if (plan === undefined) {
      result.set(one, [name in manifest.unusable ? null : false, -1]);
      continue;
    }
    const known = given.held.tokens[one];
    const subject = { token: tokens[one], member: known?.member ?? false, edition: known?.edition ?? -1 };
    const current = subject.edition === plan.partition.edition;
    const byBase = current ? [subject.member] : await matchPartition(plan, [subject], read, opened.get(name));
    const [member] = patched(plan.partition, await patchesOf(plan, read), [subject.token], byBase);
    result.set(one, [member, plan.partition.edition]);
    const context = contextOf(manifest.audience, manifest.epoch);
    if (member && plan.sidecar) await labelPartition(plan, [rows[one]], read, context, opened.get(name));
  }
  const named = given.options.labels && { labels: identifiers.map((one) => rows[one]?.label ?? null) };
  return {
    ...named, identifiers, requests, tokens: obtained, lists,
    fetched: [...plans.values()].flatMap((plan) => plan.fetch.map((file) => file.sha256)),
    points: batches.map((batch) => batch.points),
    new: fresh.toSorted(),
    members: identifiers.map((one) => (one === null ? null : result.get(one)[0])),
    editions: identifiers.map((one) => (one === null ? -1 : result.get(one)[1])),
  };
}

function identified(normalised) {
  try {
    return { identifier: normalised() };
  } catch (error) {
    if (error instanceof Rejected) return { identifier: null, reason: error.reason };
    throw error;
  }
}

const isIdentity = (encoding) => /^0{64}$/.test(encoding);

/** The hash of a tree: RFC 6962 §2.1. */
function treeHash(hashes) {
  if (hashes.length === 1) return hashes[0];
  const left = split(hashes.length);
  return sha256(concat(Uint8Array.of(1), treeHash(hashes.slice(0, left)), treeHash(hashes.slice(left))));
}

/** A proof of inclusion or of consistency: RFC 6962 §2.1.1 and §2.1.2. */
async function proofBy(reader, { index, old }, size) {
  const path = async (start, end) => {
    if (end - start === 1) return [];
    const middle = start + split(end - start);
    if (index < middle) return [...(await path(start, middle)), await reader.subtree(middle, end)];
    return [...(await path(middle, end)), await reader.subtree(start, middle)];
  };
  const subproof = async (start, end, known) => {
    if (old === end) return known ? [] : [await reader.subtree(start, end)];
    const middle = start + split(end - start);
    if (old <= middle) return [...(await subproof(start, middle, known)), await reader.subtree(middle, end)];
    return [...(await subproof(middle, end, false)), await reader.subtree(start, middle)];
  };
  if (index !== undefined) return { proof: (await path(0, size)).map(hex) };
  return { proof: old === 0 || old === size ? [] : (await subproof(0, size, true)).map(hex) };
}

const OPERATIONS = {
  multiply_base: ({ scalar }) => ({ element: hex(isIdentity(scalar) ? group.sum([GENERATOR], [unhex(scalar)]) : group.multiply(GENERATOR, unhex(scalar))) }),
  decode({ encoding }) {
    const valid = isIdentity(encoding) || group.isElement(unhex(encoding));
    return { valid, element: valid ? encoding : '0'.repeat(64) };
  },
  from_uniform_bytes: (given) => ({ element: hex(group.fromUniform(unhex(given.uniform_bytes))) }),
  hash_to_group(given) {
    check(given.dst === hex(utf8('HashToGroup-OPRFV1-\x01-ristretto255-SHA512')), 'left-out');
    return { element: hex(layers.hashToGroup(unhex(given.message))) };
  },
  hash_to_scalar(given) {
    check(given.dst === hex(utf8('HashToScalar-OPRFV1-\x01-ristretto255-SHA512')), 'left-out');
    return { scalar: hex(layers.hashToScalar(unhex(given.message))) };
  },
  // The client's half: what it sends for these blinds, and what it takes from this reply.
  voprf(given, expected) {
    const batch = blind(given.inputs.map(unhex), blindsFrom(given.blinds.map(unhex)));
    const reply = unhex(expected.evaluated.join('') + expected.proof);
    const outputs = finalize(batch, reply, unhex(expected.public_key));
    const { secret_key, public_key, evaluated, proof } = expected;
    return { secret_key, public_key, evaluated, proof, blinded: batch.blinded.map(hex), outputs: outputs.map(hex) };
  },
  receive_reply(given) {
    const batch = blind(given.inputs.map(unhex), given.blinds.map(unhex));
    finalize(batch, unhex(given.reply), unhex(given.public_key));
    return {};
  },
  blind(given) {
    blind(given.inputs.map(unhex), blindsFrom(given.blinds.map(unhex)));
    return {};
  },
  normalise: (given) => identified(() => normalise(given.text, given.region)),
  normalise_mail: (given) => identified(() => normaliseMail(given.text)),
  forms: (given) => ({ forms: furtherForms(given.identifier) }),
  token(given) {
    const token = tokenOf(unhex(given.output));
    const { slot_bits: q, remainder_bits: r } = given;
    const place = placeOf(token, q, r);
    return { token, value: textOf(valueOf(place, r), q, r), slot: place.slot, bucket: Math.floor(place.slot / 4096) };
  },
  read_directory(given) {
    const directory = openBase(given.file, given.info);
    const { q, r } = directory.shape;
    return { values: valuesOf(directory).map((value) => textOf(value, q, r)) };
  },
  match_directory: (given) => found(given, openBase(given.file, given.info)),
  async match_buckets(given) {
    const { slot_bits: q, remainder_bits: r } = given.info;
    const numbers = new Set(tokensOf(given).map((token) => Math.floor(placeOf(token, q, r).slot / 4096)));
    const fetch = async (spans) => spans.map(({ start, end }) => given.file.subarray(start, end));
    return found(given, await readBuckets(given.info, [...numbers].sort((one, two) => one - two), fetch));
  },
  read_screen(given) {
    const screen = openScreen(given.file, given.info, given.of);
    return { passes: tokensOf(given).map((token) => screen.passes(token)) };
  },
  read_delta(given) {
    const delta = readDelta(given.file, given.info);
    const texts = (values) => [...values].map((value) => textOf(value, delta.q, delta.r));
    return {
      from_edition: delta.from, to_edition: delta.to, slot_bits: delta.q, remainder_bits: delta.r,
      old_count: delta.oldCount, new_count: delta.newCount, old_sha256: delta.oldSha256,
      new_sha256: delta.newSha256, left: texts(delta.left), joined: texts(delta.joined),
    };
  },
  async follow_deltas(given) {
    const base = held(given.base);
    const files = new Map([[base.sha256, given.base]]);
    const directory = openBase(given.base, base);
    const before = new Set(valuesOf(directory));
    // The partition that the last delta leads to; whether each leads on is for the client to check.
    const deltas = given.deltas.map((file) => {
      const delta = readDelta(file, null);
      const info = { length: file.length, sha256: hex(sha256(file)) };
      files.set(info.sha256, file);
      return { delta, from: delta.from, to: delta.to, file: info };
    });
    deltas.forEach(({ from }, i) => check(i === 0 || from === deltas[i - 1].to, 'not-following'));
    const last = deltas.at(-1).delta;
    const partition = { base: { sha256: last.newSha256 }, count: last.newCount, patches: null };
    const plan = { partition, holding: { edition: deltas[0].from, base, deltas } };
    const read = async (name) => files.get(name);
    await inspect(plan, read);
    const after = new Set(before);
    for (const { delta } of deltas) {
      for (const value of delta.left) after.delete(value);
      for (const value of delta.joined) after.add(value);
    }
    const { q, r } = directory.shape;
    const tokens = tokensOf(given);
    const now = await matchPartition(plan, tokens.map((token) => ({ token, member: false, edition: -1 })), read);
    return {
      before: tokens.map((token) => directory.holds(placeOf(token, q, r))), after: now, sha256: last.newSha256,
      values: [...after].sort((a, b) => (a < b ? -1 : 1)).map((value) => textOf(value, q, r)),
    };
  },
  // The proofs that the reader's hashes make: it believes no tile that does not give the checkpoint's root.
  log_proof(given) {
    const each = Array.from({ length: given.entries.length / given.each }, (_, i) => given.entries.subarray(given.each * i, given.each * (i + 1)));
    const rows = [each.map(leafHash)];
    while (rows.at(-1).length >= 256) {
      const row = rows.at(-1);
      rows.push(Array.from({ length: Math.floor(row.length / 256) }, (_, i) => treeHash(row.slice(256 * i, 256 * (i + 1)))));
    }
    const tile = (path) => {
      const [, level, number, width] = /^tile\/(\d)\/([x\d/]+?)(?:\.p\/(\d+))?$/.exec(path);
      const first = 256 * Number(number.replace(/[x/]/g, ''));
      return concat(...rows[level].slice(first, first + Number(width ?? 256)));
    };
    const changed = new Map((given.changed ?? []).map((one) => [one.path, one.octets]));
    const reader = new HashReader(async (path) => changed.get(path) ?? tile(path), { size: each.length, root: treeHash(rows[0]) });
    return proofBy(reader, given, each.length);
  },
  vkey(given) {
    const key = logKeyOf(given.vkey);
    return { name: key.name, kind: key.kind, public: hex(key.public), id: hex(key.id) };
  },
  async open_note(given) {
    const { text, verified } = await openNote(given.note, given.vkeys.map(logKeyOf));
    return { signed: text, verified: Object.fromEntries([...verified].map(([key, when]) => [key.vkey, when === null ? null : Number(when)])) };
  },
  async accept_checkpoint(given) {
    const { origin, size, root } = await accepted(policyOf(given.policy), given.note);
    return { origin, size, root: hex(root) };
  },
  check_label(given) {
    check(isLabel(given.text), 'bad-value');
    return { octets: hex(utf8(given.text)) };
  },
  // A client only opens; sealing by the same cipher shows that it is the one.
  seal_label(given) {
    const context = contextOf(given.audience, given.epoch);
    const padded = new Uint8Array(given.size);
    padded.set(utf8(given.label));
    return { context: hex(context), entry: hex(cipherOf(keyOf(unhex(given.output)), context).encrypt(padded)) };
  },
  open_label: (given) => ({ label: opened(keyOf(unhex(given.output)), unhex(given.entry), contextOf(given.audience, given.epoch)) }),
  read_sidecar(given) {
    const sidecar = new Sidecar(given.file, given.info);
    const entries = Array.from({ length: given.info.count }, (_, place) => sidecar.entry(place));
    return { first: sidecar.first, entries_sha256: hex(sha256(concat(...entries))) };
  },
  read_label_delta(given) {
    const delta = readSidecarDelta(given.file, given.info);
    return {
      from_edition: delta.from, to_edition: delta.to, size: delta.size, slot_bits: delta.q, old_count: delta.oldCount,
      new_count: delta.newCount, old_sha256: delta.oldSha256, new_sha256: delta.newSha256,
      dropped: [...delta.dropped], placed: [...delta.placed], entries: Array.from(delta.placed, (_, i) => hex(delta.entry(i))),
    };
  },
  find_labels(given) {
    const base = openBase(given.base, held(given.base));
    const deltas = given.deltas.map((file) => readDelta(file, null));
    checkAgainst(deltas, (value) => base.holds({ slot: Number(value >> BigInt(base.shape.r)), rest: Number(value & ((1n << BigInt(base.shape.r)) - 1n)) }));
    const sidecar = new Sidecar(given.sidecar, heldSidecar(given.sidecar));
    const chain = given.label_deltas.map((file) => readSidecarDelta(file, null));
    checkSidecarChain(sidecar.info, chain, given.info);
    const outputs = given.outputs.map(unhex);
    const places = ranksOf(base, deltas, outputs.map(tokenOf));
    const context = contextOf(given.audience, given.epoch);
    const labels = places.map((place, i) => (place < 0 ? null : opened(keyOf(outputs[i]), entryThrough(sidecar, chain, place), context)));
    return { places, labels };
  },
  read_manifest(given) {
    const manifest = readManifest(given.file);
    const { audience, epoch, edition, public_key, previous, sha256: name, count, unusable, next } = manifest;
    return {
      audience, epoch, edition, public_key, previous, sha256: name, count, unusable,
      usable: sortedNames(manifest.partitions), next: next && announced(next),
      files: [...new Set(filesOfPartitions(manifest.partitions).map((one) => one.sha256))].sort(),
    };
  },
  async walk(given) {
    const kept = new Map(given.kept.map((octets) => [hex(sha256(octets)), octets]));
    const { fetched, gap } = await walk(linkOf(given.newest), given.seen && linkOf(given.seen), async (name) => kept.get(name) ?? null);
    return { fetched, gap: gapOf(gap) };
  },
  follow,
  sync,
};

// Only who builds the directory that a chain leads to can see that it is not the one that is named.
const needsBuilder = (group, expected) => group.operation === 'follow_deltas' && expected.refusal === 'bad-hash';

async function outcome(operation, given, expected) {
  try {
    return { refusal: null, ...(await operation(given, expected)) };
  } catch (error) {
    if (error instanceof Refusal) return { refusal: error.word };
    throw error;
  }
}

const report = { files: [], left_out: {}, differing: [] };
const [folder, ...chosen] = process.argv.slice(2);
const names = chosen.length ? chosen : readFileSync(`${folder}/SHA256SUMS`, 'latin1').trim().split('\n').map((line) => line.split('  ')[1]);
const leave = (what) => {
  report.left_out[what] = (report.left_out[what] ?? 0) + 1;
};
for (const name of names.filter((one) => one !== 'schema.json')) {
  const content = JSON.parse(readFileSync(`${folder}/${name}`, 'utf8'));
  const shared = filesOf(content.files ?? {});
  const tally = { name, agree: 0, refused: 0 };
  for (const group of content.groups)
    for (const one of group.cases) {
      const place = `${name}: ${group.name}, vector ${one.number}`;
      if (!(group.operation in OPERATIONS)) {
        leave(group.operation);
        continue;
      }
      try {
        const given = Object.fromEntries(Object.entries(one.given).map(([key, value]) => [key, resolved(value, shared)]));
        const got = await outcome(OPERATIONS[group.operation], given, one.expected);
        if (got.refusal === 'left-out') {
          leave(`${group.operation} (some)`);
          continue;
        }
        const wanted = needsBuilder(group, one.expected) ? {} : one.expected;
        const fields = Object.keys(wanted).filter((field) => !isDeepStrictEqual(got[field] ?? null, wanted[field] ?? null));
        for (const field of fields)
          report.differing.push(`${place}: ${field} is ${JSON.stringify(got[field])?.slice(0, 80)} and not ${JSON.stringify(wanted[field])?.slice(0, 80)} (${one.reason})`);
        tally.agree += fields.length === 0;
        tally.refused += fields.length === 0 && typeof one.expected.refusal === 'string';
      } catch (error) {
        report.differing.push(`${place}: ${error.stack}`);
      }
    }
  report.files.push(tally);
}
console.log(JSON.stringify(report, null, 1));
process.exitCode = report.differing.length ? 1 : 0;
