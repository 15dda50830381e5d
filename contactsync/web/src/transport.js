// HTTP by fetch, which pages, workers and Node have alike. What a server says is quoted, never shown as our advice.
import { NetworkError, PeerError, Refused } from './errors.js';
import { concat } from './octets.js';
import { quotaOf, quotaOfFields } from './quota.js';

const PROBLEM = 'urn:contactsync:problem:';
const PROBLEM_LIMIT = 16384;
const ATTEMPTS = 3;
const PATIENCE = 120; // seconds that a run waits for the server, in all
const SILENCE = 30000; // milliseconds without an octet
const BEAT = 2000;
const HINTS = {
  'wrong-audience': 'use the audience of your credential, or ask the operator for another credential',
  'bad-code': 'open the page again from where it was linked: a code works once, for minutes',
  'bad-credential': 'check the credential, or ask the operator for a new one',
  overloaded: 'try again later',
  paused: 'try again later; what was evaluated is kept, and the sync continues there',
  'not-published': 'try again later, or ask the operator',
};

const plain = (text) => String(text).replace(/[^\P{C}]/gu, ' ').slice(0, 300).trim();
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Seconds to wait before a request may be repeated; null if it should not be. */
function retryAfter(reply) {
  if (reply.status !== 429 && reply.status !== 503) return null;
  const text = (reply.headers.get('retry-after') ?? '').trim();
  if (/^\d{1,9}$/.test(text)) return Math.max(Number(text), 0.25);
  const until = Date.parse(text);
  if (!Number.isNaN(until)) return Math.max((until - Date.now()) / 1000, 0.25);
  return (reply.headers.get('content-type') ?? '').startsWith('application/problem+json') ? null : 5;
}

async function errorOf(reply, body) {
  let value = {};
  try {
    const read = JSON.parse(new TextDecoder().decode(body));
    if (read !== null && typeof read === 'object' && 'type' in read) value = read;
  } catch {
    // a proxy's page, say
  }
  const problem = plain(value.type ?? '').replace(PROBLEM, '');
  const words = [value.detail ?? value.title ?? '', value.hint ?? ''].map(plain).filter(Boolean).join('; ');
  const said = words ? `. It says: "${words}"` : '';
  const more = { status: reply.status, problem, retryAfter: Math.ceil(retryAfter(reply) ?? 0) };
  if (problem === 'out-of-quota') {
    const quota = quotaOf(value) ?? quotaOfFields(reply.headers) ?? { left: 0, burst: 0, per_day: 0 };
    return new Refused(
      `the account has used up its budget of points: ${quota.left} of ${quota.burst} points are left, ` +
        `${quota.per_day} are restored each day`,
      { ...more, quota, hint: 'run it again later; what was evaluated is kept, and the sync continues there' },
    );
  }
  const hint = HINTS[problem] ?? (problem ? '' : 'check the address: this does not look like a contactsync server');
  const verb = reply.status >= 500 ? 'failed' : 'refused';
  return new Refused(`the server ${verb}: status ${reply.status}${said}`, { ...more, hint });
}

/** Requests to one server. Counts octets of bodies, and remembers what the server says of the quota. */
export class Transport {
  /**
   * @param {string} url of the server, without a path
   * @param {string} credential "cs_…"
   * @param {{fetch?: typeof fetch, watch?: (request: object) => void}} [options] `watch` is told of every request:
   *   a page can show it ("what left this machine")
   */
  constructor(url, credential, options = {}) {
    this.url = url.replace(/\/+$/, '');
    this.sent = 0;
    this.received = 0;
    this.quota = null;
    this._credential = credential;
    this._fetch = options.fetch ?? ((...given) => fetch(...given));
    this._watch = options.watch ?? (() => {});
    this._waited = 0;
    this._asking = new Set(); // of what is asked for now, how to stop it
    this._stopped = false;
    this._last = performance.now();
  }

  /** A file; null if there is none. @returns {Promise<Uint8Array | null>} */
  async file(path, limit, { secret = false } = {}) {
    try {
      return await this._request(path, { limit, secret });
    } catch (error) {
      if (error instanceof Refused && error.status === 404) return null;
      throw error;
    }
  }

  /** A data file. There may be hundreds: all connections are kept. */
  data(sha256, length, { last = false } = {}) {
    return this._request(`/v1/data/${sha256}`, { limit: length, secret: true, last, keep: true });
  }

  /**
   * Parts of a data file, on condition that it is this one: a reply as byteranges.js reads it. A server that ignores the field
   * answers 200; the rest of that is not read.
   * @param {string} ranges the field `Range` @param {number} limit octets of the reply
   */
  ranges(sha256, ranges, limit, { last = false } = {}) {
    return this._request(`/v1/data/${sha256}`, { limit, secret: true, ranges, last });
  }

