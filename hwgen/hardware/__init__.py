"""From a design to Verilog."""
