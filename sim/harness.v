// Ends of the simulation bench: what feeds, takes and watches the streams of the accelerator.
// Each cycle on which valid and ready are 1 at the rising edge transfers a word.

// Feeds words from a binary file: each word in whole bytes, most significant byte first. LEAD words come before the first frame.
module hwgen_source #(parameter BITS = 8, parameter WORDS = 1, parameter LEAD = 0) (
  input clk, input rst, input pause, input [63:0] cycle, input [63:0] frames, input [31:0] file, input [31:0] times,
  output reg [BITS-1:0] payload, output reg valid, input ready, output reg [63:0] count
);
  localparam BYTES = (BITS + 7) / 8;
  reg [8*BYTES-1:0] word;
  reg [63:0] fetched;
  reg [31:0] position;  // of the word offered, in its frame
  integer code;
  initial begin valid = 0; fetched = 0; count = 0; position = 0; end
  always @(posedge clk)
    if (!rst) begin
      if (valid & ready) begin
        count <= count + 1;
        if (count >= LEAD) begin
          position <= position == WORDS - 1 ? 0 : position + 1;
          if (position == 0) $fwrite(times, "%0d\n", cycle);
        end
      end
      if (!valid | ready) begin
        valid <= 0;
        if (fetched < LEAD + frames * WORDS && !pause) begin
          code = $fread(word, file);
          payload <= word[BITS-1:0];
          valid <= code == BYTES;
          fetched <= fetched + 1;
        end
      end
    end
endmodule

// Writes the words of a stream to a binary file, 32 bits at a time, least significant first; notes when frames end;
// checks that an offered word stays offered and unchanged until taken.
module hwgen_monitor #(parameter BITS = 8, parameter WORDS = 1) (
  input clk, input rst, input [63:0] cycle, input [31:0] file, input [31:0] times,
  input [BITS-1:0] payload, input valid, input ready, output reg [63:0] count, output reg violated
);
  reg [31:0] position;
  reg held;
  reg [BITS-1:0] offered;
  initial begin count = 0; position = 0; held = 0; violated = 0; end
  always @(posedge clk)
    if (!rst) begin
      held <= valid & !ready;
      offered <= payload;
      if (held & (!valid | (payload != offered))) violated <= 1;
      if (valid & ready) begin
        count <= count + 1;
        position <= position == WORDS - 1 ? 0 : position + 1;
        if (file != 0) $fwrite(file, "%u", payload);
        if (times != 0 && position == WORDS - 1) $fwrite(times, "%0d\n", cycle);
      end
    end
endmodule

// Pauses at random, from never to nearly always in turn; seed 0: never.
module hwgen_pause (input clk, input [63:0] cycle, input [31:0] seed, output reg pause);
  reg [31:0] state, next;
  initial begin state = 0; pause = 0; end
  always @(posedge clk)
    if (seed != 0) begin  // xorshift32 (Marsaglia, 2003)
      next = state == 0 ? seed : state;
      next = next ^ (next << 13);
      next = next ^ (next >> 17);
      next = next ^ (next << 5);
      state <= next;
      case (cycle[7:6])
        0: pause <= 0;
        1: pause <= &next[9:8];
        2: pause <= next[8];
        default: pause <= |next[10:8];
      endcase
    end
endmodule
