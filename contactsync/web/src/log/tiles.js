// Hashes of a log from its tiles: C2SP tlog-tiles, and the tree of RFC 6962 §2.1. No hash is believed before its tile gave the
// root hash of the checkpoint.
import { check } from '../errors.js';
import { concat, equal, hex, sha256 } from '../octets.js';

export const WIDTH = 256;
const HASH_BYTES = 32;
const EMPTY = sha256(new Uint8Array());

/** The hash of an entry. */
export const leafHash = (entry) => sha256(concat(Uint8Array.of(0), entry));
const nodeHash = (left, right) => sha256(concat(Uint8Array.of(1), left, right));

/** The root hash of a tree of these hashes. An odd one out moves up as it is. */
function rootOf(hashes) {
  let level = hashes;
  while (level.length > 1)
    level = Array.from({ length: Math.ceil(level.length / 2) }, (_, i) => (2 * i + 1 < level.length ? nodeHash(level[2 * i], level[2 * i + 1]) : level[2 * i]));
  return level[0];
}

/** The largest power of two below a number. */
export function split(count) {
  let power = 1;
  while (2 * power < count) power *= 2;
  return power;
}

/** 1234067 → x001/x234/067. */
const numbered = (index) => {
  const digits = String(index);
  const groups = digits.padStart(3 * Math.ceil(digits.length / 3), '0').match(/.../g);
  return groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/');
};

export class HashReader {
  /**
   * @param {(path: string) => Promise<Uint8Array>} read a tile
   * @param {{size: number, root: Uint8Array}} checkpoint
   */
  constructor(read, { size, root }) {
    this._read = read;
    this._size = size;
    this._root = root;
    this._rows = new Map();
    this._proven = null;
  }

  /** The hash of an entry's leaf. */
  async leaf(index) {
    await this._prove();
    return (await this._row(0, index))[index % WIDTH];
  }

  /** The root hash of the first `size` leaves. */
  async tree(size) {
    await this._prove();
    return size ? this._node(0, size) : EMPTY;
  }

  /** The hash over leaves `start` to `end`, which are a node of the tree. */
  async subtree(start, end) {
    await this._prove();
    return this._node(start, end);
  }

  _prove() {
    this._proven ??= (async () => {
      const found = this._size ? await this._node(0, this._size) : EMPTY;
      check(equal(found, this._root), 'malformed', 'the tiles of the log do not have the root hash of its checkpoint');
    })();
    return this._proven;
  }

  async _node(start, end) {
    const count = end - start;
    if (split(count + 1) === count) return this._whole(start, count);
    const middle = start + split(count);
    return nodeHash(await this._node(start, middle), await this._node(middle, end));
  }

  /** The hash over a power of two of leaves: from one row of one tile. */
  async _whole(start, count) {
    let [level, first, rest] = [0, start, count];
    for (; rest >= WIDTH; level++) [first, rest] = [first / WIDTH, rest / WIDTH];
    const row = await this._row(level, first);
    const place = first % WIDTH;
    return rootOf(row.slice(place, place + rest));
  }

  /** The hashes of the tile in which a hash is, checked against the tile above it. */
  async _row(level, index) {
    const tile = Math.floor(index / WIDTH);
    const width = Math.min(WIDTH, Math.floor(this._size / WIDTH ** level) - tile * WIDTH);
    check(width > 0, 'malformed', 'the log has no such tile');
    const path = `tile/${level}/${numbered(tile)}${width === WIDTH ? '' : `.p/${width}`}`;
    const known = this._rows.get(path);
    if (known) return known;
    const octets = await this._read(path);
    check(octets.length === width * HASH_BYTES, 'malformed', `${path} of the log has ${octets.length} octets`);
    const row = Array.from({ length: width }, (_, i) => octets.slice(HASH_BYTES * i, HASH_BYTES * (i + 1)));
    // A full tile is one hash of the level above. All others are on the right edge: in the root.
    if (width === WIDTH) {
      const above = (await this._row(level + 1, tile))[tile % WIDTH];
      check(hex(rootOf(row)) === hex(above), 'malformed', `${path} of the log does not have the hash that the log states`);
    }
    this._rows.set(path, row);
    return row;
  }
}
