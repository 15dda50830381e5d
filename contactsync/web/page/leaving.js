// "What left this device": every request of a sync, in words and octets, before it is sent.
import { $, element } from './words.js';

const POINT = 32; // octets
const ROUTES = [
  [/^\/v1\/tuf\/metadata\//, 'metadata'], [/^\/v1\/tuf\/targets\//, 'targets'], [/^\/v1\/log\//, 'log'],
  [/^\/v1\/account$/, 'account'], [/^\/v1\/sign-in$/, 'signIn'], [/^\/v1\/data\//, 'data'], [/^\/v1\/evaluate\//, 'evaluate'],
];
const routeOf = (path) => ROUTES.find(([form]) => form.test(path))?.[1] ?? 'other';
// Names of 64 digits would hide what is asked for.
const short = (path) => path.replace(/[0-9a-f]{64}/g, (name) => `${name.slice(0, 8)}…`);

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
    const range = /looked up (\d+) to (\d+) /.exec(leak);
    place.textContent = range ? words.learnt(Number(range[1]), Number(range[2])) : /nothing new to look up/.test(leak) ? words.learntNothing : leak;
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

  _row({ method, path, octets }, words) {
    const route = routeOf(path);
    const text = route === 'evaluate' ? words.requests.evaluate(octets / POINT) : words.requests[route];
    return element('li', { class: route }, element('span', null, text), element('span', { class: 'octets' }, words.body(octets)), element('code', { translate: 'no' }, `${method} ${short(path)}`));
  }
}
