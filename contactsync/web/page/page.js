// The page for people: from an address book to who of it is here. docs/web.md, "The page".
import { Desk, Failure } from './desk.js';
import { Leaving } from './leaving.js';
import { Matches, csvOf, jsonOf, save } from './matches.js';
import { canPick, pick } from './picker.js';
import { showProblem } from './problems.js';
import { $, NAMES, element, preferred, translate, wordsOf } from './words.js';

const STEPS = ['choose', 'check', 'work', 'result'];

// The code of a link: out of the address, and so out of the history, before anything else.
function takeCode() {
  const code = /^#code=([\w.-]{1,100})$/.exec(location.hash)?.[1] ?? null;
  if (code !== null) history.replaceState(null, '', location.pathname + location.search);
  return code;
}

let code = takeCode();
let signedIn = null; // until when (milliseconds), if a code brought access
let words = wordsOf(preferred());
let service = null; // what the worker says of it when it is opened
let files = []; // of the book that was read
let counts = null; // of that book
let reading = false;
let progress = null;
let problem = null; // {failed, retry} that is shown
let matches = null;
let keptNow = null;
let region = null; // that was chosen; null: not yet
const leaving = new Leaving();
const desk = new Desk((event, given) => (event === 'request' ? leaving.add(given, words) : showProgress(given)));

function step(name, { focus = true } = {}) {
  for (const one of STEPS) $(one).hidden = one !== name;
  document.body.dataset.step = name;
  if (focus) $(`${name}-title`).focus();
}

/** Run it; whatever goes wrong is said, with what to do. */
async function attempt(work, retry = null) {
  clearProblem();
  try {
    await work();
    return true;
  } catch (error) {
    problem = { failed: error instanceof Failure ? error.failed : { kind: 'page', own: 'fault', detail: `${error?.name}: ${error?.message}` }, retry };
    showProblem($('problem'), words, problem.failed, retry);
    $('problem').querySelector('h2').focus(); // on a phone it would be out of sight
    return false;
  }
}

function clearProblem() {
  problem = null;
  $('problem').hidden = true;
  $('problem').replaceChildren();
}

// The service, and what is kept of it

async function open() {
  if (!isSecureContext) throw new Failure({ kind: 'page', own: 'insecure', detail: location.origin });
  service = await desk.call('open');
  matches ??= new Matches(service.link);
  keptNow = service.kept;
  showService();
  chooseRegion();
  // Before a code is shown to who may be somebody else.
  if (keptNow.other) throw new Failure({ kind: 'page', own: 'root', detail: `the fingerprint is now ${service.fingerprint}` });
  if (code !== null) await signIn();
  else if (keptNow.credential && signedIn === null) [$('credential').value, $('keep').checked] = [keptNow.credential, true];
}

async function signIn() {
  const once = code;
  code = null;
  const { credential, ends } = await desk.call('signIn', { code: once });
  $('credential').value = credential;
  signedIn = ends;
  showSignedIn();
}

function showSignedIn() {
  $('by-hand').hidden = signedIn !== null;
  $('signed-in').hidden = signedIn === null;
  $('signed-in').textContent = signedIn === null ? '' : words.signedIn(words.moment(signedIn));
}

function showService() {
  if (!service) return;
  const { name, url, fingerprint, same } = service;
  $('brand').textContent = name || 'contactsync';
  document.title = name ? `${name} – contactsync` : 'contactsync';
  if (name) document.querySelector('h1').textContent = words.titleOf(`\u2068${name}\u2069`);
  $('trust-who').textContent = words.trustWho(url, same);
  $('trust-why').textContent = /^https?:$/.test(location.protocol) ? words.trustWhy : words.trustOwn;
  $('fingerprint').textContent = fingerprint.match(/.{4}/g).join(' ');
  showKept();
}

