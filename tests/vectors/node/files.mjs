// Directories, deltas and screens: docs/directory-format.md, the reader's side.
import { check, concat, equal, fileIs, hex, sha256, u64, uint, unhex, xxh3 } from './octets.mjs';

export const ceil = (a, b) => Math.ceil(a / b);
const popcount = (octet) => {
  let ones = 0;
  for (; octet; octet &= octet - 1) ones++;
  return ones;
};

// From q, r and N, and nothing else.
export function shape(q, r, n) {
  const buckets = 2 ** (q - 12);
  const entries = Math.min(buckets, 256);
  const pages = ceil(buckets, 256);
  const page = 48 * entries + 8;
  const top = 64 + 32 * pages;
  const data = top + pages * page;
  const [w, fill] = [r / 8, r === 32 ? 4 : 7];
  const least = data + 544 * buckets + 8 * (ceil(n, 64) + ceil(n * w, 8));
  const most = data + 544 * buckets + 8 * (Math.floor((n + 63 * buckets) / 64) + Math.floor((n * w + fill * buckets) / 8));
  return { q, r, n, buckets, entries, pages, page, top, data, least, most };
}

export const valueOf = (token, q, r) => BigInt('0x' + token) >> BigInt(80 - q - r);
export const bucketOf = (value, r) => Number(value >> BigInt(r + 12));
export const textOf = (value, q, r) => value.toString(16).padStart(ceil(q + r, 4), '0');

function magicIs(data, magic, version) {
  check(data.length >= 10, 'wrong-length');
  check(hex(data.subarray(0, 8)) === magic, 'wrong-kind');
  check(uint(data, 8, 2) === version, 'unknown-version');
}

// Reads through `part(start, end)`: a slice of a file, or a range of it.
export class Directory {
  constructor(info, part) {
    this.part = part;
    const header = part(0, 64);
    magicIs(header, '43534449520d0a1a', 2);
    check(header.length === 64, 'wrong-length');
    const [q, r, n, length] = [header[10], header[11], u64(header, 16), u64(header, 56)];
    check(q >= 12 && q <= 32 && (r === 32 || r === 40), 'out-of-range');
    check(n <= 2 ** (q + 1), 'too-full');
    this.shape = shape(q, r, n);
    const s = this.shape;
    check(length >= s.least && length <= s.most && length % 8 === 0, 'out-of-range');
    const stated = [uint(header, 12, 4), ...[24, 32, 40, 48].map((at) => u64(header, at))];
    check(JSON.stringify(stated) === JSON.stringify([4096, s.buckets, s.pages, s.top, s.data]), 'malformed');
    check(length === info.length, 'wrong-length');
    this.length = length;
    const described = [info.slot_bits, info.remainder_bits, info.count];
    check(JSON.stringify(described) === JSON.stringify([q, r, n]), 'not-as-described');
    this.top = part(0, s.top);
    check(hex(sha256(this.top)) === info.top_sha256, 'bad-hash');
    this.pages = new Map();
    this.read = new Map();
  }

  page(number) {
    if (!this.pages.has(number)) {
      const { top, page: size, entries, pages, data } = this.shape;
      const page = this.part(top + number * size, top + (number + 1) * size);
      check(equal(sha256(page), this.top.subarray(64 + 32 * number, 96 + 32 * number)), 'bad-hash');
      const offsets = Array.from({ length: entries + 1 }, (_, i) => u64(page, 8 * i));
      offsets.forEach((one, i) => check(one % 8 === 0 && (i === 0 || one > offsets[i - 1]), 'malformed'));
      check(number > 0 || offsets[0] === data, 'malformed');
      check(number < pages - 1 || offsets[entries] === this.length, 'malformed');
      check(offsets[entries] <= this.length, 'malformed');
      this.pages.set(number, { offsets, page });
    }
    return this.pages.get(number);
  }

  place(number) {
    const { entries } = this.shape;
    const { offsets } = this.page(Math.floor(number / entries));
    return [offsets[number % entries], offsets[(number % entries) + 1]];
  }

