// Text that is encoded within a file: the octets of base64 or quoted-printable.

/**
 * The text of octets: UTF-8 if they are, else the charset that is named, else Windows' Western European.
 * @param {string} latin each character is one octet @param {string} [charset]
 */
export function decoded(latin, charset) {
  const octets = Uint8Array.from(latin, (character) => character.charCodeAt(0) & 255);
  for (const label of ['utf-8', charset ?? 'windows-1252', 'windows-1252'])
    try {
      return new TextDecoder(label, { fatal: true }).decode(octets);
    } catch {
      // the next one
    }
  return latin;
}
