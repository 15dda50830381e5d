// Where a sync stops and asks, instead of telling or fetching more than it may: errors whose hints are the choices.
import { ChoiceNeeded } from './errors.js';
import { titleOf } from './kinds.js';

const hinted = (message, lines, choices) => Object.assign(new ChoiceNeeded(message, { hint: ['choose one of', ...lines.filter(Boolean)].join('\n') }), { choices });

/** A figure with commas. */
export const grouped = (number) => String(number).replace(/\B(?=(?:\d{3})+$)/g, ',');

/** A size in the form that --max-download takes, rounded up. */
export function sizeText(octets) {
  if (octets < 10000) return String(octets);
  return octets < 10000000 ? `${Math.ceil(octets / 1000)}K` : `${Math.ceil(octets / 1000000)}M`;
}

/** Four digits of odds: as `format(odds, ',.4g')` in Python writes them. */
export function oddsText(odds) {
  const [digits, power] = odds.toExponential(3).split('e').map(Number);
  if (power >= 4) return `${digits}e+${String(power).padStart(2, '0')}`;
  const [whole, part] = String(Number(odds.toPrecision(4))).split('.');
  return grouped(whole) + (part ? `.${part}` : '');
}

/**
 * The download is larger than allowed, and nothing was fetched.
 * @param {{needed: number, limit: number, screen: number | null, bare: number | null}} costs in octets: of what was chosen, of
 *   screen mode and of the same without labels (null: no less, or it is what was chosen)
 */
export function tooLarge({ needed, limit, screen, bare }) {
  return hinted(
    `the download is ${sizeText(needed)}, more than --max-download ${sizeText(limit)}; no file was fetched, and nothing was sent that depends on the address book`,
    [
      `  --max-download ${sizeText(needed)}: tells the server nothing more`,
      screen !== null && `  --privacy screen: about ${sizeText(screen)}; tells the server the buckets of contacts that pass a Bloom filter`,
      bare !== null && `  --labels no: about ${sizeText(bare)}; tells the server nothing more; does not show who a match is there`,
    ],
    { needed, screen, bare },
  );
}

/** Only now is it known how many contacts pass a screen. */
export function tooMany(name, { needed, limit, whole }) {
  return hinted(
    `too many contacts pass the screen of ${titleOf(name)}: the download would be ${sizeText(needed)}, more than --max-download ${sizeText(limit)}; none of its buckets was fetched`,
    [
      `  --max-download ${sizeText(needed)}: tells the server the buckets, among decoys`,
      `  --privacy download: about ${sizeText(whole)}; tells the server nothing about buckets`,
    ],
    { needed, whole },
  );
}

/**
 * All lists together would tell more than allowed.
 * @param {import('./settling.js').Told} told @param {{buckets: number, leakBudget: number, whole: number}} allowed
 */
export function tooTelling({ name, total, before, running }, { buckets, leakBudget, whole }) {
  let many = 2 * buckets;
  while (many <= total && (before * total) / many > leakBudget) many += buckets;
  return hinted(
    `one more bucket list for ${titleOf(name)} would multiply the odds of a guess by ${oddsText(running)} in all, more than --leak-budget ${oddsText(leakBudget)}; the list was not sent`,
    [
      `  --privacy download: about ${sizeText(whole)}; tells the server nothing about buckets`,
      many <= total && `  --buckets ${many}: a larger list tells less, and costs more to download`,
      `  --leak-budget ${Math.ceil(running)}: see \`contactsync docs threat-model\``,
    ],
    { whole },
  );
}
