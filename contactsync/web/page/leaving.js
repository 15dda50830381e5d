// "What left this device": every request of a sync, in words and octets, before it is sent.
import { $, element } from './words.js';

const POINT = 32; // octets
const ROUTES = [
  [/^\/v1\/tuf\/metadata\//, 'metadata'], [/^\/v1\/tuf\/targets\//, 'targets'], [/^\/v1\/log\//, 'log'],
  [/^\/v1\/account$/, 'account'], [/^\/v1\/sign-in$/, 'signIn'], [/^\/v1\/data\//, 'data'], [/^\/v1\/evaluate\//, 'evaluate'],
];
const LEARNT = /looked up ([\d,]+) to ([\d,]+) new/;
const LISTS = /fetched ([\d,]+) of ([\d,]+) buckets of (.+?), decoys included \(.* by up to ([^)]+)\)/;
const CROWDED = /among its contacts in (.+?) that the whole directory was fetched/;
const figure = (text) => Number(text.replaceAll(',', ''));
const routeOf = (path) => ROUTES.find(([form]) => form.test(path))?.[1] ?? 'other';
// Names of 64 digits would hide what is asked for.
const short = (path) => path.replace(/[0-9a-f]{64}/g, (name) => `${name.slice(0, 8)}…`);

/** The sentence of a report in the language of the page; as it is, if it is another one than this page knows. */
export function learntIn(leak, words) {
  const [points, lists, crowded] = [LEARNT, LISTS, CROWDED].map((form) => form.exec(leak));
  if (!points && !/nothing new to look up/.test(leak)) return leak;
  const parts = [
    ...(points ? [words.learntPoints(figure(points[1]), figure(points[2]))] : [words.learntNoPoints]),
    ...(lists ? [words.learntLists(figure(lists[1]), figure(lists[2]), lists[3], figure(lists[4]))] : []),
    ...(crowded ? [words.learntCrowded(crowded[1])] : []),
  ];
  return `${words.learnt(parts)} ${parts.length > 1 ? words.hiddenSome : points ? words.hidden : words.hiddenAll}`;
}

export class Leaving {
  constructor() {
    this.requests = [];
    this.leak = null;
  }

  /** A request is about to be sent. */
  add(request, words) {
    this.requests.push(request);
    const list = $('left-list');
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    list.append(this._row(request, words));
    this._sum(words);
    if (follows) list.scrollTop = list.scrollHeight;
  }

  /** Octets of points: what is said about contacts. */
  get sent() {
    return this.requests.filter(({ path }) => routeOf(path) === 'evaluate').reduce((sum, one) => sum + one.octets, 0);
  }

  /** @param {string} leak the sentence of a report */
  learnt(leak, words) {
    this.leak = leak;
    const place = $('learnt');
    place.hidden = leak === null;
    if (leak === null) return;
    place.textContent = learntIn(leak, words);
  }

  show(words) {
    $('left-list').replaceChildren(...this.requests.map((one) => this._row(one, words)));
    this._sum(words);
    this.learnt(this.leak, words);
  }

  _sum(words) {
    const { sent } = this;
    $('left-sum').textContent = this.requests.length ? words.leftSum(sent / POINT, sent, this.requests.length) : words.leftNothing;
  }

  _row({ method, path, octets, ranges }, words) {
    const route = ranges ? 'ranges' : routeOf(path);
    const text = { evaluate: () => words.requests.evaluate(octets / POINT), ranges: () => words.requests.ranges(ranges) }[route]?.() ?? words.requests[route];
    return element('li', { class: route }, element('span', null, text), element('span', { class: 'octets' }, words.body(octets)), element('code', { translate: 'no' }, `${method} ${short(path)}`));
  }
}
