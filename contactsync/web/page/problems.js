// An error in words of the page: what happened, and what to do. What the client says of it exactly stands below.
import { element } from './words.js';

const BY_PROBLEM = {
  'bad-credential': 'code', 'bad-code': 'link', 'wrong-audience': 'audience', 'out-of-quota': 'quota', overloaded: 'busy', paused: 'busy',
  'not-published': 'unpublished', 'key-unavailable': 'broken', 'store-unavailable': 'broken',
};
const BY_REFUSAL = { expired: 'expired', 'rolled-back': 'history', 'another-history': 'history', 'bad-proof': 'proof' };
const BY_KIND = {
  network: 'network', quota: 'quota', 'server-failed': 'broken', refused: 'refused', 'choice-needed': 'large', 'bad-input': 'input',
  'bad-signature': 'signature', 'bad-directory': 'file', 'bad-proof': 'proof', 'bad-reply': 'reply', installation: 'state',
};

const OWN = new Set(['offline', 'network', 'audience', 'setup', 'root', 'locked', 'room', 'storage', 'unreadable', 'insecure', 'fault']);
// The words come from elsewhere: they must not reach what every object has.
const of = (table, word) => (Object.hasOwn(table, word ?? '') ? table[word] : undefined);

/** Which of the texts of `problems` in en.js says what happened. */
export const problemOf = ({ own, problem, refusal, kind }) =>
  OWN.has(own) ? own : of(BY_PROBLEM, problem) ?? of(BY_REFUSAL, refusal) ?? of(BY_KIND, kind) ?? 'fault';

const ROOM = 2 ** 26; // octets beside what was estimated: metadata, and what is published in between

/** What a sync that stopped to ask can go on with: the options of the client that it would take. @param {object} failed of a Failure */
export function waysOn({ choices }, words) {
  if (!choices) return [];
  const { needed, screen, whole } = choices;
  const all = whole ?? needed;
  // Where lists were chosen already, what is needed is for them.
  const some = whole === undefined ? screen : needed;
  return [
    ...(all ? [{ text: words.downloadAll(all), why: words.downloadAllWhy, how: { privacy: 'download', maxDownload: all + ROOM } }] : []),
    ...(some ? [{ text: words.downloadSome(some), why: words.downloadSomeWhy, how: { privacy: 'screen', maxDownload: some + ROOM } }] : []),
  ];
}

/**
 * Show it. @param {HTMLElement} place @param {object} failed of a Failure
 * @param {((how?: object) => void) | null} retry takes what was chosen of `waysOn`
 */
export function showProblem(place, words, failed, retry) {
  const [what, todo] = words.problems[problemOf(failed)];
  const parts = [element('h2', { tabindex: '-1' }, what), element('p', null, todo)];
  if (failed.retry_after) parts.push(element('p', null, words.wait(failed.retry_after)));
  const exact = [failed.detail, failed.refusal || failed.problem].filter(Boolean).join(' – ');
  if (exact) parts.push(element('details', null, element('summary', null, words.exactly), element('p', { lang: 'en' }, element('code', { dir: 'auto' }, exact))));
  const buttonOf = (text, how) => {
    const button = element('button', { type: 'button', class: 'button' }, text);
    button.addEventListener('click', () => retry(how));
    return element('p', { class: 'buttons' }, button);
  };
  const ways = retry ? waysOn(failed, words) : [];
  for (const { text, why, how } of ways) parts.push(buttonOf(text, how), element('p', null, why));
  if (retry && !ways.length) parts.push(buttonOf(words.retry));
  place.replaceChildren(...parts);
  place.hidden = false;
}
