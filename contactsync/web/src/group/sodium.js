// ristretto255 (RFC 9496) by libsodium in WebAssembly: ten times as fast as BigInt, and constant time. See noble.js.
const SCALAR = 32;
const WIDE = 64;

/** A group over the raw module of libsodium.js, which has no wrappers: C functions and their memory. */
export function sodiumGroup(sodium) {
  // No `sodium_init`: it sets up a source of randomness, which is not used here.
  const [a, b, out] = [WIDE, WIDE, WIDE].map((octets) => sodium._malloc(octets));
  const put = (place, octets) => sodium.HEAPU8.set(octets, place); // HEAPU8 is another when memory grows
  const take = (place) => sodium.HEAPU8.slice(place, place + SCALAR);
  const wipe = () => [a, b, out].forEach((place) => sodium.HEAPU8.fill(0, place, place + WIDE));
  const isZero = (octets) => octets.every((one) => one === 0);

  function product(element, scalar) {
    put(a, scalar);
    put(b, element);
    if (sodium._crypto_scalarmult_ristretto255(out, a, b) !== 0) throw new Error('a product is the identity');
    return take(out);
  }

  /** 32 octets of 64, by a function that takes places. */
  function shortened(run, octets) {
    put(a, octets);
    run(out, a);
    const found = take(out);
    wipe();
    return found;
  }

  return {
    name: 'libsodium',

    fromUniform: (octets) => shortened(sodium._crypto_core_ristretto255_from_hash, octets),

    isElement(octets) {
      if (octets.length !== SCALAR || isZero(octets)) return false;
      put(a, octets);
      return sodium._crypto_core_ristretto255_is_valid_point(a) === 1;
    },

    multiply(element, scalar) {
      const found = product(element, scalar);
      wipe();
      return found;
    },

    sum(elements, scalars) {
      let total = new Uint8Array(SCALAR); // the identity
      elements.forEach((element, i) => {
        if (isZero(scalars[i])) return;
        put(b, product(element, scalars[i]));
        put(a, total);
        sodium._crypto_core_ristretto255_add(out, a, b);
        total = take(out);
      });
      return total;
    },

    reduce: (octets) => shortened(sodium._crypto_core_ristretto255_scalar_reduce, octets),

    invert(scalars) {
      const found = scalars.map((scalar) => {
        put(a, scalar);
        sodium._crypto_core_ristretto255_scalar_invert(out, a);
        return take(out);
      });
      wipe();
      return found;
    },
  };
}
