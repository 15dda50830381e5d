// Numbers as they are dialled where the owner of a book lives. Local ones are reported: a guess would look up a stranger.
import { parsePhoneNumberFromString } from 'libphonenumber-js/core';
import metadata from 'libphonenumber-js/max/metadata';
import { normalise } from '../identifiers.js';
import { planOfRegion } from '../plans.js';
import { Rejected } from '../rejected.js';

// Open plans: in them any few digits look like a complete number.
const OPEN = new Set(['43', '46', '49', '62', '358']);
const AMERICAN = /^(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]{0,2}[2-9]\d\d[-. ]\d{4}$/;

/**
 * A function from the text of one number to its identifier, which throws Rejected.
 * @param {string | null} region null: only numbers with a country code
 */
export function dialling(region) {
  const plan = region === null ? null : planOfRegion(region);
  const trunk = plan && String(plan.trunk).startsWith('0') ? String(plan.trunk) : '';

  function written(text) {
    if (region === null || text.length > 40 || text[0] === '+') return '';
    const match = /^[^\d+]*(\+?)([\d\s()./[\]-]*)/.exec(text);
    return match[1] ? '' : match[2];
  }

  function isGuess(identifier) {
    const number = parsePhoneNumberFromString(identifier.slice('tel:'.length), metadata);
    if (!trunk || number === undefined || OPEN.has(number.countryCallingCode)) return Boolean(trunk);
    return number.formatNational().replace(/\D/g, '').startsWith(trunk) && !number.isValid();
  }

  return (text) => {
    const found = normalise(text, region);
    const part = written(text);
    const digits = part.replace(/[ \t()./[\]-]/g, '');
    const local = !text.includes(';') && /^\d{4,9}$/.test(digits) && !(trunk && digits.startsWith(trunk));
    if (local && digits.length <= 8 && isGuess(found))
      throw new Rejected('a local number without its area code', 'write its area code');
    if (!local && trunk && OPEN.has(plan.code) && AMERICAN.test(part.trim())) {
      const hint = 'write + and the country code before it, or 0 if it is dialled with it';
      throw new Rejected('written as in North America, without a country code', hint);
    }
    return found;
  };
}
