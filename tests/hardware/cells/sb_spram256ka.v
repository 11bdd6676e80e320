// iCE40 UltraPlus memory with one port (Lattice FPGA-TN-02022): 16,384 words of 16 bits, written in parts of four.
// Output is unknown after a write; never asleep.
module SB_SPRAM256KA (
  input [13:0] ADDRESS, input [15:0] DATAIN, input [3:0] MASKWREN, input WREN, CHIPSELECT, CLOCK, STANDBY, SLEEP, POWEROFF,
  output reg [15:0] DATAOUT
);
  reg [15:0] words [0:16383];
  always @(posedge CLOCK)
    if (CHIPSELECT) begin
      if (WREN) begin
        if (MASKWREN[0]) words[ADDRESS][3:0] <= DATAIN[3:0];
        if (MASKWREN[1]) words[ADDRESS][7:4] <= DATAIN[7:4];
        if (MASKWREN[2]) words[ADDRESS][11:8] <= DATAIN[11:8];
        if (MASKWREN[3]) words[ADDRESS][15:12] <= DATAIN[15:12];
        DATAOUT <= ~DATAIN;
      end else
        DATAOUT <= words[ADDRESS];
    end
endmodule