  bucket(number) {
    if (this.read.has(number)) return this.read.get(number);
    const { entries, r } = this.shape;
    const { page } = this.page(Math.floor(number / entries));
    const entry = number % entries;
    const data = this.part(...this.place(number));
    const slow = 8 * (2 * entries + 1) + 32 * entry;
    check(equal(sha256(data), page.subarray(slow, slow + 32)), 'bad-hash');
    const fast = page.subarray(8 * (entries + 1 + entry), 8 * (entries + 2 + entry));
    check(xxh3(data) === hex(Uint8Array.from(fast).reverse()), 'bad-hash');
    const n = uint(data, 0, 2);
    const words = ceil(n + 4096, 64);
    const size = 32 + 8 * words + (n * r) / 8;
    check(data.length === ceil(size, 8) * 8, 'malformed');
    const bit = (i) => (data[32 + (i >> 3)] >> (i & 7)) & 1;
    const slots = [];
    const before = [0];
    for (let i = 0; i < 64 * words; i++) {
      before.push(before[i] + bit(i));
      if (bit(i)) slots.push(i - slots.length);
    }
    check(before[n + 4096] === n && !bit(n + 4095) && before[64 * words] === n, 'malformed');
    let last = 0;
    for (let i = 1; i < 16; i++) {
      const rank = uint(data, 2 * i, 2);
      check(rank >= last && before[rank + 256 * i] === rank && !bit(rank + 256 * i - 1), 'malformed');
      last = rank;
    }
    const high = 32 + 8 * words;
    const values = slots.map((slot, j) => {
      let value = (BigInt(number) << 12n) | BigInt(slot);
      value = (value << 32n) | BigInt(uint(data, high + 4 * j, 4));
      return r === 40 ? (value << 8n) | BigInt(data[high + 4 * n + j]) : value;
    });
    check(data.subarray(size).every((octet) => octet === 0), 'malformed');
    this.read.set(number, values);
    return values;
  }

  values() {
    for (let p = 1; p < this.shape.pages; p++)
      check(this.page(p).offsets[0] === this.page(p - 1).offsets[this.shape.entries], 'malformed');
    const all = [];
    for (let number = 0; number < this.shape.buckets; number++) all.push(...this.bucket(number));
    check(all.length === this.shape.n, 'malformed');
    for (let i = 1; i < all.length; i++) check(all[i] > all[i - 1], 'not-ascending');
    return all;
  }

  holds(value) {
    return this.bucket(bucketOf(value, this.shape.r)).includes(value);
  }
}

export const slices = (data) => (start, end) => data.subarray(start, end);

export function whole(data, info) {
  check(data.length >= 10, 'wrong-length');
  magicIs(data, '43534449520d0a1a', 2);
  check(data.length === info.length && data.length >= 64, 'wrong-length');
  const directory = new Directory(info, slices(data));
  check(hex(sha256(data)) === info.sha256 && xxh3(data) === info.xxh3_64, 'bad-hash');
  return directory;
}

// A directory that is held: its header says what the manifest said.
export function held(data) {
  const [q, r] = [data[10], data[11]];
  const info = { count: u64(data, 16), slot_bits: q, remainder_bits: r, length: data.length };
  info.sha256 = hex(sha256(data));
  info.top_sha256 = hex(sha256(data.subarray(0, shape(q, r, 0).top)));
  return info;
}

// --- the delta ---

function bitsAt(data, start, bit, width) {
  let value = 0n;
  for (let i = 0; i < width; i++) {
    const at = bit + i;
    if ((data[start + (at >> 3)] >> (at & 7)) & 1) value |= 1n << BigInt(i);
  }
  return value;
}

function setSize(c, q, r) {
  if (c === 0) return 0;
  const h = c.toString(2).length;
  return 8 * ceil(c + 2 ** h, 64) + 8 * ceil(c * (q + 32 - h), 64) + (r === 40 ? ceil(c, 8) * 8 : 0);
}

