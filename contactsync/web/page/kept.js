// What a browser keeps of one server: a store of the client (../src/store.js) in IndexedDB.
//
// Each write is a transaction of its own, on the disk before `write` returns. A Web Lock lets one tab at a time change it.
import { LEDGER, OurError } from '../src/index.js';

const KEPT = 'kept'; // octets, by the client's names
const NOTES = 'notes'; // of the page: see `note`
const TABLES = [KEPT, NOTES];

/** @param {string} problem a key of `problems` in en.js */
const fault = (problem, message, cause) => Object.assign(new OurError(message, { cause }), { problem });

function unusable(error) {
  if (error instanceof OurError) return error;
  if (error?.name === 'QuotaExceededError') return fault('room', 'there is no room left for what is kept', error);
  return fault('storage', `the browser does not let this page keep anything (${error?.name ?? 'unknown'})`, error);
}

/** Octets of JSON; null for what is damaged: nobody can go on with it. */
function readable(octets) {
  try {
    JSON.parse(new TextDecoder().decode(octets ?? undefined));
    return octets;
  } catch {
    return null;
  }
}

function opened(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(fault('locked', 'another tab uses what is kept'));
  });
}

export class BrowserStore {
  /** @param {string} server its origin: the store of another one is another */
  constructor(server) {
    this.name = `contactsync ${server}`;
    this._database = null;
  }

  read(name) {
    return this._run(KEPT, 'readonly', (table) => table.get(name)).then((found) => found ?? null);
  }

  /** Each write is whole, so that what is there has its length. */
  holds(name) {
    return this._run(KEPT, 'readonly', (table) => table.getKey(name)).then((found) => found !== undefined);
  }

  async write(name, octets) {
    await this._run(KEPT, 'readwrite', (table) => table.put(octets.slice(), name)); // alone, not the buffer it is part of
  }

  async remove(name) {
    await this._run(KEPT, 'readwrite', (table) => table.delete(name));
  }

  names(prefix) {
    return this._run(KEPT, 'readonly', (table) => table.getAllKeys(IDBKeyRange.bound(prefix, `${prefix}\uffff`)));
  }

  /** For one sync, or to forget. A tab that is closed, or a worker that is stopped, gives it back. */
  lock() {
    return new Promise((resolve, reject) => {
      const held = (lock) => {
        if (lock === null) return reject(fault('locked', 'another sync with this server is running'));
        return new Promise((release) => resolve(release));
      };
      navigator.locks.request(this.name, { ifAvailable: true }, held).catch(reject);
    });
  }

  /** Something small of the page: `root` (a fingerprint), `since` (milliseconds), `credential`; null if there is none. */
  note(name) {
    return this._run(NOTES, 'readonly', (table) => table.get(name)).then((found) => found ?? null);
  }

  /** Nothing is written that is there already. */
  async setNote(name, value) {
    if ((await this.note(name)) === value) return;
    await this._run(NOTES, 'readwrite', (table) => (value === null ? table.delete(name) : table.put(value, name)));
  }

  /**
   * Remove all of it, but what lists of buckets have told the service: it does not forget that either, and without their secret
   * the next list would show what both ask for. Throws OurError if a sync is running, in whichever tab.
   */
  async forget() {
    const release = await this.lock();
    try {
      const ledger = readable(await this.read(LEDGER));
      (await this._database)?.close();
      this._database = null;
      await opened(indexedDB.deleteDatabase(this.name));
      if (ledger !== null) await this.write(LEDGER, ledger);
    } catch (error) {
      throw unusable(error);
    } finally {
      release();
    }
  }

  async _open() {
    const request = indexedDB.open(this.name, 1);
    request.onupgradeneeded = () => {
      for (const table of TABLES) request.result.createObjectStore(table);
    };
    const database = await opened(request);
    const gone = () => {
      if (this._current === database) this._database = null;
    };
    this._current = database;
    database.onclose = gone; // the browser removed it
    database.onversionchange = () => {
      database.close(); // another tab forgets it
      gone();
    };
    return database;
  }

  async _run(table, mode, ask) {
    try {
      return await this._once(table, mode, ask);
    } catch (error) {
      if (error?.name !== 'InvalidStateError') throw unusable(error);
      this._database = null; // it was closed in between
      return this._once(table, mode, ask).catch((again) => {
        throw unusable(again);
      });
    }
  }

  async _once(table, mode, ask) {
    this._database ??= this._open();
    let database;
    try {
      database = await this._database;
    } catch (error) {
      this._database = null;
      throw error;
    }
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(table, mode, { durability: 'strict' });
      const request = ask(transaction.objectStore(table));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? request.error);
    });
  }
}
