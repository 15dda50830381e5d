// Verifies the test vectors of contactsync without any of its code:
//
//     npm ci --ignore-scripts && node verify.mjs FOLDER
//
// Prints one JSON object: how many vectors of each file agree, how many are refused as they must be, which
// operations are left out (what only a server or a reader of telephone numbers does), and each difference.
// Exits with 0 if there is none.
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { Refused, filesOf, resolved } from './octets.mjs';
import * as files from './files.mjs';
import * as forms from './forms.mjs';
import * as labels from './labels.mjs';
import * as log from './log.mjs';
import * as sync from './sync.mjs';
import * as trust from './trust.mjs';
import * as voprf from './voprf.mjs';

const OPERATIONS = Object.assign({}, ...[voprf, files, forms, labels, sync, trust, log].map((one) => one.OPERATIONS));
const LEFT_OUT = new Set(['normalise', 'normalise_mail', 'build_directory', 'write_delta', 'build_screen', 'read_manifest', 'charge']);

// Only who builds the directory that a chain leads to can see that it is not the one that is named.
const needsBuilder = (group, expected) => group.operation === 'follow_deltas' && expected.refusal === 'bad-hash';

function outcome(operation, given, expected) {
  try {
    return { refusal: null, ...operation(given, expected) };
  } catch (error) {
    if (error instanceof Refused) return { refusal: error.message };
    throw error;
  }
}

function differences(group, one, shared) {
  const { expected } = one;
  const given = Object.fromEntries(Object.entries(one.given).map(([name, value]) => [name, resolved(value, shared)]));
  const got = outcome(OPERATIONS[group.operation], given, expected);
  if (needsBuilder(group, expected)) return got.sha256 ? [] : ['refusal'];
  return Object.keys(expected).filter((field) => !isDeepStrictEqual(got[field], expected[field]));
}

const report = { files: [], left_out: {}, differing: [] };
const folder = process.argv[2];
const names = process.argv.length > 3
  ? process.argv.slice(3)
  : readFileSync(`${folder}/SHA256SUMS`, 'latin1').trim().split('\n').map((line) => line.split('  ')[1]);
for (const name of names.filter((one) => one !== 'schema.json')) {
  const content = JSON.parse(readFileSync(`${folder}/${name}`, 'utf8'));
  const shared = filesOf(content.files ?? {});
  const tally = { name, agree: 0, refused: 0 };
  for (const group of content.groups) {
    if (LEFT_OUT.has(group.operation)) {
      report.left_out[group.operation] = (report.left_out[group.operation] ?? 0) + group.cases.length;
      continue;
    }
    for (const one of group.cases) {
      const place = `${name}: ${group.name}, vector ${one.number}`;
      try {
        const fields = differences(group, one, shared);
        for (const field of fields) report.differing.push(`${place}: ${field} differs (${one.reason})`);
        tally.agree += fields.length === 0;
        tally.refused += fields.length === 0 && typeof one.expected.refusal === 'string';
      } catch (error) {
        report.differing.push(`${place}: ${error.stack}`);
      }
    }
  }
  report.files.push(tally);
}
console.log(JSON.stringify(report, null, 1));
process.exitCode = report.differing.length ? 1 : 0;
