// Labels: docs/protocol.md ("Labels"), and sidecars of docs/directory-format.md. AES-SIV is RFC 5297, of node's AES.
import { createCipheriv } from 'node:crypto';
import { check, concat, equal, fileIs, hex, sha256, u64, uint, unhex, utf8, xxh3 } from './octets.mjs';
import { Directory, held, readDelta, slices, valueOf } from './files.mjs';

function aes(key, blocks) {
  const cipher = createCipheriv('aes-128-ecb', key, null);
  cipher.setAutoPadding(false);
  return new Uint8Array(Buffer.concat([cipher.update(blocks), cipher.final()]));
}

const xor = (a, b) => a.map((octet, i) => octet ^ b[i]);

function double(block) {
  const shifted = block.map((octet, i) => ((octet << 1) | ((block[i + 1] ?? 0) >> 7)) & 255);
  if (block[0] & 128) shifted[15] ^= 0x87;
  return shifted;
}

// Of one or more whole blocks: no other message occurs here.
function cmac(key, message) {
  const subkey = double(aes(key, new Uint8Array(16)));
  let chained = new Uint8Array(16);
  for (let at = 0; at < message.length; at += 16) {
    const block = message.subarray(at, at + 16);
    chained = aes(key, xor(chained, at + 16 === message.length ? xor(block, subkey) : block));
  }
  return chained;
}

function tagOf(key, data, text) {
  const d = xor(double(cmac(key, new Uint8Array(16))), cmac(key, data));
  return cmac(key, concat(text.subarray(0, -16), xor(text.subarray(-16), d)));
}

function masked(key, tag, text) {
  const start = Uint8Array.from(tag);
  start[8] &= 127;
  start[12] &= 127;
  const cipher = createCipheriv('aes-128-ctr', key, start);
  return new Uint8Array(Buffer.concat([cipher.update(text), cipher.final()]));
}

export function contextOf(audience, epoch) {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(epoch);
  return sha256(concat(utf8('contactsync label 1\0'), utf8(audience), new Uint8Array(1), number)).subarray(0, 16);
}

const keysOf = (output) => [output.subarray(10, 26), output.subarray(26, 42)];

function sealed(output, text, context) {
  const [first, second] = keysOf(output);
  const tag = tagOf(first, context, text);
  return concat(tag, masked(second, tag, text));
}

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;
const isLabel = (text) =>
  text !== '' && utf8(text).length <= 64 && !UNPRINTABLE.test(text) && !text.startsWith(' ') && !text.endsWith(' ');

export function labelIn(output, entry, context) {
  const [first, second] = keysOf(output);
  const text = masked(second, entry.subarray(0, 16), entry.subarray(16));
  if (!equal(tagOf(first, context, text), entry.subarray(0, 16))) return null;
  let end = text.length;
  while (end && text[end - 1] === 0) end--;
  try {
    const label = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text.subarray(0, end));
    return label === '' || isLabel(label) ? label : null;
  } catch {
    return null;
  }
}

// --- the sidecar ---

function magicIs(data, magic) {
  check(data.length >= 10, 'wrong-length');
  check(hex(data.subarray(0, 8)) === magic, 'wrong-kind');
  check(uint(data, 8, 2) === 1, 'unknown-version');
}

function figuresAre(q, size, count) {
  check(q >= 12 && q <= 32 && [16, 32, 48, 64].includes(size), 'out-of-range');
  check(count <= Math.min(2 ** (q + 1), 2 ** 32 - 1), 'too-full');
}

export function readSidecar(data, info) {
  if (info) check(data.length === info.length, 'wrong-length');
  magicIs(data, '43534c424c0d0a1a');
  check(data.length >= 64, 'wrong-length');
  const [q, size, count] = [data[10], data[11], u64(data, 16)];
  figuresAre(q, size, count);
  const buckets = 2 ** (q - 12);
  const [pages, k] = [Math.ceil(buckets / 256), Math.min(buckets, 256)];
  const top = 64 + 32 * pages;
  const page = 36 * k + 4;
  const start = top + pages * page;
  const stated = [uint(data, 12, 4), ...[24, 32, 40, 48, 56].map((at) => u64(data, at))];
  const length = start + count * (16 + size);
  check(JSON.stringify(stated) === JSON.stringify([0, buckets, pages, top, start, length]), 'malformed');
  check(data.length === length, 'wrong-length');
  if (info) {
    const described = [info.count, info.size, info.slot_bits];
    check(JSON.stringify(described) === JSON.stringify([count, size, q]), 'not-as-described');
    check(hex(sha256(data.subarray(0, top))) === info.top_sha256, 'bad-hash');
    check(hex(sha256(data)) === info.sha256 && xxh3(data) === info.xxh3_64, 'bad-hash');
  }
  const first = [0];
  for (let number = 0; number < pages; number++) {
    const at = top + number * page;
    const part = data.subarray(at, at + page);
    check(equal(sha256(part), data.subarray(64 + 32 * number, 96 + 32 * number)), 'bad-hash');
    check(uint(part, 0, 4) === first[first.length - 1], 'malformed');
    for (let i = 1; i <= k; i++) {
      const next = uint(part, 4 * i, 4);
      const many = next - first[first.length - 1];
      check(many >= 0 && many <= 65535 && next <= count, 'malformed');
      first.push(next);
    }
  }
  check(first[buckets] === count, 'malformed');
  const width = 16 + size;
  const entries = Array.from({ length: count }, (_, i) => data.subarray(start + i * width, start + (i + 1) * width));
  return { q, size, count, first, entries, sha256: hex(sha256(data)) };
}