  /** Whether the credential is valid, and the quota. A server without budgets has no such page. */
  async account() {
    const body = await this.file('/v1/account', PROBLEM_LIMIT, { secret: true });
    if (body === null) return;
    try {
      const value = JSON.parse(new TextDecoder().decode(body));
      this.quota = quotaOf(value.quota) ?? this.quota;
    } catch {
      throw new PeerError('the server does not say what the account is', { hint: 'check the address' });
    }
  }

  /** Have a batch evaluated. If the connection breaks, the same octets are sent again: that is free. */
  evaluate(audience, epoch, body, { last }) {
    return this._request(`/v1/evaluate/${audience}/${epoch}`, { limit: 32768 * 4 + 64, secret: true, body, last });
  }

  /**
   * The credential that a one-time code brings. It is asked for once: if the answer is lost, so is the code.
   * @returns {Promise<{credential: string, audience: string, until: string}>}
   */
  async exchange(code) {
    const body = new TextEncoder().encode(JSON.stringify({ code }));
    const reply = await this._once('/v1/sign-in', { limit: PROBLEM_LIMIT, body, type: 'application/json' });
    try {
      const { credential, audience, until } = JSON.parse(new TextDecoder().decode(reply));
      if ([credential, audience, until].every((one) => typeof one === 'string')) return { credential, audience, until };
    } catch {
      // said below
    }
    throw new PeerError('the server does not say what the code brings', { hint: 'check the address' });
  }

  /**
   * Wait until the time since the last reply is a multiple of two seconds, or if `quick` of a quarter of one: work in
   * between then does not show.
   */
  async pace({ quick = false } = {}) {
    const beat = quick ? BEAT / 8 : BEAT;
    const since = performance.now() - this._last;
    await sleep(beat - (since % beat));
  }

  /** The sync has failed: end what is still asked for, and ask for nothing more. */
  stop() {
    this._stopped = true;
    for (const stop of this._asking) stop.abort();
  }

  async _request(path, options) {
    for (let failures = 1; ; failures++)
      try {
        if (this._stopped) throw new NetworkError('the sync was given up', { hint: 'sync again' });
        return await this._once(path, options);
      } catch (error) {
        const pause = error instanceof NetworkError ? 0.25 * failures : (error.pause ?? null);
        const ends = pause === null || (error instanceof NetworkError && failures === ATTEMPTS);
        if (ends || this._stopped || this._waited + pause > PATIENCE) throw error;
        this._waited += pause;
        await sleep(1000 * pause);
      }
  }

  async _once(path, { limit, secret = false, body = null, type = 'application/octet-stream', last = false, keep = false, ranges = null }) {
    const headers = secret ? { authorization: `Bearer ${this._credential}` } : {};
    if (body) headers['content-type'] = type;
    if (ranges) Object.assign(headers, { range: ranges, 'if-range': `"${path.split('/').at(-1)}"` });
    // Pages may not say so, and leave it out. In Node the connection closes with the last reply, not when the work on it ends:
    // so do those of requests that are beside another one, which would else be open until then.
    if ((last || (this._asking.size && !keep)) && typeof document === 'undefined') headers.connection = 'close';
    const stop = new AbortController();
    this._asking.add(stop);
    let timer = setTimeout(() => stop.abort(), SILENCE);
    this._watch({ method: body ? 'POST' : 'GET', path, octets: body?.length ?? 0, ranges: ranges ? ranges.split(',').length : 0 });
    this.sent += body?.length ?? 0;
    let reply;
    try {
      reply = await this._fetch(this.url + path, {
        method: body ? 'POST' : 'GET', headers, body, signal: stop.signal, redirect: 'manual',
        credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer',
      });
      const most = reply.ok ? limit : PROBLEM_LIMIT;
      const parts = [];
      let length = 0;
      const ignored = ranges && reply.ok && reply.status !== 206;
      if (ignored) await reply.body?.cancel();
      for (const reader = ignored ? null : reply.body?.getReader(); reader; ) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(timer);
        timer = setTimeout(() => stop.abort(), SILENCE);
        length += value.length;
        if (length > most) {
          await reader.cancel();
          if (!reply.ok) break;
          throw new PeerError(`${path.split('/', 3).join('/')}/… is longer than it may be`, { refusal: 'too-large' });
        }
        parts.push(value);
      }
      this.received += length;
      this._last = performance.now();
      body = concat(...parts);
    } catch (error) {
      if (error instanceof PeerError) throw error;
      throw new NetworkError(`no answer from ${this.url}, or it was cut off`, {
        hint: 'check the address and the network; what was received so far is kept', cause: error,
      });
    } finally {
      clearTimeout(timer);
      this._asking.delete(stop);
    }
    if (reply.type === 'opaqueredirect' || (reply.status >= 300 && reply.status < 400))
      throw new PeerError('the server sent a redirect, which is never followed', { hint: 'use the final URL' });
    this.quota = quotaOfFields(reply.headers) ?? this.quota;
    if (reply.ok) return ranges ? { status: reply.status, headers: reply.headers, body } : body;
    const error = await errorOf(reply, body);
    if (error.problem !== 'out-of-quota') error.pause = retryAfter(reply);
    throw error;
  }
}
