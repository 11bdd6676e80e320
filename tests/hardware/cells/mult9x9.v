// What hwgen uses of Gowin's multiplier, after Gowin UG287: registers of operands and product, resets that are never given.
module MULT9X9 (
  input [8:0] A, SIA, B, SIB,
  input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
  output [17:0] DOUT,
  output [8:0] SOA, SOB
);
  parameter AREG = 1'b0, BREG = 1'b0, OUT_REG = 1'b0, PIPE_REG = 1'b0, MULT_RESET_MODE = "SYNC";

  reg [8:0] held_a = 0, held_b = 0;
  reg [17:0] held_p = 0;
  wire [8:0] x = AREG ? held_a : A;
  wire [8:0] y = BREG ? held_b : B;
  wire signed [17:0] wide_x = {{9{ASIGN & x[8]}}, x};
  wire signed [17:0] wide_y = {{9{BSIGN & y[8]}}, y};
  wire [17:0] product = wide_x * wide_y;
  always @(posedge CLK) begin
    if (RESET) held_a <= 0; else if (CE) held_a <= A;
    if (RESET) held_b <= 0; else if (CE) held_b <= B;
    if (RESET) held_p <= 0; else if (CE) held_p <= product;
  end
  assign DOUT = OUT_REG ? held_p : product;
endmodule
