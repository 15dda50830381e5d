// A store in a folder of its own: 0700, files 0600. What is written is on the disk, whole, before `write` returns.
import { mkdir, open, readFile, readdir, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OurError } from '../index.js';

const NEW = '.new';
const absent = (error) => {
  if (error.code === 'ENOENT') return null;
  throw error;
};

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

export class FolderStore {
  /** @param {string} folder of one server */
  constructor(folder) {
    this.folder = folder;
  }

  async read(name) {
    const octets = await readFile(join(this.folder, name)).catch(absent);
    return octets === null ? null : new Uint8Array(octets.buffer, octets.byteOffset, octets.length);
  }

  async holds(name, length) {
    return (await stat(join(this.folder, name)).catch(absent))?.size === length;
  }

  async write(name, octets) {
    const path = join(this.folder, name);
    const file = await open(path + NEW, 'w', 0o600);
    try {
      await file.writeFile(octets);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(path + NEW, path);
    await this._syncFolder();
  }

  async remove(name) {
    await unlink(join(this.folder, name)).catch(absent);
  }

  async names(prefix) {
    return (await readdir(this.folder)).filter((name) => name.startsWith(prefix));
  }

  /** One sync at a time. The lock of a process that has ended is taken away by who renames it first. */
  async lock() {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const path = join(this.folder, 'lock');
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        await writeFile(path, String(process.pid), { flag: 'wx', mode: 0o600 });
        return () => unlink(path).catch(absent);
      } catch (error) {
        if (error.code !== 'EEXIST') throw error;
      }
      const owner = Number(await readFile(path, 'utf8').catch(absent));
      if (owner && isAlive(owner)) break;
      await rename(path, `${path}.${process.pid}`).catch(absent);
      await unlink(`${path}.${process.pid}`).catch(absent);
    }
    throw new OurError('another sync with this server is running', { hint: `wait until it ends (${path})` });
  }

  async _syncFolder() {
    const folder = await open(this.folder, 'r');
    await folder.sync();
    await folder.close();
  }
}
