// The error tree: the same kinds, words and exit codes as those of the Python client (contactsync/foundation/errors.py).

/**
 * An error that a user may see: one sentence of what and where, and a hint that says what to do.
 * Neither contains an identifier, a point, a token or a credential.
 */
export class ContactSyncError extends Error {
  /** @param {string} message @param {{hint?: string, refusal?: string, [more: string]: unknown}} [more] */
  constructor(message, more = {}) {
    super(message);
    this.hint = more.hint ?? '';
    /** The word of docs/vectors.md ("Refusals") if octets from elsewhere were refused; else empty. */
    this.refusal = more.refusal ?? '';
  }

  name = 'ContactSyncError'; // not the name of the class: a bundle shortens those
  kind = 'error';
  exitCode = 1;

  /** The object that `--json` prints. */
  toJSON() {
    const value = { kind: this.kind, message: this.message, hint: this.hint, exit_code: this.exitCode };
    return this.refusal ? { ...value, refusal: this.refusal } : value;
  }
}

/** What was given to us cannot be used. */
export class BadInput extends ContactSyncError {
  name = 'BadInput';
  kind = 'bad-input';
  exitCode = 3;
}

/** The download would be larger than allowed. */
export class ChoiceNeeded extends ContactSyncError {
  name = 'ChoiceNeeded';
  kind = 'choice-needed';
  exitCode = 7;
}

/** There was no answer, or it was cut off. */
export class NetworkError extends ContactSyncError {
  name = 'NetworkError';
  kind = 'network';
  exitCode = 4;
}

/** Octets of the other side must not be trusted: `refusal` says why. */
export class PeerError extends ContactSyncError {
  name = 'PeerError';
  kind = 'bad-reply';
  exitCode = 5;
}

/** A fault in this installation: damaged state, another process that uses it. */
export class OurError extends ContactSyncError {
  name = 'OurError';
  kind = 'installation';
  exitCode = 1;
}

/** The server said no, or that it failed: a problem document, or something else with that status. */
export class Refused extends ContactSyncError {
  constructor(message, more = {}) {
    super(message, more);
    this.status = more.status ?? 0;
    this.problem = more.problem ?? '';
    this.retryAfter = more.retryAfter ?? 0;
    if (this.status >= 500) [this.kind, this.exitCode] = ['server-failed', 4];
    if (this.problem === 'out-of-quota') {
      [this.kind, this.exitCode] = ['quota', 8];
      this.quota = more.quota ?? { left: 0, burst: 0, per_day: 0 };
    }
  }

  name = 'Refused';
  kind = 'refused';
  exitCode = 6;

  toJSON() {
    const value = { ...super.toJSON(), status: this.status, problem: this.problem, retry_after: this.retryAfter };
    return this.quota ? { ...value, ...this.quota } : value;
  }
}

/** Octets that are refused, by the word of docs/vectors.md. `sync` says where they came from. */
export class Refusal extends Error {
  constructor(word, what = word) {
    super(what);
    this.word = word;
  }
}

/** @param {unknown} holds @param {string} word @param {string} [what] */
export function check(holds, word, what) {
  if (!holds) throw new Refusal(word, what);
}
