// Runs images on the sequential engine: model SEED OUTPUTS IMAGE...
//
// After a reset, IMAGE's bytes go in and OUTPUTS bytes come out, into IMAGE.out; with pauses at both ends if SEED is not 0. Prints for
// each the cycles from the last byte in to the first one out that is offered.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

int main(int count, char** words) {
    VerilatedContext context;
    context.commandArgs(count, words);
    const unsigned seed = std::atoi(words[1]);
    const size_t outputs = std::strtoull(words[2], nullptr, 0);
    std::mt19937 random(seed);
    Vtop top{&context};
    auto clock = [&] {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    };
    for (int k = 3; k < count && words[k][0] != '+'; k++) {
        std::ifstream file(words[k], std::ios::binary);
        const std::vector<uint8_t> image((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        std::vector<uint8_t> made;
        top.rst = 1;
        for (int n = 0; n < 4; n++) clock();
        top.rst = 0;
        size_t put = 0;
        uint64_t cycle = 0, last = 0, first = 0;
        bool offered = false;
        for (; made.size() < outputs && cycle < 50'000'000; cycle++) {
            if (!offered) offered = put < image.size() && (!seed || random() % 3);
            top.i_valid = offered;
            top.i_payload = offered ? image[put] : random();
            top.o_ready = !seed || random() % 3;
            top.clk = 0;
            top.eval();
            if (top.o_valid && !first) first = cycle;
            if (top.o_valid && top.o_ready) made.push_back(top.o_payload);
            if (top.i_valid && top.i_ready) {
                offered = false;
                last = cycle;
                put++;
            }
            top.clk = 1;
            top.eval();
        }
        std::ofstream(std::string(words[k]) + ".out", std::ios::binary).write(reinterpret_cast<char*>(made.data()), made.size());
        std::printf("%llu\n", static_cast<unsigned long long>(first - last));
    }
    return 0;
}
