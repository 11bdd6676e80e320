"""Amaranth components as plain Verilog-2005 text."""

import re

from amaranth.back import verilog
from amaranth.lib import wiring

__all__ = ["KEYWORDS", "check_name", "convert"]

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


def check_name(what: str, name: str) -> None:
    """Raise ``ValueError`` unless ``name`` can name a Verilog module or signal as it is."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in KEYWORDS:
        raise ValueError(f"{what} must be a Verilog identifier, not {name!r}")


def convert(component: wiring.Component, name: str) -> str:
    """``component`` as Verilog-2005; its top module is ``name``, the modules below ``name_submodule...``.

    The same component gives the same text. No escaped identifiers are left: Amaranth's ``\\top.sub`` becomes ``top_sub``,
    ``\\a$12`` becomes ``a_12``, ``\\$7`` becomes ``n7``.
    """
    check_name("name", name)
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    text = text[text.index("*/") + 2 :].lstrip()
    return _plain_identifiers(text)


def _plain_identifiers(text: str) -> str:
    escaped = dict.fromkeys(_ESCAPED.findall(text))
    taken = set(_PLAIN.findall(text)) | KEYWORDS
    names: dict[str, str] = {}
    for old in escaped:
        new = re.sub(r"^\$auto\$verilog_backend.*\$(\d+)$", r"start\1", old)
        new = re.sub(r"^\$(?=\d)", "n", new)
        new = re.sub(r"\W", "_", new).rstrip("_")
        new = new if re.match(r"[A-Za-z_]", new) else f"n{new}"
        while new in taken:
            new += "_"
        taken.add(new)
        names[old] = new
    return _ESCAPED.sub(lambda match: names[match[1]], text)
