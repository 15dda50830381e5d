// What the operator says of the service, in service.json: the root above all, which the page does not fetch from elsewhere.
import { linkOf } from './links.js';

const FORMAT = 'contactsync-service-1';
const isLocal = (url) => ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);

/** @returns {{name: string, link: string, url: string, root: string}} Throws Error */
export function readService(value, own) {
  const texts = ['name', 'label_link', 'url', 'root'];
  if (value?.format !== FORMAT || !texts.every((name) => typeof value[name] === 'string')) throw new Error('service.json has another format');
  const { name, label_link: link, root } = value;
  const url = new URL(value.url || own);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLocal(url))) throw new Error('service.json has a URL that is not https');
  if (link && linkOf(link, 'label') === null) throw new Error('service.json has a link that is not allowed');
  if (!root) throw new Error('service.json has no root');
  return { name, link, url: url.origin, root };
}
