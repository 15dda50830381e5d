// One sync: who of a book is a member. Files first, then points, then the work on both; docs/protocol.md has the order.
import { BadInput, ChoiceNeeded, OurError, Refusal, Refused } from './errors.js';
import { partitionOf } from './identifiers.js';
import { sortedNames } from './manifest.js';
import { choose } from './moving.js';
import { follow, peerError, pin, told } from './follow.js';
import { hex, sha256, unhex } from './octets.js';
import { filesOf, inspect, matchPartition, planOf } from './plan.js';
import { covers, used } from './quota.js';
import { blindBatch, finish, isQuick, largestBatch, makeRound, padded } from './round.js';
import { dataName, readAudience, writeAudience } from './store.js';
import { MAX_BATCH } from './voprf.js';

const PARALLEL = 6; // data files that are fetched at a time
const NEW_EPOCH = () => ({ public_key: '', announced: false, tokens: {}, holdings: {}, unfinished: [] });
const seconds = () => Math.floor(Date.now() / 1000);

const badDirectory = (refusal, name) =>
  peerError(refusal, `a file of partition ${name}`, ['bad-directory', 'sync again: it is then fetched whole; tell the operator if it happens again']);

function badEvaluation(refusal) {
  if (refusal.word === 'bad-proof')
    return peerError(new Refusal('bad-proof', 'it was not made with the published key'), 'an evaluation',
      ['bad-proof', 'it was not used; if this happens again, tell the operator']);
  return peerError(refusal, 'an evaluation', ['bad-reply', 'it was not used; if this happens again, tell the operator']);
}

/**
 * @typedef {object} Options
 * @property {Uint8Array} root the root that was built in, or that the user chose: nothing is trusted on first use
 * @property {string} [audience] "people" or "business"
 * @property {number} [maxDownload] octets of data files
 * @property {boolean} [cover] send eight points of padding if nothing is new (default)
 * @property {(what: string, done: number, total: number) => void} [progress]
 */

/**
 * Find out who of a book is a member.
 * @param {import('./store.js').MemoryStore} store of this server alone
 * @param {import('./transport.js').Transport} transport
 * @param {{contacts: {name: string, identifiers: string[]}[], identifiers: string[], unreadable?: object[]}} book
 * @param {Options} options
 */
export async function sync(store, transport, book, options) {
  const release = await store.lock();
  try {
    await pin(store, options.root);
    return await new Session(store, transport, book, options).run();
  } finally {
    await release();
  }
}

class Session {
  constructor(store, transport, book, { audience = 'people', maxDownload = 2 ** 30, cover = true, progress = () => {} }) {
    if (audience !== 'people' && audience !== 'business') throw new BadInput('there is no such audience', { hint: 'people, or business' });
    this.store = store;
    this.transport = transport;
    this.book = book;
    this.audience = audience;
    this.maxDownload = maxDownload;
    this.cover = cover;
    this.progress = progress;
    this.groups = grouped(book.identifiers);
    [this.evaluated, this.largest, this.downloaded, this.uncovered, this.withdrawn] = [0, 0, 0, false, null];
  }

  async run() {
    this.state = await readAudience(this.store, this.audience);
    const epochs = Object.keys(this.state.epochs).map(Number);
    const newest = epochs.length ? Math.max(...epochs) : 0;
    this.ready = this.makeReady(newest); // work that depends on the book is done before the first request
    let followed = await this.follow();
    await this.readyFor(followed.manifest.epoch);
    await this.transport.account();
    await this.spend(0);
    try {
      return await this.once(followed);
    } catch (error) {
      const late = error instanceof Refused && (error.problem === 'epoch-changed' || error.problem === 'not-found');
      if (!late && error.refusal !== 'bad-proof') throw error;
      // A publish in between would explain it; the time it took to find that a proof is wrong must not show.
      await this.transport.pace();
      const newer = await this.follow();
      if (newer.published.sha256 === followed.published.sha256) throw error;
      followed = newer;
      await this.readyFor(followed.manifest.epoch);
      return this.once(followed);
    }
  }

  save() {
    return writeAudience(this.store, this.audience, this.state);
  }

  epoch(number) {
    return (this.state.epochs[number] ??= NEW_EPOCH());
  }

