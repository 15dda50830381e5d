// Which implementation of ristretto255 is used: libsodium where WebAssembly may run, else noble.
import { hex, unhex } from '../octets.js';
import { noble } from './noble.js';
import { sodiumGroup } from './sodium.js';

// RFC 9496, appendix A.1: the generator and its double.
export const GENERATOR = unhex('e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76');
const DOUBLE = '6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919';
const TWO = Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 2 : 0));
const LONGEST = 5000; // milliseconds

let chosen = noble;
let waiting = null;

/** The group that is used from now on. */
export const group = () => chosen;

/** Use a group. For tests, and for who knows better. */
export function useGroup(one) {
  chosen = one;
  waiting = Promise.resolve(one);
}

/**
 * The group to use: over the module that `load` gives if it is there in time and computes what it should, else noble.
 * @param {() => Promise<object>} load the raw module of libsodium.js
 */
export async function fastest(load) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, LONGEST, null);
  });
  try {
    const loaded = await Promise.race([load(), late]);
    const one = loaded === null ? noble : sodiumGroup(loaded);
    return hex(one.multiply(GENERATOR, TWO)) === DOUBLE ? one : noble;
  } catch {
    return noble; // no WebAssembly, or a policy forbids it
  } finally {
    clearTimeout(timer);
  }
}

/** Have the fastest group ready, once for all syncs. It never fails. */
export function readyGroup() {
  waiting ??= fastest(async () => (await import('libsodium-sumo')).default()).then((one) => {
    chosen = one;
    return one;
  });
  return waiting;
}
