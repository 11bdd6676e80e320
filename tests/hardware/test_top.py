import re
from dataclasses import replace

import pytest

from hwgen.arith import IntType
from hwgen.hardware.top import Top, axis, check_design
from hwgen.hardware.verilog import convert
from hwgen.mapping.design import Link, Port, Stage
from hwgen.streams import Stream
from hwgen.templates.fifo import FifoParams
from tests.hardware.designs import chain, fifos


def test_ports_are_axi_streams():
    top = Top(fifos(element=IntType(5, signed=False), lanes=3))
    assert {name: (member.flow.name, member.shape) for name, member in top.signature.members.items()} == {
        "s_axis_tdata": ("In", 24),
        "s_axis_tvalid": ("In", 1),
        "s_axis_tready": ("Out", 1),
        "s_axis_tlast": ("In", 1),
        "m_axis_tdata": ("Out", 24),
        "m_axis_tvalid": ("Out", 1),
        "m_axis_tready": ("In", 1),
        "m_axis_tlast": ("Out", 1),
    }
    convert(top, "top")  # Amaranth wants every component used


@pytest.mark.parametrize(("bits", "wide"), [(1, 8), (8, 8), (9, 16), (17, 24), (56, 56)])
def test_elements_travel_in_whole_bytes(bits, wide):
    stream = Stream(element=IntType(bits, True), lanes=2, words=7)
    assert axis(stream) == Stream(element=IntType(wide, True), lanes=2, words=7)


@pytest.mark.parametrize("name", ["a.b", "", "0a", "table", "s_axis_x", "clk", "second"])
def test_stage_names(name):
    stream = Stream(element=IntType(8), lanes=3, words=20)
    stages = [Stage(name=n, node="", params=FifoParams(stream=stream, depth=4)) for n in (name, "second")]
    message = "^stage name must be (a Verilog identifier|unique and no port of the top), not " + re.escape(repr(name)) + "$"
    with pytest.raises(ValueError, match=message):
        check_design(chain(stages, shape=(20, 1, 3)))


def test_links_join_equal_streams():
    design = fifos()
    other = Stage(name="second", node="", params=FifoParams(stream=Stream(element=IntType(8), lanes=1, words=60), depth=4))
    with pytest.raises(ValueError, match=r"^link .*'first'.* to .*'second'.*: streams must be equal, not Stream"):
        check_design(replace(design, stages=(design.stages[0], other)))
    assert design.links[1] == Link(Port("first"), Port("second"))