  options() {
    const { account } = this.state;
    return { cover: this.cover && covers(account, 8), most: largestBatch(account?.most.burst ?? MAX_BATCH) };
  }

  /** The batches of a round, and those that are blinded ahead. */
  makeReady(epoch) {
    const known = this.state.epochs[epoch] ?? NEW_EPOCH();
    const fresh = this.book.identifiers.filter((one) => !(one in known.tokens));
    const options = this.options();
    const batches = [...known.unfinished, ...makeRound(fresh, known.unfinished, options)];
    const ahead = isQuick(batches) ? batches : batches.slice(0, 1);
    return { epoch, options, batches, old: known.unfinished.length, blinded: ahead.map((batch) => blindBatch(batch, this.book.identifiers)) };
  }

  async readyFor(epoch) {
    if (this.ready?.epoch === epoch) return;
    if (this.ready?.epoch === 0 && !(epoch in this.state.epochs)) {
      // First contact: everything is new in any epoch, and what was blinded has not left this machine.
      this.ready.epoch = epoch;
      return;
    }
    this.ready = this.makeReady(epoch);
    await this.transport.pace();
  }

  async spend(points) {
    const account = used(this.state.account, points, this.transport.quota, seconds());
    if (account !== null) this.state.account = account;
    await this.save();
  }

  /** The published manifest, and the one to use: it, or the epoch that it announces. */
  async follow() {
    this.progress('fetching metadata', 0, 0);
    const { manifest: published, first, gap } = await follow(this.store, this.transport, this.audience);
    const choice = choose(published, this.state.move, { now: seconds(), first });
    this.state.move = choice.move;
    this.withdrawn = choice.withdrawn ?? this.withdrawn;
    for (const [number, key] of [[published.epoch, published.public_key], ...(published.next ? [[published.next.epoch, published.next.public_key]] : [])]) {
      const kept = this.state.epochs[number];
      if (!kept?.public_key) continue;
      if (kept.public_key !== key) {
        // Tokens belong to a key. Another one was announced, or the keys were replaced.
        this.withdrawn = number;
        delete this.state.epochs[number];
        if (this.ready?.epoch === number) this.ready = null;
      } else if (kept.announced && number === published.epoch) {
        // Editions count from 1 again: what was matched, and the files, are of others. Tokens stay.
        Object.assign(kept, { announced: false, holdings: {} });
        for (const token of Object.values(kept.tokens)) token[2] = -1;
      }
    }
    const wanted = [published.epoch, published.next?.epoch];
    for (const number of Object.keys(this.state.epochs))
      if (!wanted.includes(Number(number)) && Number(number) < published.epoch) delete this.state.epochs[number];
    if (gap !== null)
      for (const one of Object.values(this.state.epochs)) {
        // Nobody knows whether what is held is of this history.
        one.holdings = {};
        for (const token of Object.values(one.tokens)) token[2] = -1;
      }
    await this.save();
    return { published, manifest: choice.manifest, gap };
  }

  async once({ published, manifest, gap }) {
    const epoch = this.epoch(manifest.epoch);
    Object.assign(epoch, { public_key: manifest.public_key, announced: manifest.epoch !== published.epoch });
    const plans = await this.plan(manifest, epoch);
    await this.download(plans);
    const opened = await this.inspect(plans, epoch);
    await this.save();
    await this.evaluate(manifest, epoch);
    const members = await this.match(manifest, epoch, plans, opened);
    return this.report(manifest, gap, members);
  }

  /** What is fetched: the same for every book. Stored files are checked whenever something in the book is new. */
  async plan(manifest, epoch) {
    const news = this.book.identifiers.some((one) => (epoch.tokens[one]?.[2] ?? -1) < 0);
    const plans = new Map();
    for (const name of sortedNames(manifest.partitions)) {
      const held = epoch.holdings[name];
      const whole = held && (await this.isWhole(held, news)) ? held : null;
      plans.set(name, planOf(manifest.partitions[name], whole));
    }
    const cost = [...plans.values()].flatMap((plan) => plan.fetch).reduce((sum, file) => sum + file.length, 0);
    if (cost > this.maxDownload)
      throw new ChoiceNeeded(`the download is ${cost} octets, more than the ${this.maxDownload} that are allowed; no file was fetched`, {
        hint: `allow more, or use the Python client with --privacy screen`,
      });
    return plans;
  }

