// One sync: who of a book is a member. Files first, then points, then the work on both; docs/protocol.md has the order.
import { tooLarge } from './choices.js';
import { OurError, Refusal, Refused } from './errors.js';
import { dropKeyless, dropLabels, forgetUnseen, keepEpochs, lacksKeys, newEpoch, newRow, reachedIn } from './epochs.js';
import { servedKinds } from './kinds.js';
import { labelBySome, labelPartition } from './labelled.js';
import { ownOf } from './log/policy.js';
import { contextOf } from './labels.js';
import { Ledger } from './ledger.js';
import { sortedNames } from './manifest.js';
import { choose } from './moving.js';
import { allForms } from './forms.js';
import { follow, kindsSeen, peerError, pin, told } from './follow.js';
import { digest, hex, unhex } from './octets.js';
import { optionsOf } from './options.js';
import { patched, patchesOf } from './patches.js';
import { peopleOf } from './people.js';
import { costOf, filesOf, freshOf, inspect, leadsOn, matchPartition, planOf, retrace } from './plan.js';
import { questionOf } from './question.js';
import { covers, used } from './quota.js';
import { reportOf } from './report.js';
import { readyGroup } from './group/group.js';
import { blindBatch, finish, isQuick, largestBatch, makeRound, padded } from './round.js';
import { settle } from './settling.js';
import { dataName, readAudience, writeAudience } from './store.js';
import { MAX_BATCH } from './voprf.js';

const PARALLEL = 6; // data files that are fetched at a time
const seconds = () => Math.floor(Date.now() / 1000);

const badDirectory = (refusal, name, then = 'it is then fetched whole') =>
  peerError(refusal, `a file of partition ${name}`, ['bad-directory', `sync again: ${then}; tell the operator if it happens again`]);

function badEvaluation(refusal) {
  if (refusal.word === 'bad-proof')
    return peerError(new Refusal('bad-proof', 'it was not made with the published key'), 'an evaluation',
      ['bad-proof', 'it was not used; if this happens again, tell the operator']);
  return peerError(refusal, 'an evaluation', ['bad-reply', 'it was not used; if this happens again, tell the operator']);
}

/**
 * Find out who of a book is a member.
 * @param {import('./store.js').MemoryStore} store of this server alone
 * @param {import('./transport.js').Transport} transport
 * @param {{contacts: {name: string, identifiers: string[]}[], identifiers: string[], unreadable?: object[]}} book
 * @param {import('./options.js').Options} options
 */
export async function sync(store, transport, book, options) {
  const release = await store.lock();
  try {
    await Promise.all([readyGroup(), pin(store, options.root)]); // before anything that depends on the book
    return await new Session(store, transport, book, options).run();
  } catch (error) {
    transport.stop();
    throw error;
  } finally {
    await release();
  }
}

class Session {
  constructor(store, transport, book, options) {
    const { audience, privacy, maxDownload, buckets, leakBudget, cover, labels, witnesses, quorum, newLog, progress } = optionsOf(options);
    this.store = store;
    this.transport = transport;
    this.book = book;
    this.audience = audience;
    this.screens = privacy === 'screen';
    this.allowed = { limit: maxDownload, buckets, leakBudget, whole: 0 };
    this.cover = cover;
    this.labels = labels;
    this.watched = { own: ownOf(witnesses, quorum), newLog };
    this.keyed = false; // whether identifiers need a label key
    this.checked = new Set(); // SHA-256 of stored files that were found to be whole
    this.progress = progress;
    this.told = []; // by lists of buckets: settling.js
    [this.evaluated, this.largest, this.downloaded, this.uncovered, this.withdrawn] = [0, 0, 0, false, null];
  }

