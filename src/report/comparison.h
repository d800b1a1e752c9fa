// An MoE model beside a dense one: a table whose every cell says where it comes from, and sentences on when each one
// wins. Pure data to text, JSON and HTML; nothing is measured here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "plan/accounting.h"
#include "report/run_log.h"

namespace moxie {

/// Decode of `batch` sequences together.
struct BatchSpeed {
  int64_t batch = 1;
  double tokens_per_second = 0;  // measured, of all sequences
  double step_bytes = 0;         // computed: weights and cache one step reads
  double distinct_experts = 0;   // computed: visited in one layer if routing were uniform; 0: dense
};

struct ComparedModel {
  std::string name, family;
  // computed from the files
  PartCounts parameters, active;
  ActiveParameters conventions;
  int64_t num_experts = 0, top_k = 0, moe_layers = 0;  // num_experts up to 1: dense
  int64_t disk_bytes = 0;                              // of all tensors
  int64_t kv_bytes_per_token = 0;
  double context_kv_bytes = 0;  // of one full context
  int64_t max_context = 0;
  double flops_per_token = 0;  // forward, at half the prompt
  // measured
  double first_token_seconds = 0;  // of the prompt
  std::vector<BatchSpeed> decode;  // ascending batch, the same for both models; the first is one request
  std::optional<double> nats_per_byte;

  int64_t ffn_parameters() const;  // routed, shared and dense blocks
  double memory_bytes() const { return static_cast<double>(disk_bytes) + context_kv_bytes; }
};

struct Comparison {
  ComparedModel moe, dense;
  std::string machine, kernels;  // "AMD EPYC ..., 2 threads"; "avx512"
  double memory_bytes = 0;       // that this process may use; 0: unknown
  int64_t prompt_tokens = 0, decode_tokens = 0, repeats = 0;
  std::string text;          // the file of nats_per_byte
  std::vector<RunLog> runs;  // empty, or that of the MoE and that of the dense model
};

enum class Origin { computed, measured, from_run };
std::string_view name_of(Origin origin);

struct ComparisonRow {
  std::string section, label, moe, dense, ratio;  // ratio: MoE / dense, or empty
  Origin origin = Origin::computed;
};

std::vector<ComparisonRow> comparison_rows(const Comparison& comparison);

/// When each one wins, in plain sentences, from the numbers alone.
std::vector<std::string> comparison_sentences(const Comparison& comparison);

/// The table and the sentences for a terminal.
std::string comparison_text(const Comparison& comparison);

/// One object with "schema_version": 1. Numbers are numbers; what is not known is null.
json::Value comparison_json(const Comparison& comparison);

/// The same as one self-contained HTML page with two charts (comparison_page.cpp).
std::string comparison_page(const Comparison& comparison);

}  // namespace moxie
