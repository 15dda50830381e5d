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
export declare class ChoiceNeeded extends ContactSyncError {}
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

/** A text that is no number that can be looked up. It quotes no digit of it. */
export declare class Rejected extends Error {
  readonly reason: string;
  readonly hint: string;
}

/** The identifier of a number as people write it ("tel:+49…"). Throws Rejected. */
export declare function normalise(text: string, region: string | null): string;

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

/** Read vCard, CSV or lists of numbers. What cannot be read is reported, never dropped. */
export declare function readBooks(
  files: { name: string; octets: Uint8Array }[],
  options?: { region?: string | null },
): AddressBook;

/** Where the client keeps what it has of one server. Implement it for another place, such as IndexedDB. */
export interface Store {
  read(name: string): Promise<Uint8Array | null>;
  /** Durable, and all or nothing. */
  write(name: string, octets: Uint8Array): Promise<void>;
  remove(name: string): Promise<void>;
  names(prefix: string): Promise<string[]>;
  /** Gives a function that releases; throws OurError if another sync holds it. */
  lock(): Promise<() => unknown>;
}
export declare class MemoryStore implements Store {
  read(name: string): Promise<Uint8Array | null>;
  write(name: string, octets: Uint8Array): Promise<void>;
  remove(name: string): Promise<void>;
  names(prefix: string): Promise<string[]>;
  lock(): Promise<() => void>;
}

export interface TransportOptions {
  fetch?: typeof fetch;
  /** Is told of every request before it is sent; `octets` of the body. */
  watch?: (request: { method: 'GET' | 'POST'; path: string; octets: number }) => void;
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
  /** Octets of data files; 2^30 by default. */
  maxDownload?: number;
  /** Whether a sync without news sends eight points of padding (default). */
  cover?: boolean;
  progress?: (what: string, done: number, total: number) => void;
}
export interface Match {
  name: string;
  identifier: string;
  /** The same: this client looks up no further forms of a number. */
  written: string;
  label: null;
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
  privacy: 'download';
  partitions: 'all';
  false_positive_rate: number;
  quota: Quota | null;
  leak_odds: Record<string, number>;
  leak: string;
  labels: null;
  uncovered: boolean;
  unchecked_history: null | { since: { epoch: number; edition: number }; until: { epoch: number; edition: number } };
  withdrawn_epoch: number | null;
}

/** Find out who of a book is a member. Throws ContactSyncError; what remains valid is kept, and the next sync continues. */
export declare function sync(store: Store, transport: Transport, book: AddressBook, options: SyncOptions): Promise<Report>;
