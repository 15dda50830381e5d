// One Chromium for a run of tests. Each line of stdin is a call, {id, call, given}; each line of stdout its answer.
//
// A visit is a browser context of its own, with its pages: nothing is shared with another visit.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [executablePath] = process.argv.slice(2);
const QUIET = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', ...QUIET] });
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const visits = new Map();
const pages = new Map();
const held = []; // requests that wait
let last = 0;

/** Before the page's own scripts: count what it may not do, and the longest time between two frames. */
function observe(fakes) {
  globalThis.__violations = [];
  addEventListener('securitypolicyviolation', (event) => globalThis.__violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
  globalThis.__gap = 0;
  let before = performance.now();
  requestAnimationFrame(function frame(now) {
    globalThis.__gap = Math.max(globalThis.__gap, now - before);
    before = now;
    requestAnimationFrame(frame);
  });
  if (fakes.noServiceWorker) Object.defineProperty(navigator, 'serviceWorker', { value: undefined });
  if (fakes.contacts)
    Object.defineProperty(navigator, 'contacts', { value: { getProperties: async () => ['name', 'tel'], select: async () => fakes.contacts } });
}

const calls = {
  async visit({ fakes = {}, ...options }) {
    const context = await browser.newContext({ acceptDownloads: true, ...options });
    context.setDefaultTimeout(20000);
    await context.addInitScript(observe, fakes);
    const id = ++last;
    visits.set(id, context);
    return id;
  },
  /** A browser with an unpacked extension: the visit, and the address of its page. */
  async extension({ folder }) {
    const args = ['--no-sandbox', ...QUIET, `--disable-extensions-except=${folder}`, `--load-extension=${folder}`];
    const context = await chromium.launchPersistentContext('', { executablePath, ignoreDefaultArgs: ['--disable-extensions'], args, locale: 'en-GB' });
    context.setDefaultTimeout(20000);
    await context.addInitScript(observe, {});
    const worker = context.serviceWorkers()[0] ?? (await context.waitForEvent('serviceworker', { timeout: 20000 }));
    const id = ++last;
    visits.set(id, context);
    return [id, new URL('/index.html', worker.url()).href];
  },
  async leave({ visit }) {
    await visits.get(visit).close();
    visits.delete(visit);
    for (const [id, page] of pages) if (page.visit === visit) pages.delete(id);
  },
  /** A tab; what it asks for, and what its console says, is written down. */
  async tab({ visit, url }) {
    const page = await visits.get(visit).newPage();
    const kept = { page, visit, requests: [], console: [], answered: { kept: [], network: [] } };
    page.on('response', (reply) => kept.answered[reply.fromServiceWorker() ? 'kept' : 'network'].push(reply.url()));
    page.on('request', (request) => kept.requests.push(`${request.method()} ${request.url()}`));
    page.on('console', (message) => kept.console.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => kept.console.push(`uncaught: ${error.message}`));
    const id = ++last;
    pages.set(id, kept);
    if (url) await calls.go({ tab: id, url });
    return id;
  },
  /** Addresses by who answered: the service worker, or the network. */
  answered: ({ tab }) => pages.get(tab).answered,
  async leaveTab({ tab }) {
    await pages.get(tab).page.close();
    pages.delete(tab);
  },
  async go({ tab, url }) {
    await pages.get(tab).page.goto(url);
    await pages.get(tab).page.locator('html[data-ready]').waitFor();
  },
  click: ({ tab, selector }) => pages.get(tab).page.locator(selector).click(),
  fill: ({ tab, selector, text }) => pages.get(tab).page.locator(selector).fill(text),
  press: ({ tab, key }) => pages.get(tab).page.keyboard.press(key),
  choose: ({ tab, selector, value }) => pages.get(tab).page.locator(selector).selectOption(value),
  files: ({ tab, selector, paths }) => pages.get(tab).page.locator(selector).setInputFiles(paths),
  wait: ({ tab, selector, timeout = 60000 }) => pages.get(tab).page.locator(selector).first().waitFor({ timeout }),
  text: ({ tab, selector }) => pages.get(tab).page.locator(selector).innerText(),
  texts: ({ tab, selector }) => pages.get(tab).page.locator(selector).allInnerTexts(),
  visible: ({ tab, selector }) => pages.get(tab).page.locator(selector).isVisible(),
  evaluate: ({ tab, script }) => pages.get(tab).page.evaluate(script),
  offline: ({ visit, off }) => visits.get(visit).setOffline(off),
  screenshot: ({ tab, path, whole = true }) => pages.get(tab).page.screenshot({ path, fullPage: whole }).then(() => null),
  media: ({ tab, dark }) => pages.get(tab).page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' }),
  size: ({ tab, width, height }) => pages.get(tab).page.setViewportSize({ width, height }),
  /** From now on, requests whose path begins so are answered with this text, cut, or held until `behave`. */
  meddle: ({ visit, path, text = null, hold = false }) =>
    visits.get(visit).route((url) => url.pathname.startsWith(path), async (route) => {
      if (text !== null) return route.fulfill({ contentType: 'application/json', body: text });
      if (!hold) return route.abort();
      await new Promise((release) => held.push(release));
      return route.continue().catch(() => {}); // who asked may be gone
    }),
  async behave({ visit }) {
    for (const release of held.splice(0)) release();
    await visits.get(visit).unrouteAll({ behavior: 'ignoreErrors' });
  },
  async drop({ tab, selector, file, text }) {
    const { page } = pages.get(tab);
    const data = await page.evaluateHandle(({ file, text }) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], file));
      return transfer;
    }, { file, text });
    await page.dispatchEvent(selector, 'drop', { dataTransfer: data });
  },
  async download({ tab, selector }) {
    const { page } = pages.get(tab);
    const [download] = await Promise.all([page.waitForEvent('download'), page.locator(selector).click()]);
    return [download.suggestedFilename(), await readFile(await download.path(), 'utf8')];
  },
  /** As when a browser needs room. */
  async evict({ tab, origin }) {
    const { page } = pages.get(tab);
    const session = await page.context().newCDPSession(page);
    await session.send('Storage.clearDataForOrigin', { origin, storageTypes: 'all' });
    await session.detach();
  },
  /** What axe-core holds against the page as it is now. */
  async axe({ tab }) {
    const { page } = pages.get(tab);
    const session = await page.context().newCDPSession(page);
    await session.send('Runtime.evaluate', { expression: axe });
    await session.detach();
    const found = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
    return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((one) => `${one.target.join(' ')} ${one.failureSummary}`).join(' | ')}`);
  },
  async seen({ tab }) {
    const { page, requests, console } = pages.get(tab);
    return { requests, console, violations: await page.evaluate(() => globalThis.__violations), gap: await page.evaluate(() => globalThis.__gap) };
  },
  version: () => browser.version(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, given } = JSON.parse(line);
  let answer;
  try {
    answer = { done: (await calls[call](given)) ?? null };
  } catch (error) {
    answer = { failed: String(error?.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
process.exit(); // whatever request is still held back