async function showKept(said = null) {
  if (!keptNow) return;
  const { since, size, credential } = keptNow;
  const persisted = since !== null && ((await navigator.storage.persisted?.()) ?? false);
  const some = [words.keptSome(words.date(since ?? 0), size), credential ? words.keptCode : '', persisted ? words.keptFixed : ''];
  $('kept').textContent = said ?? (since === null ? words.keptNothing : some.filter(Boolean).join(' '));
  $('persist').hidden = since === null || persisted || !navigator.storage.persist;
}

function chooseRegion() {
  const select = $('region');
  const chosen = region ?? regionOfBrowser();
  const known = (service?.regions ?? []).map((code) => [code, words.regionOf(code)]).sort((one, two) => words.order.compare(one[1], two[1]));
  select.replaceChildren(element('option', { value: '' }, words.regionNone), ...known.map(([code, name]) => element('option', { value: code }, name)));
  select.value = known.some(([code]) => code === chosen) ? chosen : '';
}

function regionOfBrowser() {
  for (const one of navigator.languages ?? [navigator.language]) {
    const found = /-([A-Z]{2})(?:-|$)/.exec(one);
    if (found) return found[1];
  }
  return { de: 'DE' }[words.code] ?? '';
}

// The address book

const readFiles = (given) => attempt(() => readThem(given));

async function readThem(given) {
  if (!given.length) return;
  files = [...given];
  $('now').textContent = words.reading;
  $('bar').removeAttribute('value');
  progress = null;
  step('work', { focus: false });
  reading = true;
  try {
    counts = await desk.call('read', { files, region: $('region').value || null });
  } catch (error) {
    step('choose', { focus: false });
    throw error;
  } finally {
    reading = false;
  }
  showCounts();
  step('check');
}

function showCounts() {
  $('fresh').hidden = leaving.sent > 0;
  if (!counts) return;
  const { contacts, identifiers, unread, unreadable, points } = counts;
  const figures = [[contacts, words.contacts], [identifiers, words.identifiers], [unread, words.unread]];
  $('counts').replaceChildren(...figures.map(([n, what]) => element('div', null, element('dt', null, what), element('dd', null, words.number(n)))));
  $('unreadable').hidden = unread === 0;
  $('unreadable-title').textContent = words.unreadTitle(unread);
  const rows = unreadable.map(({ file, place, reason, hint }) => {
    const [why, todo] = [words.reasons[reason] ?? reason, words.hints[hint] ?? hint];
    return element('li', null, why, element('span', null, element('bdi', null, file), `, ${words.place(place)}${todo ? `: ${todo}` : ''}`));
  });
  if (unread > unreadable.length) rows.push(element('li', null, words.unreadMore(unread - unreadable.length)));
  $('unreadable-list').replaceChildren(...rows);
  $('will-send').textContent = identifiers ? words.willSend(identifiers, points) : words.nothingToSend;
  $('go').hidden = identifiers === 0;
}

// The sync

async function start() {
  const credential = $('credential').value.trim();
  const valid = /^[\x21-\x7e]+$/.test(credential);
  $('credential-wrong').textContent = valid ? '' : words.credentialMissing;
  $('credential').setAttribute('aria-invalid', String(!valid));
  if (!valid) return $('credential').focus();
  showProgress({ what: '', done: 0, total: 0 });
  step('work');
  await attempt(() => look(credential), start);
  return showKept();
}

async function look(credential) {
  try {
    const { report, kept } = await desk.call('start', { credential, keep: $('keep').checked });
    keptNow = kept;
    leaving.learnt(report.leak, words);
    matches.show(report, words);
    step('result');
  } catch (error) {
    showCounts();
    step('check', { focus: false });
    keptNow = await desk.call('kept').catch(() => keptNow);
    if (signedIn !== null && error.failed?.problem === 'bad-credential') {
      [signedIn, $('credential').value] = [null, '']; // it has ended: a code can be entered instead
      showSignedIn();
    }
    throw error;
  }
}

