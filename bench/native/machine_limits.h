// What the machine can do at most, at the ISA level and number of threads that the kernels run with; measured when
// first asked for and kept for the run.
#pragma once

namespace lamella::bench {

// How a kernel goes through memory.
enum class Stream {
  kRead,   // reads, writes next to nothing
  kWrite,  // writes only
  kCopy,   // reads some arrays and writes others
  kUpdate  // writes what it has read
};

// Multiply-adds in registers, as two operations each: FLOP/s of float (or of double, which is always the portable
// level).
double peak_flops(bool f64 = false);

// Bytes per second over arrays of `footprint` bytes in all, which decides which caches hold them. Bytes are counted as
// in STREAM: what a program reads and writes, but not the lines that a store reads before it writes them.
double bandwidth(Stream stream, double footprint);

// Beyond any cache.
double memory_footprint();

}  // namespace lamella::bench
