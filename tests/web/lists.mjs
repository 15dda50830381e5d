// Lists of buckets as the client makes them. Reads [{partition, epoch, candidates, tested, secret, before, buckets}] from stdin,
// and prints each list.
import { readFileSync } from 'node:fs';
import { listOf } from '../../contactsync/web/src/lists.js';

const cases = JSON.parse(readFileSync(0, 'utf8'));
const lists = cases.map(({ partition, epoch, candidates, tested, secret, before, buckets }) =>
  listOf(partition, epoch, { candidates, tested }, { secret: Buffer.from(secret, 'hex'), before, buckets }));
console.log(JSON.stringify(lists));
