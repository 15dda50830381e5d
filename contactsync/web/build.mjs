// Builds what is shipped: bundle/contactsync.mjs (the client, for pages, workers and Node), contactsync-sodium.mjs beside
// it (libsodium in WebAssembly, as it is), contactsync-js.mjs (its command line), and bundle/page (the page for people,
// whose worker takes the client from beside it, and whose service worker has the hashes of all of it). The same sources and
// lock file give the same octets in any folder.
//
//     npm ci --ignore-scripts && node build.mjs [FOLDER]
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? join(here, 'bundle'));

// The command line and the worker take the client from the file beside it, instead of holding it again.
const beside = {
  name: 'beside',
  setup(building) {
    building.onResolve({ filter: /\/index\.js$/ }, (given) =>
      given.kind === 'entry-point' ? undefined : { path: './contactsync.mjs', external: true },
    );
  },
};

// So does the client with libsodium, which it loads only where WebAssembly may run.
const sodium = {
  name: 'sodium',
  setup(building) {
    building.onResolve({ filter: /^libsodium-sumo$/ }, (given) =>
      given.kind === 'entry-point' ? undefined : { path: './contactsync-sodium.mjs', external: true },
    );
  },
};

const common = {
  absWorkingDir: here, bundle: true, write: false, format: 'esm', target: 'es2022', charset: 'utf8',
  minify: true, legalComments: 'eof', sourcemap: false, metafile: false, logLevel: 'warning', treeShaking: true,
  tsconfigRaw: '{}',
};
// Its package has no comment of this kind.
const LICENSE = `/*! libsodium.js (https://github.com/jedisct1/libsodium.js), ISC license
Copyright (c) 2015-2026 Ahmad Ben Mrad, Frank Denis, Ryan Lester
libsodium: Copyright (c) 2013-2026 Frank Denis
Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies. THE SOFTWARE IS PROVIDED "AS IS"
AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY
AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY
DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER
TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE. */`;

const bundles = {
  'contactsync.mjs': { entryPoints: ['src/index.js'], platform: 'neutral', mainFields: ['module', 'main'], conditions: ['import'], plugins: [sodium] },
  'contactsync-sodium.mjs': { entryPoints: ['libsodium-sumo'], platform: 'neutral', mainFields: ['module'], conditions: ['import'], banner: { js: LICENSE } },
  'contactsync-js.mjs': { entryPoints: ['src/node/cli.js'], platform: 'node', plugins: [beside] },
  'page/page.js': { entryPoints: ['page/page.js'], platform: 'browser' },
  'page/worker.js': { entryPoints: ['page/worker.js'], platform: 'browser', plugins: [beside] },
  'page/page.css': { entryPoints: ['page/page.css'] },
};
// What the page consists of, by its path on a server, and its media type. shell.js keeps these files and no others.
const served = {
  'page/page.css': 'text/css; charset=utf-8',
  'page/page.js': 'text/javascript; charset=utf-8',
  'page/worker.js': 'text/javascript; charset=utf-8',
  'page/contactsync.mjs': 'text/javascript; charset=utf-8',
  'page/contactsync-sodium.mjs': 'text/javascript; charset=utf-8',
  'page/icon.svg': 'image/svg+xml',
  'index.html': 'text/html; charset=utf-8',
};
const copies = ['page/index.html', 'page/icon.svg', 'page/extension.js'];

const sha256 = (octets) => createHash('sha256').update(octets).digest('hex');
const shipped = {}; // hashes by name

function ship(name, octets) {
  writeFileSync(join(folder, name), octets);
  shipped[name] = sha256(octets);
  console.log(`${shipped[name]}  ${name}`);
}

/** The first line of shell.js: the files of the release, and its name, which is their hash. */
function release() {
  const nameOf = (path) => [path, path.replace(/^page\//, ''), `page/${path}`].find((one) => one in shipped);
  const files = Object.fromEntries(Object.entries(served).map(([path, type]) => [path, [shipped[nameOf(path)], type]]));
  return `const RELEASE = ${JSON.stringify({ version: sha256(JSON.stringify(files)), files })};`;
}

mkdirSync(join(folder, 'page'), { recursive: true });
for (const [name, options] of Object.entries(bundles)) {
  const { outputFiles: [file] } = await build({ ...common, ...options });
  ship(name, file.contents);
}
for (const name of copies) ship(name, readFileSync(join(here, name)));
const shell = { entryPoints: ['page/shell.js'], platform: 'browser', format: 'iife', banner: { js: release() } };
ship('page/shell.js', (await build({ ...common, ...shell })).outputFiles[0].contents);
chmodSync(join(folder, 'contactsync-js.mjs'), 0o755);
