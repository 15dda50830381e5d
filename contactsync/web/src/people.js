// From identifiers to people: whom a sync found, who joined, who left. Each subscriber is reported once, by whichever of
// its forms: one who was registered under one form and now is under another has neither joined nor left.
import { subscribersOf } from './forms.js';

/**
 * @param {{name: string, identifiers: string[]}[]} contacts
 * @param {Map<string, boolean>} members what is known now; an identifier of which nothing is known is not there
 * @param {Record<string, 0 | 1>} before what the last sync found
 * @param {(identifier: string) => string | null} labelOf of a member
 * @returns {{matches: object[], joined: object[], left: object[]}} in the order of the book
 */
export function peopleOf(contacts, members, before, labelOf) {
  const [matches, joined, left] = [[], [], []];
  const isMember = (form) => members.get(form) === true;
  const wasMember = (form) => before[form] === 1;
  for (const { name, identifiers } of contacts)
    for (const forms of subscribersOf(identifiers)) {
      const found = (identifier) => {
        const written = identifiers.includes(identifier) ? identifier : forms[0];
        return { name, identifier, written, label: isMember(identifier) ? labelOf(identifier) : null };
      };
      const [now, then] = [forms.find(isMember), forms.find(wasMember)];
      if (now !== undefined) {
        matches.push(found(now));
        const news = forms.find((form) => isMember(form) && before[form] === 0);
        if (then === undefined && news !== undefined) joined.push(found(news));
      } else if (then !== undefined && forms.every((form) => !wasMember(form) || members.has(form))) left.push(found(then));
    }
  return { matches, joined, left };
}
