// From the pinned root to the manifest to use: metadata, the history, and what of them is stored.
import { OurError, PeerError, Refusal, check } from './errors.js';
import { equal, text, utf8 } from './octets.js';
import { linkOf, MAX_MANIFEST, walk } from './history.js';
import { servedKinds } from './kinds.js';
import { LogFollower, begunAnew } from './log/follower.js';
import { readManifest } from './manifest.js';
import { checkTarget, metadataOf, openRoot, refresh, targetOf } from './metadata.js';
import { PROFILE } from './identifiers.js';
import { readTrust, writeTrust } from './store.js';

const KINDS = {
  'another-history': ['bad-signature', 'stop here, and keep the state, which is the evidence; ask the operator, over another channel'],
  'too-few-witnesses': ['bad-reply', 'sync again later; if this goes on, tell the operator'],
  'unknown-version': ['bad-reply', 'update this program; if that does not help, ask the operator to update the server'],
  'unknown-critical': ['bad-reply', 'update this program'],
  'unknown-suite': ['bad-reply', 'update this program'],
};
const SIGNED = ['bad-signature', 'try again; if it happens again, tell the operator over another channel'];

/** A refusal as an error that users see. */
export function peerError(refusal, where, [kind, hint] = KINDS[refusal.word] ?? SIGNED) {
  const what = refusal.message === refusal.word ? `${where} is refused: ${refusal.word}` : `${where}: ${refusal.message}`;
  return Object.assign(new PeerError(what, { refusal: refusal.word, hint }), { kind });
}

async function explained(where, work) {
  try {
    return await work();
  } catch (error) {
    throw error instanceof Refusal ? peerError(error, where) : error;
  }
}

async function inLog(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    throw peerError(error, error.word === 'another-history' ? 'this server shows another history' : 'the log of this server');
  }
}

// What is kept of the signed metadata, other than roots.
const BELOW = ['timestamp', 'snapshot', 'targets'];
const versionOf = (root) => metadataOf(utf8(root), 'root').signed.version;

/** Pin a root, or check that it is the one that is pinned. @param {Uint8Array} root */
export async function pin(store, root) {
  const trust = await readTrust(store);
  await explained('the root that you gave', () => openRoot(root));
  if (trust.pinned === null) {
    await writeTrust(store, { ...trust, pinned: text(root), root: text(root), roots: [text(root)] });
  } else if (!equal(utf8(trust.pinned), root)) {
    throw new OurError('another root is pinned for this server', {
      hint: 'if the operator confirms the new root over another channel, remove the state of this server, and sync again',
    });
  }
}

/**
 * The current manifest of an audience, verified from the pinned root down, and kept as the one seen last.
 * @param {import('./transport.js').Transport} transport
 * @param {{own?: object | null, newLog?: boolean}} watched of the user: witnesses (log/policy.js), and whether a log that began
 *   anew is accepted
 * @returns {Promise<{manifest: object, first: boolean, gap: object | null}>} `first`: none of this audience was kept.
 *   `gap` stays until `told`.
 */
export async function follow(store, transport, audience, { own = null, newLog = false } = {}, now = Date.now() / 1000) {
  const trust = await readTrust(store);
  // A state of an earlier version: the roots since the pinned one are followed once more, to be found in the log.
  const [start, roots] = trust.roots === null ? [trust.pinned, [trust.pinned]] : [trust.root, trust.roots];
  const trusted = { root: utf8(start), followed: [] };
  const newest = await explained('the stored root', () => versionOf(trust.root));
  for (const name of BELOW) if (trust[name] !== null) trusted[name] = utf8(trust[name]);
  const keep = () => {
    for (const name of BELOW) trust[name] = trusted[name] ? text(trusted[name]) : null;
    const root = text(trusted.root);
    if (versionOf(root) >= newest) Object.assign(trust, { root, roots: [...roots, ...trusted.followed.map(text)] });
    return writeTrust(store, trust);
  };
  const targets = await explained('the signed metadata', async () => {
    try {
      const found = await refresh(trusted, (name, limit) => transport.file(`/v1/tuf/metadata/${name}`, limit), now);
      check(versionOf(text(trusted.root)) >= newest, 'rolled-back', 'the server no longer has the root that it served before');
      return found;
    } finally {
      await keep();
    }
  });
  if (newLog) await inLog(() => Object.assign(trust, { log: begunAnew(utf8(trust.root)), roots: [] }));
  const log = new LogFollower(trust.log, (name, limit) => transport.file(`/v1/log/${name}`, limit), own);
  await inLog(() => log.followRoots(trust.roots.map(utf8)));
  Object.assign(trust, { log: log.kept, roots: [] });
  await writeTrust(store, trust);
  const kept = trust.manifests[audience] ?? null;
  const seen = kept === null ? null : await explained('the stored manifest', () => linkOf(utf8(kept)));
  const path = (sha256) => `/v1/tuf/targets/${sha256}.${audience}.json`;
  const octets = await explained('the signed manifest', async () => {
    const target = targetOf(targets, audience, MAX_MANIFEST);
    if (seen?.sha256 === target.sha256) return utf8(kept);
    const found = await transport.file(path(target.sha256), target.length);
    if (found === null) throw new Refusal('withheld', 'it is not there');
    checkTarget(found, target);
    return found;
  });
  const manifest = await explained('the manifest', () => readManifest(octets));
  if (manifest.audience !== audience) throw peerError(new Refusal('not-as-described'), 'the manifest', SIGNED);
  if (manifest.normalisation !== PROFILE)
    throw new PeerError(`the server uses normalisation profile ${manifest.normalisation}; this program knows only ${PROFILE}`, {
      hint: 'update this program (or ask the operator to update the server)',
    });
  const { gap } = await explained('this server shows another history', () =>
    walk(seen?.sha256 === manifest.sha256 ? seen : linkOf(octets), seen, (sha256) => transport.file(path(sha256), MAX_MANIFEST)),
  );
  if (log.isNew || seen?.sha256 !== manifest.sha256) await inLog(() => log.checkManifest(manifest));
  trust.log = log.kept;
  if (gap !== null) trust.gaps[audience] = { since: trust.gaps[audience]?.since ?? gap.since, until: gap.until };
  trust.manifests[audience] = text(octets);
  await writeTrust(store, trust);
  return { manifest, first: kept === null, gap: trust.gaps[audience] ?? null };
}

/**
 * The kinds that the last manifest of an audience had members of; null if there is none. It is what to make ready for: the
 * next manifest is not there before the first request.
 */
export async function kindsSeen(store, audience) {
  const kept = (await readTrust(store)).manifests[audience] ?? null;
  try {
    return kept && servedKinds(Object.keys(JSON.parse(kept).partitions));
  } catch {
    return null; // it is damaged: `follow` says so
  }
}

/** The user was told of the gap. */
export async function told(store, audience) {
  const trust = await readTrust(store);
  if (!(audience in trust.gaps)) return;
  delete trust.gaps[audience];
  await writeTrust(store, trust);
}

/** The version of the newest root that was verified. */
export const rootVersion = async (store) => versionOf((await readTrust(store)).root);
