// What hwgen uses of ECP5's multiplier, after Lattice FPGA-TN-02205: registers of operands and product, one clock, resets that are never given.
module MULT18X18D (
  input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
  input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
  input C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
  output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17,
  output P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
  parameter REG_INPUTC_CLK = "NONE", REG_PIPELINE_CLK = "NONE";
  parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
  parameter CLK0MUX = "CLK0", GSR = "ENABLED", RESETMODE = "SYNC", SOURCEB_MODE = "B_SHIFT", MULT_BYPASS = "DISABLED";

  wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire clk = CLK0MUX == "INV" ? !CLK0 : CLK0;
  wire enable_a = REG_INPUTA_CE == "CE0" ? CE0 : REG_INPUTA_CE == "CE1" ? CE1 : REG_INPUTA_CE == "CE2" ? CE2 : CE3;
  wire enable_b = REG_INPUTB_CE == "CE0" ? CE0 : REG_INPUTB_CE == "CE1" ? CE1 : REG_INPUTB_CE == "CE2" ? CE2 : CE3;
  wire enable_p = REG_OUTPUT_CE == "CE0" ? CE0 : REG_OUTPUT_CE == "CE1" ? CE1 : REG_OUTPUT_CE == "CE2" ? CE2 : CE3;
  reg [17:0] held_a = 0, held_b = 0;
  reg [35:0] held_p = 0;
  wire [17:0] x = REG_INPUTA_CLK == "NONE" ? a : held_a;
  wire [17:0] y = REG_INPUTB_CLK == "NONE" ? b : held_b;
  wire signed [35:0] wide_x = {{18{SIGNEDA & x[17]}}, x};
  wire signed [35:0] wide_y = {{18{SIGNEDB & y[17]}}, y};
  wire [35:0] product = wide_x * wide_y;
  always @(posedge clk) begin
    if (RST0) held_a <= 0; else if (enable_a) held_a <= a;
    if (RST0) held_b <= 0; else if (enable_b) held_b <= b;
    if (RST0) held_p <= 0; else if (enable_p) held_p <= product;
  end
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12,
          P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = REG_OUTPUT_CLK == "NONE" ? product : held_p;
endmodule
