// Numbering plans, from the metadata of libphonenumber-js: what docs/identifiers.md calls the plan of a calling code.
import { Metadata } from 'libphonenumber-js/core';
import metadata from 'libphonenumber-js/max/metadata';

export const REGIONS = new Set(Object.keys(metadata.countries));
const plans = new Metadata(metadata);

/** Every calling code that has a plan, shared services (800, 881, …) included. */
export const callingCodes = new Set([...Object.keys(metadata.country_calling_codes), ...Object.keys(metadata.nonGeographic)]);

/** The calling code that digits begin with; null if there is none. No code is a prefix of another. */
export function splitCode(digits) {
  for (const length of [1, 2, 3]) if (callingCodes.has(digits.slice(0, length))) return digits.slice(0, length);
  return null;
}

const kept = new Map();

function numberingPlan(name) {
  plans.selectNumberingPlan(name);
  const plan = plans.numberingPlan;
  const whole = (pattern) => (pattern ? new RegExp(`^(?:${pattern})$`) : null);
  const front = (pattern) => (pattern ? new RegExp(`^(?:${pattern})`) : null);
  return {
    code: plan.callingCode(),
    lengths: plan.possibleLengths(),
    pattern: whole(plan.nationalNumberPattern()),
    prefix: front(plan.nationalPrefixForParsing()),
    transform: plan.nationalPrefixTransformRule() || null,
    abroad: front(plan.IDDPrefix()),
    trunk: plan.nationalPrefix() ?? '',
  };
}

function cached(name) {
  if (!kept.has(name)) kept.set(name, numberingPlan(name));
  return kept.get(name);
}

/** The plan of a calling code, which is that of its main region. */
export const planOfCode = (code) => cached(metadata.country_calling_codes[code]?.[0] ?? code);

/** The plan of a region: calling code, prefixes. */
export const planOfRegion = (region) => cached(region);

/** Digits that complete national numbers of a calling code may have. */
export const nationalLengths = (code) => planOfCode(code).lengths;
