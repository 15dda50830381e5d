// The page's side of its service worker (shell.js): kept with the first sync, replaced when the person says so, and gone when
// all is forgotten. Where a browser has none, or does not allow it, the page is as it was: it opens with a network alone.
import { SHELL, program } from './programs.js';

const PREFIX = 'contactsync-shell '; // of the names of its caches

/** What this browser has for it; null if nothing. An extension is on the device anyway. */
function container() {
  try {
    return /^https?:$/.test(location.protocol) && 'caches' in globalThis ? navigator.serviceWorker ?? null : null;
  } catch {
    return null;
  }
}

export class Keeping {
  /** @param {() => void} changed called when `isKept` or `isNew` may have changed */
  constructor(changed) {
    this._changed = changed;
    this._all = container();
    this._registration = null;
    this._all?.addEventListener('message', ({ data }) => {
      if (data === 'others are open') this._refused?.();
    });
  }

  /** Whether the page opens without a network. */
  get isKept() {
    return Boolean(this._registration?.active);
  }

  /** Whether another release has been fetched, and waits. */
  get isNew() {
    return Boolean(this._registration?.active && this._registration.waiting);
  }

  /** Look for what is kept, and ask the server whether there is a newer one. */
  async look() {
    const found = await this._all?.getRegistration(SHELL).catch(() => undefined);
    if (!found) return;
    this._follow(found);
    await found.update().catch(() => {}); // without a network, later
  }

  /** Keep this release. */
  async keep() {
    if (!this._all || this.isKept) return;
    try {
      this._follow(await this._all.register(program(SHELL), { scope: new URL('./', SHELL).href, updateViaCache: 'none' }));
      this._registration.active?.postMessage('fill');
    } catch {
      // Not allowed here: nothing is lost but this.
    }
  }

  /** Go on with the new release, which loads the page again. @returns false if the page is open elsewhere, too */
  replace() {
    const next = this._registration?.waiting;
    if (!next) return Promise.resolve(true);
    return new Promise((resolve) => {
      this._refused = () => resolve(false);
      next.addEventListener('statechange', () => {
        if (next.state === 'activated') location.reload();
      });
      next.postMessage('take over');
    });
  }

  async forget() {
    if (!this._all) return;
    const found = await this._all.getRegistration(SHELL).catch(() => undefined);
    await found?.unregister();
    this._registration = null;
    for (const name of await caches.keys()) if (name.startsWith(PREFIX)) await caches.delete(name);
    this._changed();
  }

  _follow(registration) {
    if (this._registration !== registration) {
      this._registration = registration;
      registration.addEventListener('updatefound', () => this._watch(registration.installing));
      this._watch(registration.installing);
    }
    this._changed();
  }

  _watch(worker) {
    worker?.addEventListener('statechange', () => this._changed());
  }
}