  async isWhole(holding, thorough) {
    for (const file of filesOf(holding)) {
      const octets = await this.store.read(dataName(file.sha256));
      if (octets === null || octets.length !== file.length) return false;
      if (thorough && hex(sha256(octets)) !== file.sha256) return false;
    }
    return true;
  }

  async download(plans) {
    const wanted = new Map();
    for (const [name, plan] of plans) for (const file of plan.fetch) wanted.set(file.sha256, { ...file, name });
    const files = [];
    for (const file of wanted.values()) {
      const stored = await this.store.read(dataName(file.sha256));
      if (stored === null || stored.length !== file.length || hex(sha256(stored)) !== file.sha256) files.push(file);
    }
    const total = files.reduce((sum, file) => sum + file.length, 0);
    let done = 0;
    const fetchOne = async ({ name, sha256: wanted_, length }) => {
      const octets = await this.transport.data(wanted_, length);
      if (octets.length !== length) throw badDirectory(new Refusal('wrong-length'), name);
      if (hex(sha256(octets)) !== wanted_) throw badDirectory(new Refusal('bad-hash', 'it is not the one that was signed'), name);
      await this.store.write(dataName(wanted_), octets);
      this.downloaded += length;
      this.progress('downloading', (done += length), total);
    };
    const waiting = files.values();
    const worker = async () => {
      for (const file of waiting) await fetchOne(file);
    };
    const ended = await Promise.allSettled(Array.from({ length: PARALLEL }, worker));
    const failed = ended.find((one) => one.status === 'rejected');
    if (failed) throw failed.reason;
  }

  read = async (name) => {
    const octets = await this.store.read(dataName(name));
    if (octets === null) throw new OurError('a stored file is gone', { hint: 'sync again' });
    return octets;
  };

  /** Check what was fetched, all of it, before a point is sent: what fails is fetched whole next time. */
  async inspect(plans, epoch) {
    const opened = new Map();
    for (const [name, plan] of plans)
      if (plan.fetch.length)
        try {
          opened.set(name, await inspect(plan, this.read));
        } catch (error) {
          delete epoch.holdings[name];
          await this.save();
          throw error instanceof Refusal ? badDirectory(error, name) : error;
        }
    return opened;
  }

  async evaluate(manifest, epoch) {
    const options = this.options();
    this.fresh = this.book.identifiers.filter((one) => !(one in epoch.tokens)).length;
    let ready = this.ready;
    const same = ready?.epoch === manifest.epoch && JSON.stringify(ready.options) === JSON.stringify(options);
    if (!same) ready = this.makeReady(manifest.epoch);
    this.ready = null;
    const fresh = ready.batches.slice(ready.old);
    const cover = fresh.length > 0 && fresh.every((batch) => !batch.identifiers.length);
    const points = (batches) => batches.reduce((sum, batch) => sum + batch.points, 0);
    this.largest = Math.max(this.largest, points(fresh) || padded(points(ready.batches)));
    epoch.unfinished = ready.batches.slice();
    await this.save(); // before the first batch is sent
    const quick = isQuick(ready.batches);
    const replies = [];
    const work = async () => {
      for (const [batch, blinding, reply] of replies.splice(0)) {
        let found;
        try {
          found = finish(blinding, reply, unhex(manifest.public_key));
        } catch (error) {
          throw error instanceof Refusal ? badEvaluation(error) : error;
        }
        for (const [identifier, token] of found) epoch.tokens[identifier] = [token, false, -1];
        epoch.unfinished = epoch.unfinished.filter((one) => one !== batch);
        await this.save();
      }
    };
    try {
      for (const [i, batch] of ready.batches.entries()) {
        this.progress('evaluating', points(ready.batches.slice(0, i)), points(ready.batches));
        const blinding = ready.blinded[i] ?? blindBatch(batch, this.book.identifiers);
        const last = i === ready.batches.length - 1;
        const reply = await this.transport.evaluate(this.audience, manifest.epoch, blinding.body, { last });
        replies.push([batch, blinding, reply]);
        this.evaluated += batch.points;
        await this.spend(batch.points);
        if (!quick) await work();
      }
    } catch (error) {
      const poor = error instanceof Refused && (error.problem === 'out-of-quota' || error.problem === 'paused');
      if (!poor || !cover) throw error;
      epoch.unfinished = epoch.unfinished.filter((batch) => batch.identifiers.length > 0 || !fresh.includes(batch));
      this.uncovered = true; // the account cannot pay for it, and nobody waits for it
    } finally {
      await work();
    }
  }