export function readLabelDelta(data, info) {
  if (info) check(data.length === info.length, 'wrong-length');
  magicIs(data, '43534c42440d0a1a');
  if (info) fileIs(data, info);
  check(data.length >= 168, 'wrong-length');
  const [q, size] = [data[10], data[11]];
  const [from, to, oldCount, newCount, d, p, length] = [16, 24, 32, 40, 48, 56, 64].map((at) => u64(data, at));
  check(length === data.length, 'wrong-length');
  check(equal(sha256(data.subarray(0, -32)), data.subarray(-32)), 'bad-hash');
  figuresAre(q, size, oldCount);
  figuresAre(q, size, newCount);
  check(uint(data, 12, 4) === 0 && from < to, 'out-of-range');
  check(d <= oldCount && oldCount - d + p === newCount, 'malformed');
  check(length === 168 + 4 * (d + p) + (16 + size) * p, 'malformed');
  const places = (at, many, count) => {
    const found = Array.from({ length: many }, (_, i) => uint(data, at + 4 * i, 4));
    found.forEach((one, i) => check(one < count && (i === 0 || one > found[i - 1]), 'not-ascending'));
    return found;
  };
  const dropped = places(136, d, oldCount);
  const placed = places(136 + 4 * d, p, newCount);
  const at = 136 + 4 * (d + p);
  const entries = placed.map((_, i) => data.subarray(at + i * (16 + size), at + (i + 1) * (16 + size)));
  return {
    from, to, q, size, oldCount, newCount, dropped, placed, entries,
    oldSha256: hex(data.subarray(72, 104)), newSha256: hex(data.subarray(104, 136)),
  };
}

function applied(sidecar, delta) {
  const here = [sidecar.q, sidecar.size, sidecar.count, sidecar.sha256];
  const there = [delta.q, delta.size, delta.oldCount, delta.oldSha256];
  check(JSON.stringify(here) === JSON.stringify(there), 'not-following');
  const gone = new Set(delta.dropped);
  const kept = sidecar.entries.filter((_, i) => !gone.has(i));
  const fresh = new Map(delta.placed.map((place, i) => [place, delta.entries[i]]));
  const entries = Array.from({ length: delta.newCount }, (_, i) => fresh.get(i) ?? kept.shift());
  return { q: delta.q, size: delta.size, count: delta.newCount, entries, sha256: delta.newSha256 };
}

export const OPERATIONS = {
  check_label(given) {
    check(isLabel(given.text), 'bad-value');
    return { octets: hex(utf8(given.text)) };
  },
  seal_label(given) {
    const context = contextOf(given.audience, given.epoch);
    const text = new Uint8Array(given.size);
    text.set(utf8(given.label));
    return { context: hex(context), entry: hex(sealed(unhex(given.output), text, context)) };
  },
  open_label: (given) => ({
    label: labelIn(unhex(given.output), unhex(given.entry), contextOf(given.audience, given.epoch)),
  }),
  read_sidecar(given) {
    const sidecar = readSidecar(given.file, given.info);
    return { first: sidecar.first, entries_sha256: hex(sha256(concat(...sidecar.entries))) };
  },
  read_label_delta(given) {
    const delta = readLabelDelta(given.file, given.info);
    return {
      from_edition: delta.from, to_edition: delta.to, size: delta.size, slot_bits: delta.q,
      old_count: delta.oldCount, new_count: delta.newCount, old_sha256: delta.oldSha256,
      new_sha256: delta.newSha256, dropped: delta.dropped, placed: delta.placed, entries: delta.entries.map(hex),
    };
  },
  find_labels(given) {
    const directory = new Directory(held(given.base), slices(given.base));
    const { q, r } = directory.shape;
    let values = new Set(directory.values());
    for (const file of given.deltas) {
      const delta = readDelta(file, null);
      delta.left.forEach((value) => values.delete(value));
      delta.joined.forEach((value) => values.add(value));
    }
    values = [...values].sort((a, b) => (a < b ? -1 : 1));
    let sidecar = readSidecar(given.sidecar, null);
    for (const file of given.label_deltas) sidecar = applied(sidecar, readLabelDelta(file, null));
    const reached = [sidecar.q, sidecar.size, sidecar.count, sidecar.sha256];
    const { info } = given;
    const wanted = [info.slot_bits, info.size, info.count, info.sha256];
    check(JSON.stringify(reached) === JSON.stringify(wanted), 'not-following');
    const context = contextOf(given.audience, given.epoch);
    const outputs = given.outputs.map(unhex);
    const places = outputs.map((one) => values.indexOf(valueOf(hex(one.subarray(0, 10)), q, r)));
    const labels = places.map((at, i) => (at < 0 ? null : labelIn(outputs[i], sidecar.entries[at], context)));
    return { places, labels };
  },
};
