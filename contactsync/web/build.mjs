// Builds what is shipped: bundle/contactsync.mjs (the client, for pages, workers and Node), bundle/contactsync-js.mjs
// (its command line), and bundle/page (the page for people, whose worker takes the client from beside it). The same sources and lock file give the same octets in any folder.
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

const common = {
  absWorkingDir: here, bundle: true, write: false, format: 'esm', target: 'es2022', charset: 'utf8',
  minify: true, legalComments: 'eof', sourcemap: false, metafile: false, logLevel: 'warning', treeShaking: true,
  tsconfigRaw: '{}',
};
const bundles = {
  'contactsync.mjs': { entryPoints: ['src/index.js'], platform: 'neutral', mainFields: ['module', 'main'], conditions: ['import'] },
  'contactsync-js.mjs': { entryPoints: ['src/node/cli.js'], platform: 'node', plugins: [beside] },
  'page/page.js': { entryPoints: ['page/page.js'], platform: 'browser' },
  'page/worker.js': { entryPoints: ['page/worker.js'], platform: 'browser', plugins: [beside] },
  'page/page.css': { entryPoints: ['page/page.css'] },
};
const copies = ['page/index.html', 'page/icon.svg', 'page/extension.js'];

function ship(name, octets) {
  writeFileSync(join(folder, name), octets);
  console.log(`${createHash('sha256').update(octets).digest('hex')}  ${name}`);
}

mkdirSync(join(folder, 'page'), { recursive: true });
for (const [name, options] of Object.entries(bundles)) {
  const { outputFiles: [file] } = await build({ ...common, ...options });
  ship(name, file.contents);
}
for (const name of copies) ship(name, readFileSync(join(here, name)));
chmodSync(join(folder, 'contactsync-js.mjs'), 0o755);
