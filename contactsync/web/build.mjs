// Builds what is shipped: bundle/contactsync.mjs (the client, for pages, workers and Node) and
// bundle/contactsync-js.mjs (its command line). The same sources and lock file give the same octets in any folder.
//
//     npm ci --ignore-scripts && node build.mjs [FOLDER]
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? join(here, 'bundle'));

// The command line takes the client from the file beside it, instead of holding it a second time.
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
};

mkdirSync(folder, { recursive: true });
for (const [name, options] of Object.entries(bundles)) {
  const { outputFiles: [file] } = await build({ ...common, ...options });
  writeFileSync(join(folder, name), file.contents);
  console.log(`${createHash('sha256').update(file.contents).digest('hex')}  ${name}`);
}
chmodSync(join(folder, 'contactsync-js.mjs'), 0o755);
