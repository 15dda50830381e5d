// When this client moves to an epoch that is announced: docs/http-api.md, "The next epoch".
import { ahead } from './manifest.js';
import { randomBelow } from './octets.js';

const leadsTo = (manifest, move) =>
  manifest !== null &&
  ((manifest.epoch === move.epoch && manifest.public_key === move.public_key) || manifest.epoch > move.epoch);

/**
 * Which epoch of a manifest to use.
 * @param {object} published @param {null | {epoch: number, public_key: string, at: number, moved: boolean}} kept
 * @param {{now: number, first: boolean, asks?: boolean}} moment `first`: no manifest of this audience was seen before; `asks`: lists of
 *   buckets may be sent. Editions count from 1 again when the epoch begins, so who has moved may have to send one list more: they stay
 * @returns {{manifest: object, move: null | object, withdrawn: null | number}}
 */
export function choose(published, kept, { now, first, asks = false }) {
  const next = ahead(published);
  const gone = kept?.moved && !leadsTo(published, kept) && !leadsTo(next, kept);
  const withdrawn = gone ? kept.epoch : null;
  if (next === null) return { manifest: published, move: null, withdrawn };
  let move = kept;
  if (move === null || !leadsTo(next, move)) {
    const wait = Math.floor((Math.max(0, next.until - now) * 3) / 4);
    move = { epoch: next.epoch, public_key: next.public_key, at: now + randomBelow(wait + 1), moved: first };
  }
  move = { ...move, moved: move.moved || (now >= move.at && !asks) };
  return { manifest: move.moved ? next : published, move, withdrawn };
}
