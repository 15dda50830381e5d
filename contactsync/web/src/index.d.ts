/** The client of contactsync: docs/web.md. Everything else in src/ may change. */

/** Any error that a user may see: one sentence, and a hint that says what to do. */
export declare class ContactSyncError extends Error {
  readonly kind: string;
  /** As the exit code of the command. */
  readonly exitCode: number;
  readonly hint: string;
  /** A word of docs/vectors.md ("Refusals"), or empty. */
  readonly refusal: string;
  toJSON(): { kind: string; message: string; hint: string; exit_code: number; [more: string]: unknown };
}
export declare class BadInput extends ContactSyncError {}
export declare class ChoiceNeeded extends ContactSyncError {
  /**
   * The choices that `hint` names, as octets to download: what `maxDownload` must allow, and about what it would be in screen mode,
   * without labels, or in download mode. Null or not there: that would not help.
   */
  readonly choices: { needed?: number; screen?: number | null; bare?: number | null; whole?: number };
}
export declare class NetworkError extends ContactSyncError {}
export declare class PeerError extends ContactSyncError {}
export declare class OurError extends ContactSyncError {}
export declare class Refused extends ContactSyncError {
  readonly status: number;
  /** The slug of the problem (docs/http-api.md, "Problems"), or empty. */
  readonly problem: string;
  /** Seconds; 0 if the server does not say. */
  readonly retryAfter: number;
  readonly quota?: Quota;
}

export interface Quota {
  left: number;
  burst: number;
  per_day: number;
}

/** The normalisation profile of docs/identifiers.md. */
export declare const PROFILE: 1;

/** A text that is no number or address that can be looked up. It quotes nothing of it. */
export declare class Rejected extends Error {
  readonly reason: string;
  readonly hint: string;
}

/** The identifier of a number as people write it ("tel:+49…"). Throws Rejected. */
export declare function normalise(text: string, region: string | null): string;

/** The identifier of an e-mail address as people write it ("mailto:ann@example.org"). Throws Rejected. */
export declare function normaliseMail(text: string): string;

/** An identifier as people write it: "+491512345678", "ann@example.org". */
export declare function shown(identifier: string): string;

/** The region in capitals; null if there is none of that name. */
export declare function regionOf(text: string): string | null;

export interface Contact {
  name: string;
  identifiers: string[];
  place: string;
}
export interface Unreadable {
  file: string;
  place: string;
  reason: string;
  hint: string;
}
export interface AddressBook {
  contacts: Contact[];
  /** Each once, sorted. */
  identifiers: string[];
  unreadable: Unreadable[];
}

/** Read vCard, CSV, LDIF or lists. What cannot be read is reported, never dropped. `kinds`: both, if it is not there. */
export declare function readBooks(
  files: { name: string; octets: Uint8Array }[],
  options?: { region?: string | null; kinds?: ('tel' | 'mailto')[] },
): AddressBook;

/** Where the client keeps what it has of one server. Implement it for another place, such as IndexedDB. */
export interface Store {
  read(name: string): Promise<Uint8Array | null>;
  /** Whether octets of this length are there, at less cost than reading them. */
  holds(name: string, length: number): Promise<boolean>;
  /** Durable, and all or nothing. */
  write(name: string, octets: Uint8Array): Promise<void>;
  remove(name: string): Promise<void>;
  names(prefix: string): Promise<string[]>;
  /** Gives a function that releases; throws OurError if another sync holds it. */
  lock(): Promise<() => unknown>;
}
export declare class MemoryStore implements Store {
  read(name: string): Promise<Uint8Array | null>;
  holds(name: string, length: number): Promise<boolean>;
  write(name: string, octets: Uint8Array): Promise<void>;
  remove(name: string): Promise<void>;
  names(prefix: string): Promise<string[]>;
  lock(): Promise<() => void>;
}

export interface TransportOptions {
  fetch?: typeof fetch;
  /** Is told of every request before it is sent; `octets` of the body, and how many `ranges` of a file are asked for (0: all of it). */
  watch?: (request: { method: 'GET' | 'POST'; path: string; octets: number; ranges: number }) => void;
}
/** Requests to one server, for one sync. */
export declare class Transport {
  /** `credential` is empty for who has but a code. */
  constructor(url: string, credential: string, options?: TransportOptions);
  /** A one-time code for a credential that ends at `until` (RFC 3339). It works once, whatever comes of the answer. */
  exchange(code: string): Promise<{ credential: string; audience: string; until: string }>;
}

export interface SyncOptions {
  /** Octets of the root that is trusted: built in, or chosen by the user. There is no trust on first use. */
  root: Uint8Array;
  audience?: 'people' | 'business';
  /**
   * "screen": where a partition is large, fetch its screen and some buckets among decoys; the server sees which. "download" (default)
   * matches on this machine only. The one is never chosen for the other.
   */
  privacy?: 'download' | 'screen';
  /** Octets that may be fetched; 2^30 by default. If it were more, nothing is fetched: ChoiceNeeded. */
  maxDownload?: number;
  /** In screen mode: buckets of a list, or a multiple, decoys included; 64 by default, at most 4096. */
  buckets?: number;
  /** In screen mode: by how much all lists may multiply the odds of a guess, 1000 by default. If it were more: ChoiceNeeded. */
  leakBudget?: number;
  /** Whether a sync without news sends eight points of padding (default). */
  cover?: boolean;
  /** Whether the labels of all members are fetched, to show those of matches (default). */
  labels?: boolean;
  /** Verifier keys of witnesses that must have cosigned the server's log, instead of those that its root names. */
  witnesses?: string[];
  /** How many of `witnesses`; all by default. */
  quorum?: number;
  /** Accept that the server's log began anew. Ask the operator why, over another channel, before. */
  newLog?: boolean;
  progress?: (what: string, done: number, total: number) => void;
}
export interface Match {
  name: string;
  identifier: string;
  /** The identifier in the book of which `identifier` is a form: mostly the same. */
  written: string;
  /** What the member is called, if labels are published and this one has any. */
  label: string | null;
}
export interface Report {
  matches: Match[];
  joined: Match[];
  left: Match[];
  contacts: number;
  identifiers: number;
  unserved: number;
  further_forms: number;
  unreadable: { file: string; place: string; reason: string }[];
  unusable: { partition: string; reason: string; identifiers: number }[];
  evaluated: number;
  new_identifiers: number;
  bytes_sent: number;
  bytes_received: number;
  audience: string;
  epoch: number;
  edition: number;
  members: number;
  privacy: 'download' | 'screen';
  partitions: 'all';
  false_positive_rate: number;
  quota: Quota | null;
  /** By partition, by how much all lists of buckets so far multiply the odds of a guess. */
  leak_odds: Record<string, number>;
  leak: string;
  /** Of how many matches the label does not open, or is not known yet (in screen mode); null: no labels were read. */
  labels: { unopened: number; unknown: number } | null;
  uncovered: boolean;
  unchecked_history: null | { since: { epoch: number; edition: number }; until: { epoch: number; edition: number } };
  withdrawn_epoch: number | null;
}

/** Load the group that syncs compute with, ahead of the first one. It is the same for every book, and never fails. */
export declare function readyGroup(): Promise<unknown>;

/** Find out who of a book is a member. Throws ContactSyncError; what remains valid is kept, and the next sync continues. */
export declare function sync(store: Store, transport: Transport, book: AddressBook, options: SyncOptions): Promise<Report>;

/** The name under which a store keeps what lists of buckets have told a server: "forget" should leave it. */
export declare const LEDGER: string;
