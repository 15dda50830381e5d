// The language of the page: that of the browser if it is one of two, or what was chosen. Only text is ever inserted.
import { de } from './de.js';
import { en } from './en.js';

const LANGUAGES = { en, de };
export const NAMES = { en: 'English', de: 'Deutsch' };

export function preferred(languages = navigator.languages ?? [navigator.language]) {
  for (const one of languages) {
    const code = one.slice(0, 2).toLowerCase();
    if (code in LANGUAGES) return code;
  }
  return 'en';
}

const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte'];

/** All texts of a language, with numbers and dates as this browser writes them. */
export function wordsOf(code, languages = navigator.languages ?? [navigator.language]) {
  const locale = languages.find((one) => one.slice(0, 2).toLowerCase() === code) ?? code;
  const number = new Intl.NumberFormat(locale).format;
  const octets = (n) => {
    const power = n < 1000 ? 0 : Math.min(Math.floor(Math.log10(n) / 3), UNITS.length - 1);
    const format = { style: 'unit', unit: UNITS[power], unitDisplay: power ? 'short' : 'long', maximumFractionDigits: power > 1 ? 1 : 0 };
    return new Intl.NumberFormat(locale, format).format(n / 1000 ** power);
  };
  const date = (time) => new Intl.DateTimeFormat(locale, { dateStyle: 'long' }).format(time);
  const regionName = new Intl.DisplayNames(code, { type: 'region' });
  const moment = (time) => new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' }).format(time);
  return { ...LANGUAGES[code](number, octets), code, number, octets, date, moment, order: new Intl.Collator(code), regionOf: (one) => regionName.of(one) };
}

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children, which are elements or text. */
export function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Write all fixed texts of the page. */
export function translate(words) {
  document.documentElement.lang = words.code;
  for (const one of document.querySelectorAll('[data-text]')) one.textContent = words[one.dataset.text];
  for (const one of document.querySelectorAll('[data-label]')) one.setAttribute('aria-label', words[one.dataset.label]);
}
