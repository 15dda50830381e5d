// The client of contactsync for pages, workers and Node: docs/web.md.
export { readBooks } from './books/book.js';
export { BadInput, ChoiceNeeded, ContactSyncError, NetworkError, OurError, PeerError, Refused } from './errors.js';
export { readyGroup } from './group/group.js';
export { PROFILE, normalise, regionOf } from './identifiers.js';
export { shown } from './kinds.js';
export { LEDGER } from './ledger.js';
export { normaliseMail } from './mail.js';
export { Rejected } from './rejected.js';
export { MemoryStore } from './store.js';
export { sync } from './sync.js';
export { Transport } from './transport.js';
