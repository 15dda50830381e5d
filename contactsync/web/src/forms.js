// Further forms of a number: other identifiers that reach the same subscriber. docs/identifiers.md, "Further forms".
import rules from './form-rules.js';

/** How many identifiers one number is looked up as, at most: itself, and two more. */
export const MOST_FORMS = 3;
const SCHEME = 'tel:+';

const rulesOf = new Map(
  Object.entries(rules).map(([code, list]) => [
    code,
    list.map(([pattern, to, template]) => ({ pattern: new RegExp(`^(?:${pattern})$`), begin: SCHEME + to, template })),
  ]),
);

/** What the rules of its calling code make of an identifier. No code is the beginning of another. */
function* next(identifier) {
  if (!identifier.startsWith(SCHEME)) return;
  const digits = identifier.slice(SCHEME.length);
  for (let length = 1; length <= 3; length++)
    for (const { pattern, begin, template } of rulesOf.get(digits.slice(0, length)) ?? []) {
      const match = pattern.exec(digits.slice(length));
      if (match) yield begin + template.replace(/\{(\d)\}/g, (_, group) => match[group]);
    }
}

/**
 * The further forms of an identifier, nearest first; mostly none. A form may have one itself: `+39 549 882 345` is
 * `+39 0549 882 345`, and that `+378 0549 882 345`.
 * @param {string} identifier
 */
export function furtherForms(identifier) {
  const found = [identifier];
  for (let i = 0; i < found.length; i++)
    for (const form of next(found[i])) if (found.length < MOST_FORMS && !found.includes(form)) found.push(form);
  return found.slice(1);
}

/**
 * The subscribers that the identifiers of a contact reach, in their order: all forms of each, those that are written
 * first. Two that share a form are one.
 * @param {string[]} identifiers
 * @returns {string[][]}
 */
export function subscribersOf(identifiers) {
  const further = identifiers.map(furtherForms);
  if (further.every((forms) => !forms.length)) return identifiers.map((one) => [one]);
  const reachedBy = new Map(); // form → all forms of its subscriber
  identifiers.forEach((one, i) => {
    const forms = [one, ...further[i]];
    const joined = new Set(forms.filter((form) => reachedBy.has(form)).map((form) => reachedBy.get(form)));
    const all = [...[...joined].flat(), ...forms.filter((form) => !reachedBy.has(form))];
    for (const form of all) reachedBy.set(form, all);
  });
  const place = new Map(identifiers.map((one, i) => [one, i]));
  const at = (form) => place.get(form) ?? identifiers.length;
  return [...new Set(identifiers.map((one) => reachedBy.get(one)))].map((all) => all.sort((a, b) => at(a) - at(b)));
}

/** Identifiers and their further forms, each once. @param {Iterable<string>} identifiers */
export const allForms = (identifiers) => new Set([...identifiers].flatMap((one) => [one, ...furtherForms(one)]));