  async run() {
    this.state = await readAudience(this.store, this.audience);
    this.ledger = await Ledger.open(this.store);
    const epochs = Object.keys(this.state.epochs).map(Number);
    const newest = epochs.length ? Math.max(...epochs) : 0;
    this.ask((await kindsSeen(this.store, this.audience)) ?? servedKinds([]));
    await this.checkStored();
    this.ready = this.makeReady(newest); // work that depends on the book is done before the first request
    let followed = await this.follow();
    await this.readyFor(followed.manifest);
    await this.transport.account();
    this.spend(0);
    try {
      return await this.once(followed);
    } catch (error) {
      const late = error instanceof Refused && (error.problem === 'epoch-changed' || error.problem === 'not-found');
      if (!late && error.refusal !== 'bad-proof') throw error;
      if (this.told.length) {
        // If a server could get a list repeated by refusing it, it would see two lists for one question.
        error.hint = 'some requests were already sent and are not repeated in this run; sync again';
        throw error;
      }
      // A publish in between would explain it; the time it took to find that a proof is wrong must not show.
      await this.transport.pace();
      const newer = await this.follow();
      if (newer.published.sha256 === followed.published.sha256) throw error;
      followed = newer;
      await this.readyFor(followed.manifest);
      return this.once(followed);
    }
  }

  /** What is looked up: what the book has of these kinds. */
  ask(kinds) {
    this.kinds = kinds;
    this.question = questionOf(this.book.identifiers, kinds);
  }

  save() {
    return writeAudience(this.store, this.audience, this.state);
  }

  epoch(number) {
    return (this.state.epochs[number] ??= newEpoch());
  }

  options() {
    const { account } = this.state;
    return { cover: this.cover && covers(account, 8), most: largestBatch(account?.most.burst ?? MAX_BATCH) };
  }

  /** What must be evaluated. With labels also what has no key, whether or not it is a member. */
  freshOf({ tokens }) {
    return this.question.identifiers.filter((one) => !(one in tokens) || (this.keyed && tokens[one].key === null));
  }

  /** The batches of a round, and those that are blinded ahead. */
  makeReady(epoch) {
    const known = this.state.epochs[epoch] ?? newEpoch();
    const fresh = this.freshOf(known);
    const options = this.options();
    const batches = [...known.unfinished, ...makeRound(fresh, known.unfinished, options)];
    const ahead = isQuick(batches) ? batches : batches.slice(0, 1);
    return { epoch, options, batches, old: known.unfinished.length, blinded: ahead.map((batch) => blindBatch(batch, this.question.identifiers)) };
  }

  async readyFor({ epoch, partitions, unusable }) {
    const kinds = servedKinds([...Object.keys(partitions), ...Object.keys(unusable)]);
    const same = kinds.join() === this.kinds.join();
    if (!same) this.ask(kinds); // whether or not the book has any: the next request waits for a beat
    this.keyed = this.labels && Object.values(partitions).some((one) => one.labels !== null);
    if (this.keyed && lacksKeys(this.state.epochs[epoch] ?? newEpoch())) this.ready = null; // whoever of them is in the book
    if (same && this.ready?.epoch === epoch) return;
    if (same && this.ready?.epoch === 0 && !(epoch in this.state.epochs)) {
      // First contact: everything is new in any epoch, and what was blinded has not left this machine.
      this.ready.epoch = epoch;
      return;
    }
    const first = this.ready?.epoch === 0; // then how long it takes shows no more than the round itself
    this.ready = this.makeReady(epoch);
    await this.transport.pace({ quick: first });
  }

  spend(points) {
    const account = used(this.state.account, points, this.transport.quota, seconds());
    if (account !== null) this.state.account = account;
  }