function readSet(data, start, c, q, r) {
  if (c === 0) return [];
  const h = c.toString(2).length;
  const width = q + 32 - h;
  const words = ceil(c + 2 ** h, 64);
  const first = [];
  for (let i = 0; i < 64 * words; i++)
    if ((data[start + (i >> 3)] >> (i & 7)) & 1) first.push(i - first.length);
  check(first.length === c && first.every((one) => one < 2 ** h), 'malformed');
  const low = start + 8 * words;
  const lowWords = ceil(c * width, 64);
  check(bitsAt(data, low, c * width, 64 * lowWords - c * width) === 0n, 'not-canonical');
  const last = low + 8 * lowWords;
  const values = first.map((one, j) => {
    const key = (BigInt(one) << BigInt(width)) | bitsAt(data, low, j * width, width);
    return r === 40 ? (key << 8n) | BigInt(data[last + j]) : key;
  });
  if (r === 40) check(data.subarray(last + c, last + ceil(c, 8) * 8).every((octet) => octet === 0), 'not-canonical');
  for (let i = 1; i < c; i++) check(values[i] > values[i - 1], 'not-ascending');
  return values;
}

export function readDelta(data, info) {
  if (info) check(data.length === info.length, 'wrong-length');
  magicIs(data, '4353444c540d0a1a', 1);
  if (info) fileIs(data, info);
  check(data.length >= 168, 'wrong-length');
  const [q, r] = [data[10], data[11]];
  const [from, to, oldCount, newCount, left, joined, length] = [16, 24, 32, 40, 48, 56, 64].map((at) => u64(data, at));
  check(length === data.length, 'wrong-length');
  check(hex(sha256(data.subarray(0, -32))) === hex(data.subarray(-32)), 'bad-hash');
  check(q >= 12 && q <= 32 && (r === 32 || r === 40) && uint(data, 12, 4) === 0 && from < to, 'out-of-range');
  check(oldCount <= 2 ** (q + 1) && newCount <= 2 ** (q + 1), 'too-full');
  check(left <= oldCount && oldCount - left + joined === newCount, 'malformed');
  check(length === 136 + setSize(left, q, r) + setSize(joined, q, r) + 32, 'malformed');
  const leaving = readSet(data, 136, left, q, r);
  const joining = readSet(data, 136 + setSize(left, q, r), joined, q, r);
  const both = new Set(leaving);
  check(!joining.some((value) => both.has(value)), 'contradicting');
  return {
    from, to, q, r, oldCount, newCount,
    oldSha256: hex(data.subarray(72, 104)), newSha256: hex(data.subarray(104, 136)),
    left: leaving, joined: joining,
  };
}

// --- the screen ---

export function openScreen(data, info, of) {
  check(data.length >= 40 && data.length === info.length, 'wrong-length');
  check(hex(data.subarray(0, 5)) !== '4353534352', 'unknown-version');
  fileIs(data, info);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  check(view.getFloat64(0, true) === 0.01 && u64(data, 8) === 7, 'wrong-kind');
  const [m, capacity, fresh, n] = [u64(data, 16), u64(data, 24), u64(data, 32), of.count];
  check(n >= 131072 && n <= 1568314447, 'out-of-range');
  check(capacity === n, 'not-as-described');
  check(m === Math.ceil((n * Math.abs(Math.log(0.01))) / (7 * Math.log(2) ** 2)), 'out-of-range');
  check(fresh >= 1 && fresh <= n, 'out-of-range');
  check(data.length === 40 + ceil(7 * m, 8), 'wrong-length');
  const bit = (i) => (data[40 + Math.floor(i / 8)] >> (i % 8)) & 1;
  for (let i = 7 * m; i < 8 * (data.length - 40); i++) check(!bit(i), 'not-canonical');
  const [a, b] = [Math.floor(2 ** 32 / m), 2 ** 32 % m];
  const loads = [[b, (n * (a + 1)) / 2 ** 32], [m - b, (n * a) / 2 ** 32]];
  const zero = loads.reduce((total, [places, load]) => total + places * Math.exp(-load), 0);
  const spread = loads.reduce((total, [places, load]) => total + places * Math.exp(-load) * (1 - Math.exp(-load)), 0);
  const shared = loads.reduce((total, [places, load]) => total + places * load * Math.exp(-load), 0);
  const eight = 8 * Math.sqrt(spread - shared ** 2 / n);
  for (let j = 0; j < 7; j++) {
    let ones = 0;
    let i = j * m;
    for (; i < (j + 1) * m && i % 8; i++) ones += bit(i);
    for (; i + 8 <= (j + 1) * m; i += 8) ones += popcount(data[40 + i / 8]);
    for (; i < (j + 1) * m; i++) ones += bit(i);
    check(ones <= m - zero + eight, 'too-full');
    check(ones >= m - zero - eight, 'malformed');
  }
  const salt = sha256(new Uint8Array(4));
  return (value) => {
    const digest = sha256(concat(salt, Buffer.from(textOf(value, of.slot_bits, of.remainder_bits), 'latin1')));
    for (let j = 0; j < 7; j++) if (!bit(j * m + (uint(digest, 4 * j, 4) % m))) return false;
    return true;
  };
}

