"""Follows secrets through the machine code of a kernel (x86-64, as LLVM prints it).

Public are a kernel's arguments (addresses, sizes, strides), constants, and what is computed of these alone;
secret is everything that is loaded from memory, but for constants of the program and stack slots that a
public value was spilt to. `leaks` names each conditional jump whose flags, each address whose registers, and
each division whose operands may depend on a secret. What is left are loop controls.

A data-flow analysis to a fixed point over all functions of the module, from each call on into the callee.
Where it does not know, it takes a value for secret: it may cry wolf, and is not built to overlook.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple


class Value(NamedTuple):
    secret: bool
    # ("number", n), or an address: ("symbol", name), ("stack", frame, offset), ("somewhere",) on the stack,
    # ("argument", register, offset) behind a pointer of the caller's
    what: tuple = ()


PUBLIC, SECRET = Value(False), Value(True)

CALLEE_SAVED = {"rbx", "rbp", "rsp", "r12", "r13", "r14", "r15"}
ARGUMENTS = ["rdi", "rsi", "rdx", "rcx", "r8", "r9"]
# Reference counting and raising: they see addresses and status codes only.
RUNTIME = re.compile(r"NRT_|numba_|Py|memset|memcpy|memmove")
NO_EFFECT = {"vzeroupper", "nop", "nopw", "nopl", "endbr64", "cld", "ud2", "int3"}
NO_FLAGS = re.compile(r"(v|k|mov|lea|mulx|shlx|shrx|sarx|rorx|pdep|pext|not|bswap|cmov|set|push|pop(?!cnt))")
SETS_FLAGS = re.compile(r"(vptest$|vtestp|ktest|kortest|vu?comis)")
THREE_OPERANDS = re.compile(r"(v|k|mulx|shlx|shrx|sarx|rorx|bzhi|bextr|andn|pdep|pext|lzcnt|tzcnt|popcnt)")
ACCUMULATES = re.compile(r"v(pmadd|pternlog|fm|pdp|permi2|permt2)")
READS_FLAGS = re.compile(r"(cmov|set|adc|sbb|rcl|rcr|adox|adcx)")


def register(name: str) -> str:
    """The full register that %eax, %al, %xmm3 … are parts of."""
    name = name.lstrip("%")
    if match := re.fullmatch(r"[xyz]mm(\d+)", name):
        return "v" + match[1]
    if match := re.fullmatch(r"(r\d+)[dwb]?", name):
        return match[1]
    if match := re.fullmatch(r"[er]?([abcd])[xlh]", name):
        return f"r{match[1]}x"
    if match := re.fullmatch(r"[er]?(si|di|bp|sp)l?", name):
        return "r" + match[1]
    return name


class Memory(NamedTuple):
    offset: int | None  # None: a symbol
    base: str | None
    index: str | None


def parse_operand(text: str) -> str | int | Memory | tuple[str, str]:
    """'%reg' → its name, '$5' → 5, '$name' → ("symbol", name), else Memory."""
    text = text.lstrip("*")
    if text.startswith("%"):
        return register(text)
    if text.startswith("$"):
        try:
            return int(text[1:], 0)
        except ValueError:
            return ("symbol", text[1:])
    match = re.fullmatch(r"(?:%\ws:)?([^()]*)(?:\(([^)]*)\))?", text)
    assert match, text
    parts = [part.strip() for part in (match[2] or "").split(",")]
    base = register(parts[0]) if parts[0] else None
    index = register(parts[1]) if len(parts) > 1 and parts[1] else None
    try:
        offset = int(match[1] or "0", 0)
    except ValueError:
        offset = None
    return Memory(offset, base, index)


@dataclass
class Instruction:
    name: str
    operands: list
    masks: list[str]
    broadcast: bool
    line: str


@dataclass
class Function:
    name: str
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def parse(assembly: str) -> dict[str, Function]:
    functions: dict[str, Function] = {}
    current = None
    for line in assembly.splitlines():
        text = line.split("#")[0].strip() if "#" in line and '"' not in line else line.strip()
        if match := re.fullmatch(r"([^\s:]+):", text):
            if not match[1].startswith(".L"):
                current = functions.setdefault(match[1], Function(match[1]))
            elif current is not None:
                current.labels[match[1]] = len(current.code)
        elif current is not None and text and not text.startswith("."):
            name, _, rest = text.partition("\t")
            if name == "lock" or name.startswith("rep"):
                name, _, rest = rest.partition("\t")
            masks = [register(mask) for mask in re.findall(r"\{(%k\d)\}", rest)]
            rest, broadcast = re.sub(r"\{[^}]*\}", "", rest), "{1to" in rest
            operands = re.findall(r"(?:[^,(]|\([^)]*\))+", rest)
            parsed = [parse_operand(operand.strip()) for operand in operands]
            current.code.append(Instruction(name.strip(), parsed, masks, broadcast, text))
    return {name: f for name, f in functions.items() if f.code}


class State:
    """What registers and stack slots (of eight bytes) hold at one place. What is missing is secret."""

    def __init__(self, registers: dict[str, Value], slots: dict[tuple, Value]) -> None:
        self.registers = registers
        self.slots = slots

    def copy(self) -> State:
        return State(dict(self.registers), dict(self.slots))

    def get(self, name: str) -> Value:
        return self.registers.get(name, SECRET)

    def put(self, slot: tuple, value: Value) -> None:
        if value.secret:
            self.slots.pop(slot, None)
        else:
            self.slots[slot] = value

    def join(self, other: State) -> bool:
        """Take in another way to the same place; whether that changed anything."""
        changed = False
        for mine, theirs in ((self.registers, other.registers), (self.slots, other.slots)):
            for name, value in list(mine.items()):
                both = joined(value, theirs.get(name, SECRET))
                if both != value:
                    changed = True
                    mine[name] = both
                    if both.secret:
                        del mine[name]
        return changed


def joined(a: Value, b: Value) -> Value:
    return Value(a.secret or b.secret, a.what if a.what == b.what else ())


@dataclass
class Summary:
    """What is known of a function: the joined state at its entry, what it returns, how far it writes."""

    entry: State
    result: Value | None = None
    written: dict[str, int] = field(default_factory=dict)  # bytes behind the pointer in an argument register


ANYWHERE = 1 << 14  # bytes: more than any frame has


class Analysis:
    """The rules, with instructions and calling convention of x86-64 (System V); a subclass has others."""

    parse = staticmethod(parse)
    SLOT = 8  # bytes of the stack that are looked at alone
    ARGUMENTS, CALLEE_SAVED = ARGUMENTS, CALLEE_SAVED
    ALSO_PUBLIC = ("rax", "r10", "r11")  # when a kernel is entered
    STACK, RESULT = "rsp", "rax"
    FILLED, FILL_SIZE = "rdi", "rdx"  # of memset and memcpy
    RETURN_ADDRESS = 8  # bytes that a call puts on the stack
    LINK: tuple[str, ...] = ()  # where a call puts it otherwise

    def __init__(self, assembly: str, kernel: str) -> None:
        self.functions = self.parse(assembly)
        mangled = f"{len(kernel)}{kernel}B"
        wrappers = ("_ZN7cpython", "cfunc")
        self.root = next(n for n in self.functions if mangled in n and not n.startswith(wrappers))
        self.leaks: set[str] = set()
        self.jumps = self.secret_instructions = 0
        public = dict.fromkeys([*self.ARGUMENTS, "flags", *self.ALSO_PUBLIC, *self.CALLEE_SAVED], PUBLIC)
        public[self.STACK] = Value(False, ("stack", "entry", 0))
        arguments = {("entry", offset): PUBLIC for offset in range(0, 1024, self.SLOT)}
        self.summaries = {self.root: Summary(State(public, arguments))}
        waiting = [self.root]
        while waiting:
            waiting += self.run(waiting.pop(0))
        for name in self.summaries:
            self.run(name, report=True)

    # ---- one function --------------------------------------------------------------------------------

    def run(self, name: str, *, report: bool = False) -> list[str]:
        """Analyse a function from its entry state. Returns the functions whose summaries changed by it."""
        function, summary = self.functions[name], self.summaries[name]
        leaders = {0, *function.labels.values()}  # where control may come from elsewhere
        states: dict[int, State] = {0: summary.entry.copy()}
        changed: list[str] = []
        waiting = [0]
        while waiting:
            at = waiting.pop()
            for following, state in self.block(function, at, leaders, states[at].copy(), summary, changed):
                if following not in states:
                    states[following] = state.copy()
                    waiting.append(following)
                elif states[following].join(state) and following not in waiting:
                    waiting.append(following)
        if report:
            for at, state in states.items():
                self.block(function, at, leaders, state.copy(), summary, [], report=True)
        return changed

    def block(self, function, at, leaders, state, summary, changed, *, report=False) -> list:
        """Execute from `at` on to the next leader; the places and states where control goes on."""
        ways = []
        while True:
            targets = self.step(function, at, state, summary, changed, report=report)
            ways += [(target, state.copy()) for target in targets if target != at + 1]
            if at + 1 not in targets or at + 1 in leaders:
                return ways + [(at + 1, state)] * (at + 1 in targets)
            at += 1

    def step(self, function, at, state, summary, changed, *, report) -> list[int]:
        """Execute one instruction on `state`; the places where it goes on."""
        instruction = function.code[at]
        name, operands = instruction.name, instruction.operands

        def leak(what: str) -> None:
            if report:
                self.leaks.add(f"{what}: {instruction.line}  (in {function.name[:70]})")

        if name.startswith("j"):
            target = re.search(r"(\.L\w+)", instruction.line)
            if name in ("jmp", "jmpq"):
                assert target or function.name.startswith("NRT"), instruction.line
                return [function.labels[target[1]]] if target else []
            if report:
                self.jumps += 1
            if state.get("flags").secret:
                leak("a conditional jump depends on a secret")
            return [function.labels[target[1]], at + 1]
        if name.startswith("ret"):
            self.returns(function, state, summary, changed)
            return []
        if name.startswith("ud2"):
            return []
        if name not in NO_EFFECT:
            if name.startswith("call"):
                target = operands[0]
                known = state.get(target).what if isinstance(target, str) else target
                self.call(function, state, known, summary, changed)
            else:
                self.execute(instruction, state, summary, leak, report=report)
        return [at + 1] if at + 1 < len(function.code) else []

    # ---- memory --------------------------------------------------------------------------------------

    def address(self, operand: Memory, state: State, leak) -> Value:
        parts = [state.get(part) for part in (operand.base, operand.index) if part and part != "rip"]
        if any(part.secret for part in parts):
            leak("an address depends on a secret")
        if operand.base == "rip" or operand.offset is None:
            return Value(False, ("symbol", "constant"))
        if operand.base and operand.index is None:
            base = state.get(operand.base)
            if base.what[:1] in (("stack",), ("argument",)):
                return Value(False, (*base.what[:2], base.what[2] + operand.offset))
            return Value(base.secret, base.what)
        for part in parts:
            if part.what[:1] == ("symbol",):
                return Value(False, part.what)
            if part.what[:1] in (("stack",), ("somewhere",)):
                return Value(False, ("somewhere",))
        return PUBLIC

    def load(self, operand: Memory, state: State, size: int, leak) -> Value:
        where = self.address(operand, state, leak).what
        if where[:1] == ("symbol",):
            return PUBLIC
        if where[:1] != ("stack",):
            return SECRET
        values = [state.slots.get((where[1], offset), SECRET) for offset in self.touched(where[2], size)]
        return values[0] if len(values) == 1 else Value(any(value.secret for value in values))

    def store(self, operand: Memory, state: State, size: int, value: Value, summary: Summary, leak) -> None:
        where = self.address(operand, state, leak).what
        if where[:1] == ("stack",):
            for offset in self.touched(where[2], size):
                state.put((where[1], offset), value)
        elif where[:1] == ("somewhere",):
            state.slots.clear()
        elif where[:1] == ("argument",):
            summary.written[where[1]] = max(summary.written.get(where[1], 0), where[2] + size)

    # ---- instructions --------------------------------------------------------------------------------

    def execute(self, instruction, state, summary, leak, *, report) -> None:
        name, operands = instruction.name, instruction.operands
        size = operand_bytes(instruction)

        def read(operand) -> Value:
            if isinstance(operand, str):
                return state.get(operand)
            if isinstance(operand, Memory):
                return self.load(operand, state, size, leak)
            return Value(False, operand if isinstance(operand, tuple) else ("number", operand))

        def write(operand, value: Value) -> None:
            if isinstance(operand, str):
                state.registers[operand] = value
                if value.secret:
                    del state.registers[operand]
            elif isinstance(operand, Memory):
                self.store(operand, state, size, value, summary, leak)

        if name.startswith("push"):
            value = read(operands[0])
            move_stack(state, -8)
            write(Memory(0, "rsp", None), value)
            return
        if name.startswith("pop") and not name.startswith("popcnt"):
            value = self.load(Memory(0, "rsp", None), state, 8, leak)
            move_stack(state, 8)
            write(operands[0], value)
            return
        if name.startswith("lea"):
            write(operands[1], self.address(operands[0], state, lambda _: None)._replace(
                secret=any(state.get(r).secret for r in operands[0][1:] if r and r != "rip")))  # fmt: skip
            return
        if name in ("mov", "movq", "movl", "movabsq"):
            write(operands[1], read(operands[0]))
            return
        if operands[-1:] == ["rsp"]:
            assert isinstance(operands[0], int), instruction.line
            if name.startswith("and"):
                state.registers["rsp"] = Value(False, ("stack", "aligned", 0))
            else:
                move_stack(state, operands[0] if name.startswith("add") else -operands[0])
            return

        values = [read(operand) for operand in operands]
        takes, gives = implicit_registers(name, len(operands))
        values += [state.get(register_) for register_ in takes]
        values += [state.get(mask) for mask in instruction.masks]
        if READS_FLAGS.match(name):
            values.append(state.get("flags"))

        overwrites = (
            (THREE_OPERANDS.match(name) and not ACCUMULATES.match(name) and not instruction.masks)
            or name.startswith(("mov", "set"))
            or (name.startswith("imul") and len(operands) == 3)
        )
        counted = values
        if overwrites and operands:
            written = 2 if name.startswith("mulx") else 1
            counted = values[: len(operands) - written] + values[len(operands) :]
        same = len(operands) > 1 and len({repr(operand) for operand in operands}) == 1
        if same and re.match(r"v?p?(xor|sub|andn)", name) and not name.startswith("sbb"):
            counted = []  # x ^ x
        result = Value(any(value.secret for value in counted))
        if result.secret and report:
            self.secret_instructions += 1
        if re.match(r"i?div", name) and result.secret:
            leak("a division takes a secret")
        if SETS_FLAGS.match(name) or not NO_FLAGS.match(name):
            state.registers["flags"] = result
        if SETS_FLAGS.match(name) or re.match(r"(cmp|test|bt[qlw]$)", name):
            return
        for target in gives or operands[-1:]:
            write(target, result)
        if name.startswith(("mulx", "xchg")):
            write(operands[-2], result)

    # ---- calls ---------------------------------------------------------------------------------------

    def returns(self, function, state, summary, changed) -> None:
        """Join what a function returns here into what is known of it."""
        result = state.get(self.RESULT)
        merged = result if summary.result is None else joined(summary.result, result)
        if merged != summary.result:
            summary.result = merged
            changed += [n for n in self.summaries if n != function.name]

    def call(self, function, state, target, summary, changed) -> None:
        """Call what is known of a target: ("symbol", its name)."""
        name = target[1] if target[:1] == ("symbol",) else ""
        assert name, f"a call of something unknown in {function.name}"
        result = PUBLIC
        if name in self.functions and not RUNTIME.match(name):
            callee = self.enter(name, state, changed)
            result = callee.result or PUBLIC
            for register_, length in callee.written.items():
                pointer = state.get(register_).what
                if pointer[:1] == ("stack",):
                    for offset in self.touched(pointer[2], length):
                        state.slots.pop((pointer[1], offset), None)
                elif pointer[:1] == ("somewhere",):
                    state.slots.clear()
        else:
            assert RUNTIME.match(name), f"{function.name} calls {name}"
            if name.startswith("mem"):
                self.fill(state, PUBLIC if name == "memset" else SECRET, summary)
        for register_ in list(state.registers):
            if register_ not in self.CALLEE_SAVED:
                del state.registers[register_]
        state.registers[self.RESULT] = result

    def fill(self, state: State, value: Value, summary: Summary) -> None:
        """What memset and memcpy do to the stack."""
        pointer, size = state.get(self.FILLED).what, state.get(self.FILL_SIZE).what
        if pointer[:1] == ("stack",) and size[:1] == ("number",):
            for offset in self.touched(pointer[2], size[1]):
                state.put((pointer[1], offset), value)
        elif pointer[:1] in (("stack",), ("somewhere",)):
            state.slots.clear()
        elif pointer[:1] in (("argument",), ("within",)):
            summary.written[pointer[1]] = ANYWHERE

    def enter(self, name: str, state: State, changed: list[str]) -> Summary:
        """Join the state at a call into the callee's entry; its frame begins below the return address."""
        _, frame, top = state.get(self.STACK).what
        below = self.RETURN_ADDRESS
        slots = {("entry", offset): PUBLIC for offset in range(0, below, self.SLOT)}
        slots |= {
            ("entry", o - top + below): Value(v.secret)
            for (f, o), v in state.slots.items()
            if f == frame and o >= top
        }
        registers = {}
        for register_, value in state.registers.items():
            known = value
            if value.what[:1] in (("stack",), ("argument",)):
                is_argument = register_ in self.ARGUMENTS
                known = Value(False, ("argument", register_, 0) if is_argument else ("somewhere",))
            registers[register_] = known
        registers |= dict.fromkeys(self.LINK, PUBLIC)
        registers[self.STACK] = Value(False, ("stack", "entry", 0))
        entry = State(registers, slots)
        if name not in self.summaries:
            self.summaries[name] = Summary(entry)
            changed.append(name)
        elif self.summaries[name].entry.join(entry):
            changed.append(name)
        return self.summaries[name]

    def touched(self, offset: int, size: int) -> range:
        """The slots that `size` bytes from `offset` on lie in."""
        return range(offset // self.SLOT * self.SLOT, offset + size, self.SLOT)


def move_stack(state: State, by: int) -> None:
    _, frame, offset = state.get("rsp").what
    state.registers["rsp"] = Value(False, ("stack", frame, offset + by))


def implicit_registers(name: str, operands: int) -> tuple[list[str], list[str]]:
    """Registers that an instruction reads and writes without naming them."""
    if re.match(r"i?mul[qlwb]?$", name) and operands == 1:
        return ["rax"], ["rax", "rdx"]
    if re.match(r"i?div", name):
        return ["rax", "rdx"], ["rax", "rdx"]
    if name in ("cqto", "cltd"):
        return ["rax"], ["rdx"]
    if name in ("cltq", "cwtl"):
        return ["rax"], ["rax"]
    if name.startswith("mulx"):
        return ["rdx"], []
    assert not name.startswith("stos"), "string instructions are not known here"
    return [], []


def operand_bytes(instruction: Instruction) -> int:
    """How many bytes an instruction moves between memory and registers, rounded up."""
    if instruction.broadcast:
        return 8
    for width, size in (("%zmm", 64), ("%ymm", 32), ("%xmm", 16)):
        if width in instruction.line:
            return size
    return 8