  /** The published manifest, and the one to use: it, or the epoch that it announces. */
  async follow() {
    this.progress('fetching metadata', 0, 0);
    const { manifest: published, first, gap } = await follow(this.store, this.transport, this.audience, this.watched);
    this.watched.newLog = false; // once
    const choice = choose(published, this.state.move, { now: seconds(), first, asks: this.screens });
    this.state.move = choice.move;
    this.withdrawn = choice.withdrawn ?? this.withdrawn;
    const { replaced, promoted } = keepEpochs(this.state.epochs, published, gap);
    if (promoted) await this.ledger.promoted(this.audience, promoted.epoch, promoted.editions);
    for (const number of replaced) {
      this.withdrawn = number;
      await this.ledger.withdrawn(this.audience, number);
      if (this.ready?.epoch === number) this.ready = null;
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
    this.testing = this.tested(plans, epoch);
    await this.evaluate(manifest, epoch);
    const members = await this.match(manifest, epoch, plans, opened);
    return this.report(manifest, epoch, gap, members);
  }

  /** What is fetched: the same for every book. Stored files are checked whenever something in the book is new. */
  async plan(manifest, epoch) {
    const news = this.hasNews(epoch);
    const stored = async (holding) => (holding && (await this.isWhole(holding, news)) ? holding : null);
    const held = new Map();
    for (const name of sortedNames(manifest.partitions)) {
      const [base, screen, sidecar] = await Promise.all(['holdings', 'screens', 'sidecars'].map((kind) => stored(epoch[kind][name])));
      const wanted = (this.question.groups.get(name) ?? []).some((one) => epoch.tokens[one]?.edition !== manifest.partitions[name].edition);
      held.set(name, { held: base, screen, sidecar, wanted });
    }
    const plansFor = (screens, labels) =>
      new Map([...held].map(([name, one]) => [name, planOf(manifest.partitions[name], { ...one, labels, buckets: screens ? this.allowed.buckets : null })]));
    const [plans, { received: spent }] = [plansFor(this.screens, this.labels), this.transport];
    const cost = (some) => costOf(some.values()) + spent;
    this.allowed.whole = cost(plansFor(false, this.labels)) - spent;
    const [needed, limit] = [cost(plans), this.allowed.limit];
    if (needed > limit) {
      const less = (octets) => (octets < needed ? octets : null);
      throw tooLarge({ needed, limit, screen: less(cost(plansFor(true, this.labels))), bare: less(cost(plansFor(this.screens, false))) });
    }
    return plans;
  }

  /** The partitions in which somebody will be tested against a screen, so that a list is asked for. */
  tested(plans, epoch) {
    const isTested = (name, mine) => {
      const plan = plans.get(name);
      const rows = mine.map((one) => ({ edition: epoch.tokens[one]?.edition ?? -1 }));
      return plan?.kind === 'screen' && rows.some(({ edition }) => edition !== plan.partition.edition) && freshOf(plan, rows).includes(true);
    };
    return [...this.question.groups].filter(([name, mine]) => isTested(name, mine)).map(([name]) => name);
  }

  hasNews(epoch) {
    const isNew = (one) => (epoch.tokens[one]?.edition ?? -1) < 0;
    const isHeld = (name) => name in epoch.holdings || name in epoch.screens;
    return this.freshOf(epoch).length > 0 || [...this.question.groups].some(([name, mine]) => isHeld(name) && mine.some(isNew));
  }

  /** Check stored files ahead, where something of the book is new: how long that takes shows in no request. */
  async checkStored() {
    const epochs = Object.values(this.state.epochs).filter((epoch) => this.hasNews(epoch));
    const holdings = epochs.flatMap((epoch) => [epoch.holdings, epoch.screens, epoch.sidecars].flatMap(Object.values));
    for (const file of holdings.flatMap(filesOf)) await this.isStored(file);
  }

  /** Whether a file is stored, as it was signed. Remembers those that are. */
  async isStored({ sha256, length }) {
    if (this.checked.has(sha256)) return true;
    const octets = await this.store.read(dataName(sha256));
    if (octets?.length !== length || hex(await digest(octets)) !== sha256) return false;
    this.checked.add(sha256);
    return true;
  }

  /** Whether the files of a holding are stored; `thorough`: and are as they were signed. Patches, which each sync reads, always. */
  async isWhole(holding, thorough) {
    const always = new Set((holding.patches ?? []).map(({ file }) => file));
    const whole = (file) => (thorough || always.has(file) ? this.isStored(file) : this.store.holds(dataName(file.sha256), file.length));
    return (await Promise.all(filesOf(holding).map(whole))).every(Boolean);
  }

  async download(plans, { last = false } = {}) {
    const wanted = new Map();
    for (const [name, plan] of plans) for (const file of plan.fetch) wanted.set(file.sha256, { ...file, name });
    const files = [];
    for (const file of wanted.values()) if (!(await this.isStored(file))) files.push(file);
    const total = files.reduce((sum, file) => sum + file.length, 0);
    let done = 0;
    const fetchOne = async ({ name, sha256: wanted_, length }) => {
      const octets = await this.transport.data(wanted_, length, { last: last && files.length === 1 });
      if (octets.length !== length) throw badDirectory(new Refusal('wrong-length'), name);
      if (hex(await digest(octets)) !== wanted_) throw badDirectory(new Refusal('bad-hash', 'it is not the one that was signed'), name);
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

  /** Check what no earlier sync did, all of it, and where all else leads, before a point is sent: what fails is fetched whole next time. */
  async inspect(plans, epoch) {
    const opened = new Map();
    for (const [name, plan] of plans)
      try {
        if (plan.unchecked) opened.set(name, await inspect(plan, this.read));
        else await retrace(plan, this.read);
      } catch (error) {
        throw await this.dropped(epoch, name, error);
      }
    return opened;
  }

  /** The error of a partition whose files are not good: they are fetched whole next time. */
  async dropped(epoch, name, error) {
    for (const kept of [epoch.holdings, epoch.screens, epoch.sidecars]) delete kept[name];
    await this.save();
    return error instanceof Refusal ? badDirectory(error, name) : error;
  }

  async evaluate(manifest, epoch) {
    const options = this.options();
    this.fresh = this.freshOf(epoch).length;
    this.covered = options.cover;
    this.uncovered = this.cover && !options.cover;
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
        for (const [identifier, { token, key }] of found) epoch.tokens[identifier] = { ...newRow(token, key), ...epoch.tokens[identifier], token, key };
        epoch.unfinished = epoch.unfinished.filter((one) => one !== batch);
        await this.save();
      }
    };
    try {
      for (const [i, batch] of ready.batches.entries()) {
        this.progress('evaluating', points(ready.batches.slice(0, i)), points(ready.batches));
        const blinding = ready.blinded[i] ?? blindBatch(batch, this.question.identifiers);
        const last = i === ready.batches.length - 1 && !this.testing.length;
        const reply = await this.transport.evaluate(this.audience, manifest.epoch, blinding.body, { last });
        replies.push([batch, blinding, reply]);
        this.evaluated += batch.points;
        this.spend(batch.points);
        if (quick) continue; // all replies are worked on and stored together, after the last
        await this.save();
        await work();
      }
    } catch (error) {
      const poor = error instanceof Refused && (error.problem === 'out-of-quota' || error.problem === 'paused');
      if (!poor || !cover) throw error;
      epoch.unfinished = epoch.unfinished.filter((batch) => batch.identifiers.length > 0 || !fresh.includes(batch));
      this.uncovered = true; // the account cannot pay for it, and nobody waits for it
    } finally {
      await work().finally(() => this.save()); // what was spent, whatever the replies are
    }
  }

  async match(manifest, epoch, plans, opened) {
    const [members, entries] = [new Map(), new Map()];
    for (const [name, mine] of this.question.groups) {
      const plan = plans.get(name);
      if (name in manifest.unusable) continue;
      if (plan === undefined) {
        for (const one of mine) members.set(one, false);
        continue;
      }
      const subjects = mine.map((one) => epoch.tokens[one]);
      const current = subjects.every((one) => one.edition === plan.partition.edition);
      let [found, patches] = [null, []];
      try {
        patches = await patchesOf(plan, this.read);
        if (current) found = subjects.map((one) => one.member);
        else if (plan.kind === 'base') found = await matchPartition(plan, subjects, this.read, opened.get(name));
      } catch (error) {
        throw await this.dropped(epoch, name, error);
      }
      if (!found) {
        const settled = await this.settle(manifest, plan, subjects, opened.get(name));
        found = settled.member;
        plans.set(name, settled.plan);
        if (settled.plan !== plan) opened.delete(name);
        for (const [i, entry] of settled.entries) entries.set(subjects[i], entry);
      }
      const now = patched(plan.partition, patches, subjects.map(({ token }) => token), found);
      mine.forEach((one, i) => {
        members.set(one, now[i]);
        Object.assign(epoch.tokens[one], { member: found[i], edition: plan.partition.edition }); // by the base: patches stay apart
      });
    }
    await this.label(epoch, { context: contextOf(this.audience, manifest.epoch), members, plans, opened, entries });
    const used = (kind) => Object.fromEntries([...plans].filter(([, plan]) => plan.kind === kind).map(([name, plan]) => [name, plan.holding]));
    Object.assign(epoch, { holdings: used('base'), screens: used('screen'), reached: epoch.announced ? reachedIn(manifest.partitions) : null });
    const earlier = Object.entries(epoch.sidecars).filter(([name, sidecar]) => !plans.get(name)?.sidecar && leadsOn(manifest.partitions[name], sidecar));
    epoch.sidecars = Object.fromEntries([...earlier, ...[...plans].flatMap(([name, plan]) => (plan.sidecar ? [[name, plan.sidecar]] : []))]);
    this.before = this.state.found;
    this.state.found = { ...this.before, ...Object.fromEntries([...members].map(([one, member]) => [one, member ? 1 : 0])) };
    forgetUnseen(this.state, allForms(this.book.identifiers));
    await this.save();
    await this.ledger.settled(this.audience, manifest.epoch, this.told.map(({ name }) => name));
    const holdings = Object.values(this.state.epochs).flatMap((one) => [one.holdings, one.screens, one.sidecars].flatMap(Object.values));
    const keep = new Set(holdings.flatMap(filesOf).map((file) => dataName(file.sha256)));
    for (const name of await this.store.names('data-')) if (!keep.has(name)) await this.store.remove(name);
    return members;
  }

  /** Who of a large partition is a member: what was not settled by its screen is asked for. */
  async settle(manifest, plan, subjects, screen) {
    const { name } = plan.partition;
    this.progress('fetching buckets', 0, 0);
    const desk = {
      audience: this.audience, epoch: manifest.epoch, read: this.read, transport: this.transport, ledger: this.ledger, told: this.told,
      allowed: this.allowed, download: (of, whole, options) => this.download(new Map([[of, whole]]), options),
    };
    try {
      return await settle(plan, subjects, desk, { screen, last: name === this.testing.at(-1) });
    } catch (error) {
      throw error instanceof Refusal ? badDirectory(error, name, 'the same is asked for again') : error;
    }
  }

  /** What the members are called. Nothing is sent for it, and the connection is closed. `entries` came with buckets, by row. */
  async label(epoch, { context, members, plans, opened, entries }) {
    dropLabels(epoch, { all: !this.labels, members });
    this.labelled = null;
    for (const [name, mine] of this.question.groups) {
      const plan = plans.get(name);
      if (!plan?.labels) continue;
      const rows = mine.filter((one) => members.get(one)).map((one) => epoch.tokens[one]);
      let more;
      try {
        if (plan.kind === 'screen') more = await labelBySome(rows, entries, plan.partition.labels.edition, context);
        else more = { unopened: await labelPartition(plan, rows, this.read, context, opened.get(name)), unknown: 0 };
      } catch (error) {
        throw await this.dropped(epoch, name, error);
      }
      const { unopened, unknown } = this.labelled ?? { unopened: 0, unknown: 0 };
      this.labelled = { unopened: unopened + more.unopened, unknown: unknown + more.unknown };
    }
    if (this.labelled) dropKeyless(epoch);
  }

  async report(manifest, epoch, gap, members) {
    const people = peopleOf(this.book.contacts, members, this.before, (one) => epoch.tokens[one].label);
    const { evaluated, fresh, largest, uncovered, labelled: labels, transport, book, question, withdrawn } = this;
    const round = { evaluated, fresh, largest, uncovered, covered: this.covered };
    const mode = { privacy: this.screens ? 'screen' : 'download', told: this.told, odds: this.ledger.odds() };
    const result = reportOf({ manifest, book, question, people, round, labels, transport, gap, withdrawn, ...mode });
    if (gap !== null) await told(this.store, this.audience);
    return result;
  }
}
