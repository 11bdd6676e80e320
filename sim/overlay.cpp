// Runs a program on the overlay engine, with a model of the external memory behind AXI4.
//
// model IMAGE RESULT PROGRAM COUNT LATENCY SILENT PERIOD SEED LIMIT [TRACE]
//
// IMAGE: bytes of the external memory from address 0 on; RESULT: the same afterwards. PROGRAM, COUNT: address of the first
// instruction, how many. The memory answers LATENCY cycles after a request, a beat in each cycle; it is silent in SILENT of every
// PERIOD cycles, in turn, or at random if SEED is not 0. What is written is there when the write has been answered. LIMIT: cycles
// after which to give up. TRACE: "unit cycle" for each instruction carried out. Prints "cycles error bytes_read bytes_written".

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <random>
#include <utility>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr size_t OUTSTANDING = 16;  // requests that the memory takes before it has answered the first

template <typename T>
void get(const T& port, uint8_t* bytes, size_t count) {
    std::memcpy(bytes, &port, count);
}

template <typename T>
void set(T& port, const uint8_t* bytes, size_t count) {
    std::memcpy(&port, bytes, count);
}

struct Request {
    uint64_t address;
    unsigned left;
    unsigned id;
    uint64_t when;
};

struct Write {
    uint64_t address;
    unsigned left;
    bool wrong;
    uint64_t when;
    std::vector<std::pair<uint64_t, uint8_t>> bytes;
};

}  // namespace

int main(int count, char** words) {
    if (count < 10) return 2;
    std::ifstream file(words[1], std::ios::binary);
    std::vector<uint8_t> memory((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const uint64_t latency = std::strtoull(words[5], nullptr, 0), silent = std::strtoull(words[6], nullptr, 0);
    const uint64_t period = std::strtoull(words[7], nullptr, 0), seed = std::strtoull(words[8], nullptr, 0);
    const uint64_t limit = std::strtoull(words[9], nullptr, 0);
    std::FILE* trace = count > 10 ? std::fopen(words[10], "w") : nullptr;
    std::mt19937_64 random(seed);

    VerilatedContext context;
    Vtop top(&context);
    size_t beat = 0;
    std::deque<Request> reads;
    std::deque<Write> writes, answers;
    uint64_t cycle = 0, started = 0, bytes_read = 0, bytes_written = 0;
    std::vector<uint8_t> data(64);
    bool running = false, done = false;

    auto inside = [&](uint64_t address, size_t size) { return address + size <= memory.size(); };
    top.clk = 0;
    top.rst = 1;
    top.base = 0;
    top.program_address = std::strtoul(words[3], nullptr, 0);
    top.count = std::strtoul(words[4], nullptr, 0);
    top.m_axi_bid = 0;
    while (!done && cycle < limit) {
        // What the memory offers in this cycle.
        const bool quiet = period && (seed ? random() % period < silent : cycle % period < silent);
        top.rst = cycle < 4;
        top.start = cycle == 8;
        top.m_axi_arready = reads.size() < OUTSTANDING;
        top.m_axi_awready = writes.size() < OUTSTANDING;
        top.m_axi_wready = !quiet && !writes.empty();
        const bool offers = !quiet && !reads.empty() && cycle >= reads.front().when;
        top.m_axi_rvalid = offers;
        if (offers) {
            const Request& r = reads.front();
            beat = size_t{1} << top.m_axi_arsize;
            const bool good = inside(r.address, beat);
            if (good) set(top.m_axi_rdata, &memory[r.address], beat);
            top.m_axi_rresp = good ? 0 : 3;
            top.m_axi_rid = r.id;
            top.m_axi_rlast = r.left == 1;
        }
        const bool answers_now = !answers.empty() && cycle >= answers.front().when;
        top.m_axi_bvalid = answers_now;
        top.m_axi_bresp = answers_now && answers.front().wrong ? 3 : 0;
        top.clk = 0;
        top.eval();

        // What is transferred at its end.
        if (!top.rst) {
            if (top.start) started = cycle, running = true;
            if (offers && top.m_axi_rready) {
                Request& r = reads.front();
                bytes_read += beat;
                r.address += beat;
                if (--r.left == 0) reads.pop_front();
            }
            if (top.m_axi_arvalid && top.m_axi_arready)
                reads.push_back({top.m_axi_araddr, top.m_axi_arlen + 1u, top.m_axi_arid, cycle + latency});
            if (answers_now && top.m_axi_bready) {
                for (const auto& [address, byte] : answers.front().bytes) memory[address] = byte;
                answers.pop_front();
            }
            if (top.m_axi_wvalid && top.m_axi_wready) {
                Write& w = writes.front();
                const size_t size = size_t{1} << top.m_axi_awsize;
                get(top.m_axi_wdata, data.data(), size);
                for (size_t k = 0; k < size; ++k)
                    if (top.m_axi_wstrb >> k & 1) {
                        if (inside(w.address + k, 1)) w.bytes.emplace_back(w.address + k, data[k]), ++bytes_written;
                        else w.wrong = true;
                    }
                w.address += size;
                if ((w.left == 1) != bool(top.m_axi_wlast)) {
                    std::fprintf(stderr, "wlast is wrong in cycle %lu\n", cycle);
                    w.wrong = true;
                }
                if (--w.left == 0) {
                    w.when = cycle + latency;
                    answers.push_back(std::move(w));
                    writes.pop_front();
                }
            }
            if (top.m_axi_awvalid && top.m_axi_awready)
                writes.push_back({top.m_axi_awaddr, top.m_axi_awlen + 1u, false, 0, {}});
            if (trace && top.retired)
                for (unsigned unit = 0; unit < 4; ++unit)
                    if (top.retired >> unit & 1) std::fprintf(trace, "%u %lu\n", unit, cycle - started);
            done = running && top.done;
        }
        top.clk = 1;
        top.eval();
        ++cycle;
    }
    if (trace) std::fclose(trace);
    top.eval();
    std::ofstream(words[2], std::ios::binary).write(reinterpret_cast<const char*>(memory.data()), memory.size());
    if (!done) std::fprintf(stderr, "not done after %lu cycles\n", limit);
    std::printf("%lu %u %lu %lu\n", done ? cycle - started : 0, unsigned(top.error), bytes_read, bytes_written);
    return done ? 0 : 1;
}
