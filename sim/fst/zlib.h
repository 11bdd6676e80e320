// Stands in for zlib.h where that is not installed: what Verilator's waveform writer calls of it.
// Writes valid zlib streams (RFC 1950, 1951) of stored blocks: nothing gets smaller.
#pragma once
#include <cstdint>
#include <cstring>

typedef unsigned char Bytef;
typedef unsigned long uLong;
typedef unsigned long uLongf;
#define Z_OK 0
#define Z_BUF_ERROR (-5)

static inline uLong compressBound(uLong size) { return size + (size / 65535 + 1) * 5 + 6; }

static inline int compress2(Bytef* target, uLongf* target_size, const Bytef* source, uLong size, int) {
    if (*target_size < compressBound(size)) return Z_BUF_ERROR;
    Bytef* out = target;
    *out++ = 0x78;  // 32 KB window
    *out++ = 0x01;  // fastest; header checksum
    uint32_t a = 1, b = 0;  // Adler-32
    uLong done = 0;
    do {
        const uLong n = size - done < 65535 ? size - done : 65535;
        *out++ = done + n == size;  // last block?
        *out++ = n & 255, *out++ = n >> 8, *out++ = ~n & 255, *out++ = (~n >> 8) & 255;
        std::memcpy(out, source + done, n);
        out += n;
        for (uLong k = 0; k < n; ++k) a = (a + source[done + k]) % 65521, b = (b + a) % 65521;
        done += n;
    } while (done < size);
    *out++ = b >> 8, *out++ = b & 255, *out++ = a >> 8, *out++ = a & 255;
    *target_size = static_cast<uLongf>(out - target);
    return Z_OK;
}
