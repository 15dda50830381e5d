// Where the label of a match leads: by a template of the operator, and only by schemes that run nothing.
const TEMPLATE = /^(?:https:\/\/[a-z0-9.-]+(?::\d{1,5})?\/|matrix:|xmpp:|mailto:)[^\s"'<>\\^`{|}]*\{label\}[^\s"'<>\\^`{|}]*$/;
const SCHEMES = ['https:', 'matrix:', 'xmpp:', 'mailto:'];

/** The link of a label; null if there is none. A label is data: it cannot change the scheme or the host. */
export function linkOf(template, label) {
  if (!template || !TEMPLATE.test(template)) return null;
  let quoted;
  try {
    quoted = encodeURIComponent(label).replace(/%40/g, '@').replace(/%3A/g, ':').replace(/%2B/g, '+');
  } catch {
    return null; // half a character
  }
  const link = template.replace('{label}', () => quoted);
  try {
    return SCHEMES.includes(new URL(link).protocol) ? link : null;
  } catch {
    return null;
  }
}
