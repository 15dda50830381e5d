// What a sync looks up: the identifiers of a book and their further forms, by partition.
import { allForms } from './forms.js';
import { kindOf, partitionOf } from './kinds.js';
import { ascending } from './octets.js';

/**
 * About those identifiers that are of these kinds: others would cost points for nothing.
 * @param {string[]} written the identifiers of a book @param {string[]} kinds
 * @returns {{identifiers: string[], asked: number, groups: Map<string | null, string[]>}} `identifiers`: each once, sorted;
 *   `asked` of them are written in the book; `groups`: by the name of their partition
 */
export function questionOf(written, kinds) {
  const asked = written.filter((one) => kinds.includes(kindOf(one)));
  const identifiers = [...allForms(asked)].sort(ascending);
  const groups = new Map();
  for (const one of identifiers) {
    const name = partitionOf(one);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(one);
  }
  return { identifiers, asked: new Set(asked).size, groups };
}
