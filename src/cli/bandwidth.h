// A quick look at how fast this machine reads its memory, for estimates. The benchmarks measure it with more care.
#pragma once

namespace moxie::cli {

struct MeasuredBandwidth {
  double bytes_per_second = 0;
  int threads = 0;
};

/// Reads a buffer far larger than the caches with all usable threads, several times, and keeps the best pass. Takes
/// about 0.3 s and at most 256 MiB.
MeasuredBandwidth measure_bandwidth();

}  // namespace moxie::cli
