"""Both groups compute the same, and a client without WebAssembly works: by noble, and says nothing."""

import json
import shutil

import pytest
from javascript import CLI, WEB, needs_node, needs_packages, node

SOURCES = json.dumps(str(WEB / "src" / "group"))


def groups(body):
    script = f"""
      const folder = {SOURCES};
      const {{ GENERATOR, readyGroup }} = await import(folder + '/group.js');
      const {{ noble }} = await import(folder + '/noble.js');
      const {{ randomBytes }} = await import('node:crypto');
      const hex = (octets) => Buffer.from(octets).toString('hex');
      const random = () => new Uint8Array(randomBytes(64));
      {body}"""
    return json.loads(node("--input-type=module", "-e", script).stdout)


@needs_packages
@pytest.mark.slow
def test_both_groups_compute_the_same():
    differing = groups("""
      const sodium = await readyGroup();
      const found = sodium.name === 'libsodium' ? [] : ['libsodium does not run'];
      const same = (what, one) => {
        const shown = (value) => value instanceof Uint8Array ? hex(value) : value;
        const [a, b] = [sodium, noble].map((group) => JSON.stringify([one(group)].flat().map(shown)));
        if (a !== b) found.push(`${what}: ${a} and ${b}`);
      };
      const zero = new Uint8Array(32);
      for (let i = 0; i < 40; i++) {
        const wide = Array.from({ length: 40 }, random);
        same('fromUniform', (group) => group.fromUniform(wide[0]));
        same('reduce', (group) => wide.map((one) => group.reduce(one)));
        const elements = wide.map((one) => sodium.fromUniform(one));
        const scalars = wide.map((one) => sodium.reduce(one));
        same('multiply', (group) => group.multiply(elements[0], scalars[0]));
        same('invert', (group) => group.invert(scalars));
        same('sum', (group) => group.sum(elements.slice(0, i), scalars.slice(0, i)));
        same('sum with zeros', (group) => group.sum([elements[0], elements[1]], [zero, scalars[1]]));
        same('sum of zeros', (group) => group.sum([GENERATOR], [zero]));
        const asked = [zero, elements[0], wide[0].slice(0, 32), wide[0], zero.slice(1)];
        same('isElement', (group) => asked.map((one) => group.isElement(one)));
      }
      console.log(JSON.stringify(found));""")
    assert differing == []


@needs_packages
@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        "delete globalThis.WebAssembly",
        "WebAssembly.instantiate = () => Promise.reject(new WebAssembly.CompileError('a policy forbids it'))",
        "WebAssembly.instantiate = () => new Promise(() => undefined)",
    ],
)
def test_without_webassembly_noble_is_used(broken):
    """The last one never ends, as in an engine that hangs: the sync goes on."""
    name = groups(f"{broken}; console.log(JSON.stringify((await readyGroup()).name)); process.exit(0);")
    assert name == "noble"


@needs_packages
@pytest.mark.slow
def test_a_library_that_computes_something_else_is_not_used():
    name = groups("""
      const { fastest } = await import(folder + '/group.js');
      const library = '/../../node_modules/libsodium-sumo/dist/modules-sumo-esm/libsodium-sumo.mjs';
      const { default: load } = await import(folder + library);
      const broken = async () => ({ ...(await load()), _crypto_scalarmult_ristretto255: () => 0 });
      const names = [await fastest(load), await fastest(broken)].map((one) => one.name);
      console.log(JSON.stringify(names));""")
    assert name == ["libsodium", "noble"]


@needs_node
@pytest.mark.slow
def test_a_sync_is_the_same_without_the_file_of_libsodium(person, tmp_path):
    """What one has kept, the other goes on with."""
    numbers = [f"+49{number}" for number in range(15100000000, 15100000100)]
    usual = person.sync(*numbers)
    for name in ("contactsync.mjs", "contactsync-js.mjs"):
        shutil.copy(WEB / "bundle" / name, tmp_path)
    person.program = tmp_path / "contactsync-js.mjs"
    shutil.rmtree(person.state)
    alone = person.sync(*numbers)
    for one in ("matches", "evaluated", "bytes_sent", "identifiers"):
        assert alone[one] == usual[one]
    person.program = CLI
    assert person.sync(*numbers)["matches"] == usual["matches"] != []
