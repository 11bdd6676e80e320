"""AXI4-Lite to registers: one word at a time."""

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ADDRESS_BITS", "OKAY", "SLVERR", "AxiLite", "axi_lite_members"]

ADDRESS_BITS = 12  #: a page of 4 KiB, the least that the standard lets a subordinate have to itself
OKAY, SLVERR = 0b00, 0b10  #: responses


def axi_lite_members() -> dict[str, wiring.Member]:
    """The ports of an AXI4-Lite subordinate with 32 bits of data, without its clock: ``s_axi_awaddr``, ..."""
    manager = {
        "awaddr": ADDRESS_BITS, "awprot": 3, "awvalid": 1, "wdata": 32, "wstrb": 4, "wvalid": 1, "bready": 1,
        "araddr": ADDRESS_BITS, "arprot": 3, "arvalid": 1, "rready": 1,
    }  # fmt: skip
    subordinate = {"awready": 1, "wready": 1, "bresp": 2, "bvalid": 1, "arready": 1, "rdata": 32, "rresp": 2, "rvalid": 1}
    members = {f"s_axi_{port}": In(bits) for port, bits in manager.items()}
    return members | {f"s_axi_{port}": Out(bits) for port, bits in subordinate.items()}


class AxiLite(wiring.Component):
    """An AXI4-Lite subordinate (Arm IHI 0022, chapter B1) in front of registers.

    A write's address and data may come in either order. All outputs to the bus are registers' or gates of registers: no
    ready depends on a valid. A read or a write takes effect two cycles after it came, at the earliest; at
    most every second cycle. ``prot`` is not looked at.

    Members
    -------
    s_axi_* : the bus
    write : 1 in the cycle in which a write takes effect
    write_address, write_data, write_strobe : of that write: address of the 32-bit word, its data, which bytes to write
    write_error : whether it is answered with SLVERR instead of OKAY; to be given in the same cycle
    read, read_address, read_data, read_error : the same for a read
    """

    def __init__(self) -> None:
        super().__init__(
            axi_lite_members()
            | {
                "write": Out(1),
                "write_address": Out(ADDRESS_BITS - 2),
                "write_data": Out(32),
                "write_strobe": Out(4),
                "write_error": In(1),
                "read": Out(1),
                "read_address": Out(ADDRESS_BITS - 2),
                "read_data": In(32),
                "read_error": In(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        has_address = Signal()
        has_data = Signal()
        has_read = Signal()
        m.d.comb += [
            self.s_axi_awready.eq(~has_address),
            self.s_axi_wready.eq(~has_data),
            self.s_axi_arready.eq(~has_read),
            self.write.eq(has_address & has_data & (~self.s_axi_bvalid | self.s_axi_bready)),
            self.read.eq(has_read & (~self.s_axi_rvalid | self.s_axi_rready)),
        ]
        with m.If(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        with m.If(self.write):
            m.d.sync += [has_address.eq(0), has_data.eq(0), self.s_axi_bvalid.eq(1)]
            m.d.sync += self.s_axi_bresp.eq(Mux(self.write_error, SLVERR, OKAY))
        with m.If(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += [has_address.eq(1), self.write_address.eq(self.s_axi_awaddr[2:])]
        with m.If(self.s_axi_wvalid & self.s_axi_wready):
            m.d.sync += [has_data.eq(1), self.write_data.eq(self.s_axi_wdata), self.write_strobe.eq(self.s_axi_wstrb)]
        with m.If(self.s_axi_rready):
            m.d.sync += self.s_axi_rvalid.eq(0)
        with m.If(self.read):
            m.d.sync += [has_read.eq(0), self.s_axi_rvalid.eq(1), self.s_axi_rdata.eq(self.read_data)]
            m.d.sync += self.s_axi_rresp.eq(Mux(self.read_error, SLVERR, OKAY))
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [has_read.eq(1), self.read_address.eq(self.s_axi_araddr[2:])]
        return m
