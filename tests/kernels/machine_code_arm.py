"""As machine_code.py, for AArch64: what LLVM makes of a kernel for another processor, without having one.

The kernel's LLVM IR, as Numba made it here for one lane, is given LLVM's passes and code generator for
AArch64. Where it names an instruction of x86 (a counter of references), that is said in plain IR first. The
rules are those of machine_code.py; the differences are the instruction set and the calling convention
(AAPCS64).
"""

from __future__ import annotations

import re

import llvmlite.binding as llvm
from machine_code import (
    ANYWHERE,
    PUBLIC,
    SECRET,
    Analysis,
    Function,
    Instruction,
    State,
    Summary,
    Value,
)

TRIPLE = "aarch64-unknown-linux-gnu"
UPPER = ("upper half of what is in the slot before",)
NO_EFFECT = {"nop", "dmb", "prfm", "hint", "bti", "paciasp", "autiasp"}
SETS_FLAGS = {
    "adds",
    "subs",
    "ands",
    "bics",
    "adcs",
    "sbcs",
    "negs",
    "ngcs",
    "cmp",
    "cmn",
    "tst",
    "ccmp",
    "ccmn",
    "fcmp",
}
NO_RESULT = {"cmp", "cmn", "tst", "ccmp", "ccmn", "fcmp"}
READS_FLAGS = re.compile(
    r"(csel|csinc|csinv|csneg|cset|csetm|cinc|cinv|cneg|ccmp|ccmn|fcsel|adcs?|sbcs?|ngcs?)$"
)
ACCUMULATES = re.compile(
    r"(movk|bfi|bfxil|bfm|ins|mla|mls|fmla|fmls|[us]mlal2?|[us]mlsl2?|sli|sri|bsl|bit|bif|xtn2|[us]sra|sha\w*)$"
)
LOADS = re.compile(r"(ldr|ldur|ldp|ldnp|ld1|ld1r|ldar|ldxr|ldaxr)(b|h|w|sb|sh|sw)?$")
STORES = re.compile(r"(str|stur|stp|stnp|st1|stlr)(b|h|w)?$")
ATOMIC = re.compile(r"(ld(add|set|clr|eor)\w*|stxr\w*|stlxr\w*|cas\w*|swp\w*)$")
_X86_DECREF = re.compile(
    r"(%[\w.]+) = (?:tail )?call i8 @llvm\.x86\.atomic\.sub\.cc\.i64\(ptr (?:\w+ )*(%[\w.]+), i64 1, i32 4\)"
)


