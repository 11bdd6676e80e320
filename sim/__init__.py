"""The simulation bench: Verilog harness and cocotb test. Shipped in the package as ``hwgen.sim``."""
