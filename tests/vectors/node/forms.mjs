// Further forms of numbers: the rows of the table in docs/identifiers.md, read from the page.
import { readFileSync } from 'node:fs';

const PAGE = new URL('../../../docs/identifiers.md', import.meta.url);
const MOST = 3;
const CELLS = /^\| `\+([^`]+)` \| (\d)(?: or (\d))? \| `\+([^`]+)` \|/;

function rules() {
  const section = readFileSync(PAGE, 'utf8').split('## Further forms\n')[1].split('\n## ')[0];
  const rows = section.split('\n').map((line) => CELLS.exec(line)).filter((row) => row !== null);
  return rows.map(([, written, least, most, also]) => {
    const pattern = written.replaceAll(' ', '').replace(/\[[^\]]+\]/, (set) => `(?<one>${set})`);
    const whole = new RegExp(`^tel:\\+${pattern}(?<rest>[0-9]{${least},${most ?? least}})$`);
    return { whole, also: also.replaceAll(' ', '') };
  });
}

const RULES = rules();

function forms({ identifier }) {
  const found = [identifier];
  for (const form of found) {
    for (const { whole, also } of RULES) {
      const { one, rest } = whole.exec(form)?.groups ?? {};
      const next = rest === undefined ? form : `tel:+${also.replace(/\[[^\]]+\]/g, one)}${rest}`;
      if (found.length < MOST && !found.includes(next)) found.push(next);
    }
  }
  return { forms: found.slice(1) };
}

export const OPERATIONS = { forms };