def assembly(ir: str) -> str:
    """AArch64 assembly of a module that Numba made for x86-64."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    names = iter(range(1 << 20))

    def plainly(found: re.Match[str]) -> str:
        before, is_last = f"%before.{next(names)}", f"%last.{next(names)}"
        return (
            f"{before} = atomicrmw sub ptr {found[2]}, i64 1 seq_cst\n"
            f"  {is_last} = icmp eq i64 {before}, 1\n  {found[1]} = zext i1 {is_last} to i8"
        )

    # Numbers of values must ascend: each is given a name.
    ir = re.sub(r"%(\d+)\b", r"%value.\1", ir)
    ir = re.sub(r"^(\d+):", r"value.\1:", ir, flags=re.MULTILINE)
    ir = _X86_DECREF.sub(plainly, ir)
    ir = re.sub(r"^declare .*@llvm\.x86\.atomic.*$", "", ir, flags=re.MULTILINE)
    assert "llvm.x86" not in ir
    module = llvm.parse_assembly(ir)
    machine = llvm.Target.from_triple(TRIPLE).create_target_machine(
        cpu="generic", opt=3, reloc="pic", codemodel="default"
    )
    module.triple, module.data_layout = TRIPLE, str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_assembly(module)


def register(name: str) -> str:
    """The full register that w0, d0, v0.2d, v0.d[1] … are parts of; "" if it is none."""
    if name in ("sp", "wsp"):
        return "sp"
    if match := re.fullmatch(r"[xw](\d+)", name):
        return "x" + match[1]
    if match := re.fullmatch(r"[vqdshb](\d+)(\..*)?", name):
        return "v" + match[1]
    return ""


def parse(text: str) -> dict[str, Function]:
    """Functions by name: instructions with their operands as text."""
    functions: dict[str, Function] = {}
    current = None
    for line in text.splitlines():
        plain = line.split("//")[0].strip()
        if match := re.fullmatch(r'"?([^\s:"]+)"?:', plain):
            if not match[1].startswith(".L"):
                current = functions.setdefault(match[1], Function(match[1]))
            elif current is not None:
                current.labels[match[1]] = len(current.code)
        elif current is not None and plain and not plain.startswith("."):
            name, _, rest = plain.partition("\t")
            operands = [
                one.strip() for one in re.findall(r"(?:[^,\[{]|\[[^\]]*\]!?|\{[^}]*\}(?:\[\d+\])?)+", rest)
            ]
            current.code.append(Instruction(name.strip(), operands, [], False, plain))
    return {name: function for name, function in functions.items() if function.code}


class ArmAnalysis(Analysis):
    """See machine_code.Analysis."""

    parse = staticmethod(parse)
    SLOT = 4
    ARGUMENTS = tuple(f"x{n}" for n in range(8))
    CALLEE_SAVED = frozenset({*(f"x{n}" for n in range(19, 30)), "sp", *(f"v{n}" for n in range(8, 16))})
    ALSO_PUBLIC = ("x8", "x30")
    STACK, RESULT = "sp", "x0"
    FILLED, FILL_SIZE = "x0", "x2"
    RETURN_ADDRESS, LINK = 0, ("x30",)

    def step(self, function, at, state, summary, changed, *, report) -> list[int]:
        """Execute one instruction on `state`; the places where it goes on."""
        instruction = function.code[at]
        name, operands = instruction.name, instruction.operands

        def leak(what: str) -> None:
            if report:
                self.leaks.add(f"{what}: {instruction.line}  (in {function.name[:70]})")

        if name == "ret":
            self.returns(function, state, summary, changed)
            return []
        if name == "b" and operands[0] in function.labels:
            return [function.labels[operands[0]]]
        if name == "b":  # a tail call
            self.call(function, state, ("symbol", operands[0]), summary, changed)
            self.returns(function, state, summary, changed)
            return []
        if name.startswith("b.") or name in ("cbz", "cbnz", "tbz", "tbnz"):
            if report:
                self.jumps += 1
            if state.get("flags" if name.startswith("b.") else register(operands[0])).secret:
                leak("a conditional jump depends on a secret")
            return [function.labels[operands[-1]], at + 1]
        assert name != "br", f"a jump table in {function.name}"
        if name in ("brk", "udf"):
            return []
        if name in ("bl", "blr"):
            target = state.get(register(operands[0])).what if name == "blr" else ("symbol", operands[0])
            self.call(function, state, target, summary, changed)
        elif name not in NO_EFFECT:
            self.execute(instruction, state, summary, leak, report=report)
        return [at + 1] if at + 1 < len(function.code) else []

    # ---- memory --------------------------------------------------------------------------------------

    def place(self, text: str, state: State, leak) -> Value:
        """What is known of an address such as `[x0, x1, lsl #3]`."""
        parts = [part.strip() for part in text.strip("!")[1:-1].split(",")]
        values = [state.get(register(part)) for part in parts if register(part)]
        if any(value.secret for value in values):
            leak("an address depends on a secret")
        if any(":lo12:" in part or ":got" in part for part in parts):
            named = next(part for part in parts if ":" in part).rpartition(":")[2]
            return Value(False, ("got" if ":got" in text else "symbol", named))
        base = values[0].what
        if len(values) == 1 and base[:1] in (("stack",), ("argument",)):
            offset = next((int(part[1:], 0) for part in parts[1:] if part.startswith("#")), 0)
            return Value(False, (*base[:2], base[2] + offset))
        return Value(False, somewhere(values))

    def after(self, operands: list[str], state: State) -> None:
        """Move the base of an address with `!`, or with an offset behind it."""
        at = next(i for i, one in enumerate(operands) if one.startswith("["))
        base = register(operands[at].strip("[]!").split(",")[0].strip())
        moved = operands[at].endswith("!") or len(operands) > at + 1
        if not moved:
            return
        by = operands[at + 1] if len(operands) > at + 1 else operands[at].strip("[]!").split(",")[1].strip()
        what = state.get(base).what
        if what[:1] in (("stack",), ("argument",)) and by.startswith("#"):
            state.registers[base] = Value(False, (*what[:2], what[2] + int(by[1:], 0)))
        elif base in state.registers:
            state.registers[base] = Value(state.get(base).secret, somewhere([state.get(base)]))

    def move(self, instruction, state, summary, leak, *, report) -> None:
        """A load or a store of one register or several."""
        name, operands = instruction.name, instruction.operands
        at = next(i for i, one in enumerate(operands) if one.startswith("["))
        named = [one for text in operands[:at] for one in re.findall(r"[a-z]\w*(?:\.\w+)?", text)]
        is_post = len(operands) > at + 1
        where = self.place(
            operands[at].split(",")[0].rstrip("]") + "]" if is_post else operands[at], state, leak
        ).what
        for i, text in enumerate(named):
            size = width(name, text)
            what = (*where[:2], where[2] + i * size) if where[:1] in (("stack",), ("argument",)) else where
            if LOADS.match(name):
                value = self.loaded(what, state, size)
                if value.secret and report:
                    self.secret_instructions += 1
                if re.fullmatch(r"v\d+\.[bhsd]", text):  # one lane; the others stay
                    value = Value(value.secret or state.get(register(text)).secret)
                put(state, register(text), value)
            else:
                self.stored(what, state, size, value_of(text, state), summary)
        self.after(operands, state)

    def loaded(self, where: tuple, state: State, size: int) -> Value:
        if where[:1] == ("got",):
            return Value(False, ("symbol", where[1]))
        if where[:1] == ("symbol",):
            return PUBLIC
        if where[:1] != ("stack",):
            return SECRET
        values = [state.slots.get((where[1], offset), SECRET) for offset in self.touched(where[2], size)]
        if size == 8 and values[1].what == UPPER:  # it is what was stored, and nothing was put over a part
            return values[0]
        return Value(any(value.secret for value in values))

    def stored(self, where: tuple, state: State, size: int, value: Value, summary: Summary) -> None:
        if where[:1] == ("stack",):
            for place, offset in enumerate(self.touched(where[2], size)):
                slot = (where[1], offset)
                what = (value.what, UPPER)[place] if size == 8 else ()
                part = size < 4 and state.slots.get(slot, SECRET).secret  # the rest of it stays secret
                state.put(slot, Value(value.secret or part, what))
        elif where[:1] == ("somewhere",):
            state.slots.clear()
        elif where[:1] == ("argument",):
            summary.written[where[1]] = max(summary.written.get(where[1], 0), where[2] + size)
        elif where[:1] == ("within",):  # somewhere behind the caller's pointer
            summary.written[where[1]] = ANYWHERE

    # ---- instructions --------------------------------------------------------------------------------

    def execute(self, instruction, state, summary, leak, *, report) -> None:
        name, operands = instruction.name, instruction.operands
        if LOADS.match(name) or STORES.match(name):
            self.move(instruction, state, summary, leak, report=report)
            return
        if ATOMIC.match(name):  # counts references: addresses are public, and so is what they count
            self.place(next(one for one in operands if one.startswith("[")), state, leak)
            for text in operands[:-1]:
                put(state, register(text), PUBLIC)
            return
        if name in ("adrp", "adr"):
            put(state, register(operands[0]), Value(False, ("symbol", operands[1].rpartition(":")[2])))
            return
        values = [value_of(text, state) for text in operands]
        counted = values if name in NO_RESULT or ACCUMULATES.match(name) or "[" in operands[0] else values[1:]
        if READS_FLAGS.match(name):
            counted = [*counted, state.get("flags")]
        if name in ("eor", "sub", "bic") and len(operands) == 3 and operands[1] == operands[2]:
            counted = []  # x ^ x
        result = Value(any(value.secret for value in counted))
        if result.secret and report:
            self.secret_instructions += 1
        if re.match(r"[us]div", name) and result.secret:
            leak("a division takes a secret")
        if name in SETS_FLAGS:
            state.registers["flags"] = result
        if name in NO_RESULT:
            return
        put(state, register(operands[0]), Value(result.secret, derived(name, operands, values)))


def value_of(text: str, state: State) -> Value:
    """What an operand holds: a register, or a number."""
    if name := register(text):
        return state.get(name)
    number = text.lstrip("#")
    return (
        Value(False, ("number", int(number, 0)))
        if re.fullmatch(r"-?(0x)?[0-9a-f]+", number) and text[0] == "#"
        else PUBLIC
    )


def put(state: State, name: str, value: Value) -> None:
    """Set a register; the zero register takes everything."""
    if not name:
        return
    state.registers[name] = value
    if value.secret:
        del state.registers[name]


def somewhere(values: list[Value]) -> tuple:
    """What an address computed from these may be: on the stack if one of them is, or a constant."""
    kinds = {value.what[:1] for value in values}
    if kinds & {("stack",), ("somewhere",)}:
        return ("somewhere",)
    for value in values:
        if value.what[:1] in (("argument",), ("within",)):
            return ("within", value.what[1])
    return next((value.what for value in values if value.what[:1] == ("symbol",)), ())


def derived(name: str, operands: list[str], values: list[Value]) -> tuple:
    """What is known of a result besides that it is public."""
    sources = values[1:]
    if name == "mov" and len(sources) == 1:
        return sources[0].what
    if len(operands) > 2 and ":lo12:" in operands[2]:
        return ("symbol", operands[2].rpartition(":")[2])
    if name in ("add", "sub") and len(sources) >= 2 and sources[0].what[:1] in (("stack",), ("argument",)):
        if sources[1].what[:1] == ("number",):
            shift = 12 if len(operands) > 3 and operands[3] == "lsl #12" else 0
            by = sources[1].what[1] << shift
            return (*sources[0].what[:2], sources[0].what[2] + (by if name == "add" else -by))
    if register(operands[0]) == "sp":
        return ("stack", "aligned", 0)
    return somewhere(sources)


def width(name: str, text: str) -> int:
    """How many octets of memory one register of a load or store is."""
    if name.endswith("b"):
        return 1
    if name.endswith("h"):
        return 2
    if name.endswith("sw"):
        return 4
    if match := re.fullmatch(r"v\d+\.(\d+)([bhsd])", text):
        return int(match[1]) * {"b": 1, "h": 2, "s": 4, "d": 8}[match[2]]
    if match := re.fullmatch(r"v\d+\.([bhsd])(\[\d+\])?", text):
        return {"b": 1, "h": 2, "s": 4, "d": 8}[match[1]]
    return {"x": 8, "w": 4, "q": 16, "d": 8, "s": 4, "h": 2, "b": 1}[text[0]]