function showProgress(given) {
  progress = given;
  const { what, done, total } = given;
  const text = { 'fetching metadata': words.metadata, downloading: words.downloading(done, total), evaluating: words.evaluating(done, total) };
  $('now').textContent = text[what] ?? words.begins;
  if (total) [$('bar').max, $('bar').value] = [total, done];
  else $('bar').removeAttribute('value');
}

async function stop() {
  desk.stop();
  const wasReading = reading;
  reading = false;
  await attempt(async () => {
    service = await desk.call('open');
    keptNow = service.kept;
    showKept();
    if (!wasReading) counts = await desk.call('read', { files, region: $('region').value || null });
  });
  showCounts();
  step(wasReading ? 'choose' : 'check');
}

async function forget() {
  $('sure').close();
  await attempt(async () => {
    keptNow = await desk.call('forget');
    $('credential').value = '';
    $('keep').checked = false;
    signedIn = null;
    showSignedIn();
    matches?.show({ matches: [], joined: [], left: [], unusable: [], unchecked_history: null, withdrawn_epoch: null, uncovered: false, contacts: 0, identifiers: 0, members: 0 }, words);
    if (!$('result').hidden) step('choose', { focus: false });
    await showKept(words.forgotten);
    $('kept-title').focus();
  });
}

// Language

function speak(code) {
  words = wordsOf(code);
  translate(words);
  const buttons = Object.entries(NAMES).map(([one, name]) => {
    const button = element('button', { type: 'button', lang: one, 'aria-pressed': String(one === code) }, name);
    button.addEventListener('click', () => {
      speak(one);
      $('languages').querySelector('[aria-pressed="true"]').focus();
    });
    return button;
  });
  $('languages').replaceChildren(...buttons);
  $('how').replaceChildren(...words.how.flatMap(([where, what]) => [element('dt', null, where), element('dd', null, what)]));
  showService();
  showSignedIn();
  chooseRegion();
  showCounts();
  leaving.show(words);
  if (!$('work').hidden && progress) showProgress(progress);
  if (matches?.report) matches.show(matches.report, words);
  if (problem) showProblem($('problem'), words, problem.failed, problem.retry);
}

function listen() {
  const drop = $('drop');
  $('file').addEventListener('change', async () => {
    await readFiles($('file').files);
    $('file').value = ''; // so that the same file can be chosen again
  });
  for (const name of ['dragenter', 'dragover'])
    addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle('over', !$('choose').hidden);
    });
  addEventListener('dragleave', (event) => event.relatedTarget ?? drop.classList.remove('over'));
  addEventListener('drop', (event) => {
    event.preventDefault(); // else the browser would leave the page for the file
    drop.classList.remove('over');
    if (!$('choose').hidden) readFiles(event.dataTransfer.files);
  });
  $('region').addEventListener('change', () => {
    region = $('region').value;
  });
  $('pick').hidden = !canPick();
  $('pick').addEventListener('click', () => attempt(async () => {
    const file = await pick();
    if (file) await readThem([file]);
  }));
  $('go').addEventListener('submit', (event) => {
    event.preventDefault();
    start();
  });
  for (const id of ['other', 'again'])
    $(id).addEventListener('click', () => {
      clearProblem();
      step('choose');
    });
  $('stop').addEventListener('click', stop);
  $('csv').addEventListener('click', () => save('contacts-here.csv', 'text/csv', csvOf(matches.report.matches)));
  $('json').addEventListener('click', () => save('contacts-here.json', 'application/json', jsonOf(matches.report)));
  $('forget').addEventListener('click', () => $('sure').showModal());
  $('sure-no').addEventListener('click', () => $('sure').close());
  $('sure-yes').addEventListener('click', forget);
  addEventListener('hashchange', () => {
    code = takeCode(); // a link that was followed into this tab
    if (code !== null) attempt(open);
  });
  $('persist').addEventListener('click', () => attempt(async () => {
    await navigator.storage.persist();
    await showKept();
  }));
}

speak(words.code);
listen();
await attempt(open, () => location.reload());
document.documentElement.dataset.ready = 'yes';
