// Contacts that somebody picks on a phone (Contact Picker API), as a file like any other.
const PROPERTIES = ['name', 'tel', 'email'];

export const canPick = () => 'contacts' in navigator && typeof navigator.contacts?.select === 'function';

const escaped = (text) => String(text).replace(/[\\;,]/g, '\\$&').replace(/\r?\n|\r/g, '\\n');

/** @returns {string} vCards, of which each line is one property, whatever is in a name */
export function cardsOf(contacts) {
  return contacts
    .map(({ name = [], tel = [], email = [] }) =>
      ['BEGIN:VCARD', 'VERSION:3.0', `FN:${escaped(name[0] ?? '')}`, ...tel.map((one) => `TEL:${escaped(one)}`), ...email.map((one) => `EMAIL:${escaped(one)}`), 'END:VCARD', ''].join('\r\n'),
    )
    .join('');
}

/** @returns {Promise<File | null>} null if nobody was picked */
export async function pick() {
  const offered = await navigator.contacts.getProperties();
  const contacts = await navigator.contacts.select(PROPERTIES.filter((one) => offered.includes(one)), { multiple: true });
  return contacts.length ? new File([cardsOf(contacts)], 'contacts.vcf', { type: 'text/vcard' }) : null;
}