  async match(manifest, epoch, plans, opened) {
    const members = new Map();
    for (const [name, mine] of this.groups) {
      const plan = plans.get(name);
      if (name in manifest.unusable) continue;
      if (plan === undefined) {
        for (const one of mine) members.set(one, false);
        continue;
      }
      const subjects = mine.map((one) => {
        const [token, member, edition] = epoch.tokens[one];
        return { token, member, edition };
      });
      const current = subjects.every((one) => one.edition === plan.partition.edition);
      let found;
      try {
        found = current ? subjects.map((one) => one.member) : await matchPartition(plan, subjects, this.read, opened.get(name));
      } catch (error) {
        delete epoch.holdings[name];
        await this.save();
        throw error instanceof Refusal ? badDirectory(error, name) : error;
      }
      mine.forEach((one, i) => {
        members.set(one, found[i]);
        epoch.tokens[one] = [epoch.tokens[one][0], found[i], plan.partition.edition];
      });
    }
    epoch.holdings = Object.fromEntries([...plans].map(([name, plan]) => [name, plan.holding]));
    this.before = this.state.found;
    this.state.found = { ...this.before, ...Object.fromEntries([...members].map(([one, member]) => [one, member ? 1 : 0])) };
    await this.save();
    const keep = new Set(Object.values(this.state.epochs).flatMap((one) => Object.values(one.holdings)).flatMap(filesOf).map((file) => dataName(file.sha256)));
    for (const name of await this.store.names('data-')) if (!keep.has(name)) await this.store.remove(name);
    return members;
  }

  /** The object of `sync --json`: docs/json-schema.json, without what only the Python client has. */
  async report(manifest, gap, members) {
    const chosen = (test) =>
      this.book.contacts.flatMap(({ name, identifiers }) => identifiers.filter(test).map((identifier) => ({ name, identifier, written: identifier, label: null })));
    const unusable = Object.entries(manifest.unusable)
      .filter(([name]) => this.groups.has(name))
      .map(([partition, reason]) => ({ partition, reason: `is not known to this program (${reason})`, identifiers: this.groups.get(partition).length }));
    const rates = [...this.groups.keys()].flatMap((name) => manifest.partitions[name] ?? []).map((one) => one.count / 2 ** (one.slot_bits + one.remainder_bits));
    const result = {
      matches: chosen((one) => members.get(one) === true),
      joined: chosen((one) => members.get(one) === true && this.before[one] === 0),
      left: chosen((one) => members.get(one) === false && this.before[one] === 1),
      contacts: this.book.contacts.length,
      identifiers: this.book.identifiers.length,
      unserved: 0, // identifiers are numbers, and every number is looked up
      further_forms: 0,
      unreadable: (this.book.unreadable ?? []).map(({ file, place, reason }) => ({ file, place, reason })),
      unusable,
      evaluated: this.evaluated,
      new_identifiers: this.fresh,
      bytes_sent: this.transport.sent,
      bytes_received: this.transport.received,
      audience: this.audience,
      epoch: manifest.epoch,
      edition: manifest.edition,
      members: manifest.count,
      privacy: 'download',
      partitions: 'all',
      false_positive_rate: Math.max(0, ...rates),
      quota: this.transport.quota,
      leak_odds: {}, // no bucket is asked for
      labels: null, // not read
      leak: leakOf(this.uncovered ? padded(this.evaluated) : this.largest, this.cover),
      uncovered: this.uncovered,
      unchecked_history: gap,
      withdrawn_epoch: this.withdrawn,
    };
    await told(this.store, this.audience);
    return result;
  }
}

function grouped(identifiers) {
  const found = new Map();
  for (const one of identifiers) {
    const name = partitionOf(one);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(one);
  }
  return found;
}

function leakOf(points, covered) {
  const low = points > 8 ? points / 2 + 1 : covered ? 0 : 1;
  const what = points
    ? `looked up ${low} to ${points} new numbers; not which, from which countries, or who matched`
    : 'asked for updates and has nothing new to look up; nothing else about the address book';
  return `the server could learn that this account ${what}`;
}

