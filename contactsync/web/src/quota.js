// The budget of an account, as the server states it and as this client counts it: docs/http-api.md, "Quotas".
const DAY = 86400;
const MOST = 2 ** 53;

const isFigure = (value) => Number.isInteger(value) && value >= 0 && value <= MOST;

/** @returns {null | {left: number, burst: number, per_day: number}} */
export function quotaOf(value) {
  if (value === null || typeof value !== 'object') return null;
  const { left, burst, per_day } = value;
  return [left, burst, per_day].every(isFigure) ? { left, burst, per_day } : null;
}

function parameters(field) {
  const item = /"points"((?:\s*;\s*[a-z]+=\d{1,16})+)/.exec((field ?? '').slice(0, 1000));
  return Object.fromEntries([...(item?.[1] ?? '').matchAll(/([a-z]+)=(\d+)/g)].map(([, name, value]) => [name, Number(value)]));
}

/** The quota in RateLimit-Policy and RateLimit; null if they have none. @param {Headers} headers */
export function quotaOfFields(headers) {
  const [policy, now] = ['ratelimit-policy', 'ratelimit'].map((name) => parameters(headers.get(name)));
  if (!policy.w || policy.q === undefined || now.r === undefined) return null;
  return { left: Math.min(now.r, policy.q), burst: policy.q, per_day: Math.round((policy.q * DAY) / policy.w) };
}

/** What is known of an account after so many points were sent. `account` null: nothing was known. `now` in seconds. */
export function used(account, points, said, now) {
  if (account === null && said === null) return null;
  const last = said ?? account.said;
  const most = {
    burst: Math.max(account?.most.burst ?? 0, last.burst),
    per_day: Math.max(account?.most.per_day ?? 0, last.per_day),
  };
  const days = account ? Math.max(0, (now - account.at) / DAY) : 0;
  const spent = Math.max(0, (account?.spent ?? 0) - days * most.per_day) + points;
  return { said: last, most, spent, at: now };
}

/**
 * Whether a cover round leaves a quarter of the budget. A server that could switch it off by a figure would see who has
 * nothing new: it is believed only as far as this client's own count explains how little is left.
 */
export function covers(account, points) {
  if (account === null) return true;
  const { burst } = account.most;
  const left = Math.max(account.said.left, burst - account.spent);
  return burst < 4 * points || 4 * (left - points) >= burst;
}
