// How a bench is shown: tables to paste, or one JSON object. Turns what was measured into shares; measures nothing.
#pragma once

#include <string>

#include "infer/bench.h"
#include "plan/accounting.h"

namespace moxie::cli {

/// What the rows are held against.
struct BenchFacts {
  std::string model;  // its name
  int64_t bytes = 0;  // of its weights
  const ModelSpec* spec = nullptr;
  PartFormats formats;
  FormatId kv_format = kDefaultKvFormat;
  const KernelSet* kernels = nullptr;
};

void print_bench_markdown(const BenchFacts& facts, const BenchResult& result);
void print_bench_json(const BenchFacts& facts, const BenchResult& result);

}  // namespace moxie::cli