const tokensOf = (given) => {
  if (Array.isArray(given.tokens)) return given.tokens;
  return Array.from({ length: given.tokens.length / 10 }, (_, i) => hex(given.tokens.subarray(10 * i, 10 * i + 10)));
};

function found(given, directory) {
  const { q, r } = directory.shape;
  const values = tokensOf(given).map((token) => valueOf(token, q, r));
  return { buckets: values.map((value) => bucketOf(value, r)), found: values.map((value) => directory.holds(value)) };
}

export const OPERATIONS = {
  read_directory(given) {
    const directory = whole(given.file, given.info);
    const { q, r } = directory.shape;
    return { values: directory.values().map((value) => textOf(value, q, r)) };
  },
  match_directory: (given) => found(given, whole(given.file, given.info)),
  match_buckets: (given) => found(given, new Directory(given.info, slices(given.file))),
  read_delta(given) {
    const delta = readDelta(given.file, given.info);
    const texts = (values) => values.map((value) => textOf(value, delta.q, delta.r));
    return {
      from_edition: delta.from, to_edition: delta.to, slot_bits: delta.q, remainder_bits: delta.r,
      old_count: delta.oldCount, new_count: delta.newCount, old_sha256: delta.oldSha256,
      new_sha256: delta.newSha256, left: texts(delta.left), joined: texts(delta.joined),
    };
  },
  follow_deltas(given) {
    const info = held(given.base);
    const directory = new Directory(info, slices(given.base));
    const { q, r } = directory.shape;
    const before = new Set(directory.values());
    let values = new Set(before);
    let [sha, count, edition] = [info.sha256, info.count, null];
    for (const file of given.deltas) {
      const delta = readDelta(file, null);
      check(edition === null || delta.from === edition, 'not-following');
      check(delta.q === q && delta.r === r && delta.oldCount === count && delta.oldSha256 === sha, 'not-following');
      check(delta.left.every((value) => values.has(value)), 'contradicting');
      check(!delta.joined.some((value) => values.has(value)), 'contradicting');
      const leaving = new Set(delta.left);
      values = new Set([...[...values].filter((value) => !leaving.has(value)), ...delta.joined]);
      [sha, count, edition] = [delta.newSha256, delta.newCount, delta.to];
    }
    const asked = tokensOf(given).map((token) => valueOf(token, q, r));
    const sorted = [...values].sort((a, b) => (a < b ? -1 : 1));
    return {
      before: asked.map((value) => before.has(value)), after: asked.map((value) => values.has(value)),
      values: sorted.map((value) => textOf(value, q, r)), sha256: sha,
    };
  },
  read_screen(given) {
    const passes = openScreen(given.file, given.info, given.of);
    const { slot_bits: q, remainder_bits: r } = given.of;
    return { passes: tokensOf(given).map((token) => passes(valueOf(token, q, r))) };
  },
  token(given) {
    const output = unhex(given.output);
    check(output.length >= 10, 'wrong-length');
    const token = hex(output.subarray(0, 10));
    const value = valueOf(token, given.slot_bits, given.remainder_bits);
    return {
      token, value: textOf(value, given.slot_bits, given.remainder_bits),
      slot: Number(value >> BigInt(given.remainder_bits)), bucket: bucketOf(value, given.remainder_bits),
    };
  },
};
