// The result: who is here, a hundred at a time; search, and files to save.
import { linkOf } from './links.js';
import { $, element } from './words.js';

const PAGE = 100;
const NO_NAME = '(no name)'; // as the client calls it
const plain = (text) => text.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
const numberOf = (identifier) => identifier.replace(/^[a-z]+:/, '');

export class Matches {
  constructor(link) {
    this.link = link;
    this.report = null;
    this.limit = PAGE;
    $('search').addEventListener('input', () => this._list(PAGE));
    $('more').addEventListener('click', () => {
      const first = $('matches').children.length;
      this._list(this.limit + PAGE);
      const next = $('matches').children[first]; // the button moves away: the reader stays at what it brought
      next?.setAttribute('tabindex', '-1');
      next?.focus();
    });
  }

  /** @param {object} report of `sync` */
  show(report, words) {
    this.report = report;
    this.words = words;
    const { matches, joined } = report;
    this._joined = new Set(joined.map((one) => `${one.identifier} ${one.name}`));
    const people = new Set(matches.map((one) => (one.name === NO_NAME ? one.identifier : one.name))).size;
    $('result-title').textContent = words.found(people);
    $('result-of').textContent = words.resultOf(report);
    $('notes').replaceChildren(...this._notes(words).map((one) => element('li', { dir: 'auto' }, one)));
    $('search-field').hidden = matches.length <= 10;
    $('search').value = '';
    for (const id of ['csv', 'json']) $(id).hidden = matches.length === 0;
    this._list(PAGE);
  }

  _notes(words) {
    const { labels, left, uncovered, unusable, unchecked_history: gap, withdrawn_epoch: withdrawn } = this.report;
    const notes = [];
    if (left.length) notes.push(words.hasLeft(left.length, left.slice(0, 5).map((one) => `\u2068${one.name}\u2069`).join(', ')));
    if (withdrawn !== null) notes.push(words.withdrawn);
    if (gap !== null) notes.push(words.gap);
    if (unusable.length) notes.push(words.unusable(unusable.reduce((sum, one) => sum + one.identifiers, 0)));
    if (labels?.unopened) notes.push(words.unopened(labels.unopened));
    if (labels?.unknown) notes.push(words.unknownLabels(labels.unknown));
    if (uncovered) notes.push(words.uncovered);
    return notes;
  }

  _list(limit) {
    const { words } = this;
    this.limit = limit;
    const sought = plain($('search').value.trim());
    const digits = /^[\d\s()+./-]+$/.test(sought) ? sought.replace(/\D/g, '') : '';
    const fits = ({ name, identifier, label }) =>
      plain(name).includes(sought) || (typeof label === 'string' && plain(label).includes(sought)) || (digits.length > 2 && identifier.includes(digits));
    const found = sought ? this.report.matches.filter(fits) : this.report.matches;
    $('matches').replaceChildren(...found.slice(0, limit).map((one) => this._row(one)));
    const rest = found.length - limit;
    $('more').hidden = rest <= 0;
    $('more').textContent = rest > 0 ? words.more(Math.min(rest, PAGE)) : '';
    $('shown').textContent = words.showing(Math.min(limit, found.length), this.report.matches.length);
  }

  _row(match) {
    const { name, identifier, written, label } = match;
    const row = element('li', null);
    const named = element('span', { class: 'name' }, element('bdi', null, name === NO_NAME ? this.words.noName : name));
    if (this._joined.has(`${identifier} ${name}`)) named.append(element('span', { class: 'badge' }, this.words.joined));
    row.append(named, element('span', { class: 'number', dir: 'ltr' }, numberOf(written ?? identifier)));
    if (typeof label === 'string' && label) {
      const href = linkOf(this.link, label);
      const text = element('bdi', null, label);
      row.append(element('span', { class: 'label-of' }, href ? element('a', { href, rel: 'noopener noreferrer', target: '_blank' }, text) : text));
    }
    return row;
  }
}

// A spreadsheet takes a field that begins so for a formula.
const FORMULA = /^[=@\t\r]|^[+-](?!\d+$)/;

/** RFC 4180, with a mark by which spreadsheets see that it is UTF-8. */
export function csvOf(matches) {
  const field = (text) => {
    const safe = FORMULA.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const rows = matches.map(({ name, identifier, label }) => [name, identifier, label ?? '']);
  return `\ufeff${[['name', 'identifier', 'label'], ...rows].map((row) => row.map(field).join(',')).join('\r\n')}\r\n`;
}

export const jsonOf = (report) => `${JSON.stringify({ version: 1, ...report }, null, 1)}\n`;

/** Offer a file to save. It does not leave the browser. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
