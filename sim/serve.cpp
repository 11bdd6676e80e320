// The simulated board: a Verilated top with ports clk, rst, rx and tx behind a pseudo-terminal.
//
// Usage: model CYCLES_PER_BIT IDLE. Prints the terminal's path. When nothing has moved on the line for IDLE cycles, the simulation waits
// for the next byte. SIGUSR1 is the reset button; SIGINT, SIGTERM and the end of standard input end it.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

#include "Vtop.h"
#include "verilated.h"

static volatile sig_atomic_t ended = 0, button = 0;
static void on_end(int) { ended = 1; }
static void on_button(int) { button = 1; }

// Bytes onto the board's rx pin: start bit, eight data bits, stop bit.
struct Sender {
  unsigned frame = 0, bits = 0, cycles = 0;
  bool busy() const { return bits != 0; }
  void start(uint8_t byte) {
    frame = 0x200 | byte << 1;
    bits = 10;
    cycles = 0;
  }
  bool step(unsigned period) {  // the level in this cycle
    if (!bits) return true;
    bool level = frame & 1;
    if (++cycles == period) {
      cycles = 0;
      frame >>= 1;
      --bits;
    }
    return level;
  }
};

// Bytes from the board's tx pin, sampled in the middle of each bit.
struct Receiver {
  unsigned byte = 0, wait = 0;
  int bit = -1;
  bool busy() const { return bit >= 0; }
  int step(bool level, unsigned period) {  // the byte that ends in this cycle, or -1
    if (bit < 0) {
      if (!level) {
        bit = 0;
        byte = 0;
        wait = period + period / 2;
      }
      return -1;
    }
    if (--wait) return -1;
    wait = period;
    if (bit < 8) {
      byte |= unsigned(level) << bit++;
      return -1;
    }
    bit = -1;
    return level ? int(byte) : -1;
  }
};

int main(int argc, char** argv) {
  VerilatedContext context;
  context.commandArgs(argc, argv);
  if (argc < 3) return 2;
  const unsigned period = atoi(argv[1]);
  const uint64_t idle_limit = strtoull(argv[2], nullptr, 10);

  int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || grantpt(terminal) || unlockpt(terminal)) {
    perror("pseudo-terminal");
    return 1;
  }
  const char* path = ptsname(terminal);
  int other = open(path, O_RDWR | O_NOCTTY);  // kept open, so that hosts may come and go
  termios mode;
  if (other < 0 || tcgetattr(other, &mode)) {
    perror(path);
    return 1;
  }
  cfmakeraw(&mode);
  tcsetattr(other, TCSANOW, &mode);
  fcntl(terminal, F_SETFL, O_NONBLOCK);
  struct sigaction action = {};
  action.sa_handler = on_end;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = on_button;
  sigaction(SIGUSR1, &action, nullptr);
  printf("%s\n", path);
  fflush(stdout);

  Vtop top(&context);
  Sender sender;
  Receiver receiver;
  uint8_t input[4096], output[4096];
  size_t given = 0, present = 0, made = 0;
  uint64_t idle = 0, cycle = 0;
  unsigned reset = 8;
  top.rx = 1;
  while (!ended) {
    for (unsigned k = 0; k < 1000; ++k, ++cycle) {
      if (!sender.busy() && given < present) sender.start(input[given++]);
      top.rst = reset != 0;
      if (reset) --reset;
      top.rx = sender.step(period);
      top.clk = 0;
      top.eval();
      top.clk = 1;
      top.eval();
      int byte = receiver.step(top.tx, period);
      if (byte >= 0 && made < sizeof output) output[made++] = uint8_t(byte);
      idle = sender.busy() || receiver.busy() ? 0 : idle + 1;
    }
    if (button) {
      button = 0;
      reset = 8;
      idle = 0;
    }
    for (size_t done = 0; done < made;) {  // what the terminal cannot hold is lost, as on a serial line
      ssize_t n = write(terminal, output + done, made - done);
      if (n <= 0) break;
      done += n;
    }
    made = 0;
    pollfd events[2] = {{terminal, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    if (given == present || cycle % 64000 == 0) {
      if (poll(events, 2, idle >= idle_limit ? 1000 : 0) > 0) {
        if (events[1].revents) {
          char ignored[64];
          if (read(STDIN_FILENO, ignored, sizeof ignored) <= 0) break;
        }
        if (given == present && events[0].revents & POLLIN) {
          ssize_t n = read(terminal, input, sizeof input);
          given = 0;
          present = n > 0 ? size_t(n) : 0;
          idle = 0;
        }
      }
    }
  }
  top.final();
  return 0;
}
