// The two addresses that the page may turn into programs: its worker, and its service worker. No other text (Trusted Types).
export const WORKER = new URL('./worker.js', import.meta.url).href;
export const SHELL = new URL('../shell.js', import.meta.url).href;

const policy = globalThis.trustedTypes?.createPolicy('contactsync-worker', {
  createScriptURL(url) {
    if (url !== WORKER && url !== SHELL) throw new TypeError('not a worker of this page');
    return url;
  },
});

/** One of them, as a browser wants it. */
export const program = (url) => (policy ? policy.createScriptURL(url) : url);
