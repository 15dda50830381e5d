// The client of contactsync for pages, workers and Node: docs/web.md.
export { readBooks } from './books/book.js';
export { BadInput, ChoiceNeeded, ContactSyncError, NetworkError, OurError, PeerError, Refused } from './errors.js';
export { PROFILE, Rejected, normalise, regionOf } from './identifiers.js';
export { MemoryStore } from './store.js';
export { sync } from './sync.js';
export { Transport } from './transport.js';
