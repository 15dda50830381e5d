// The page's side of its worker: calls that are answered, events in between, and a stop that ends it at once.
import { WORKER, program } from './programs.js';

/** A call failed: `failed` is what the worker says of it (`described` in worker.js). */
export class Failure extends Error {
  constructor(failed) {
    super(failed.detail);
    this.failed = failed;
  }
}

export class Desk {
  /** @param {(event: string, given: object) => void} hear */
  constructor(hear) {
    this._hear = hear;
    this._waiting = new Map();
    this._last = 0;
    this._begin();
  }

  /** @returns {Promise<any>} Throws Failure */
  call(name, given) {
    return new Promise((resolve, reject) => {
      this._waiting.set(++this._last, { resolve, reject });
      this._worker.postMessage({ id: this._last, call: name, given });
    });
  }

  /** End whatever runs, and begin with a new worker, which has to be opened. Calls that wait are never answered. */
  stop() {
    this._worker.terminate();
    this._waiting.clear();
    this._begin();
  }

  _begin() {
    const worker = new Worker(program(WORKER), { type: 'module' });
    worker.addEventListener('message', ({ data }) => {
      if ('event' in data) return this._hear(data.event, data.given);
      const { resolve, reject } = this._waiting.get(data.id);
      this._waiting.delete(data.id);
      return 'failed' in data ? reject(new Failure(data.failed)) : resolve(data.done);
    });
    worker.addEventListener('error', (event) => {
      const failure = new Failure({ kind: 'page', own: 'fault', detail: event.message ?? 'the worker could not be started' });
      for (const { reject } of this._waiting.values()) reject(failure);
      this._waiting.clear();
    });
    this._worker = worker;
  }
}
