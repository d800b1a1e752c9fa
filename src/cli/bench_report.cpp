#include "cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/machine.h"
#include "cli/cli.h"
#include "infer/measure.h"

namespace moxie::cli {
namespace {

/// The limit of arithmetic that a format is held against: the product that the kernel set has for it.
struct Peak {
  std::string_view name;
  double Ceilings::*gops;
};

Peak peak_of(const BenchFacts& facts, const Ceilings& ceilings) {
  const bool moe = std::any_of(facts.spec->layers.begin(), facts.spec->layers.end(),
                               [](const LayerSpec& layer) { return !layer.ffn.is_dense(); });
  const FormatId rows = facts.kernels->activation_format(facts.formats[moe ? Part::routed_experts : Part::dense_ffn]);
  if (rows == FormatId::bf16 && ceilings.bf16_gflops > 0) return {"bf16", &Ceilings::bf16_gflops};
  if (rows != FormatId::f32 && ceilings.int8_gops > 0) return {"int8", &Ceilings::int8_gops};
  return {"f32", &Ceilings::f32_gflops};
}

/// A row as numbers that are shown.
struct Figures {
  double rate = 0, deviation = 0;
  double gops = 0, share_of_peak = 0;
  double bytes = 0, expected_bytes = 0;  // a token: as counted, as foretold from uniform routing
  double gbps = 0, share_of_read = 0;
  double median_ms = 0, p99_ms = 0;  // of a step of decode
  Peak peak{};
};

double deviation(const std::vector<double>& values) {
  double mean = 0, sum = 0;
  for (const double v : values) mean += v / static_cast<double>(values.size());
  for (const double v : values) sum += (v - mean) * (v - mean);
  return values.size() < 2 ? 0 : std::sqrt(sum / static_cast<double>(values.size() - 1));
}

Figures figures_of(const BenchFacts& facts, const BenchRow& row) {
  const ModelSpec& spec = *facts.spec;
  const BenchTest& test = row.test;
  Figures f{.rate = median(row.rates), .deviation = deviation(row.rates)};
  f.bytes = row.weight_bytes;
  if (test.decode) {
    const int64_t depth = test.tokens / 2 + 1;
    const DecodeStep step = decode_step(spec, facts.formats, test.batch, depth, facts.kv_format);
    f.bytes += step.kv_bytes / static_cast<double>(test.batch);
    f.expected_bytes = step.bytes_per_token();
    f.gops = f.rate * forward_flops(spec, depth).total() / 1e9;
    f.median_ms = 1e3 * median(row.step_seconds);
    f.p99_ms = 1e3 * percentile_99(row.step_seconds);
  } else {
    // every token runs the body, the last one the head as well
    const double head = 2.0 * static_cast<double>(spec.vocab_size * spec.hidden_size);
    const double share = 1 - 1 / static_cast<double>(test.tokens);
    f.gops = f.rate * (forward_flops(spec, (test.tokens + 1) / 2).total() - head * share) / 1e9;
  }
  f.peak = peak_of(facts, row.ceilings);
  f.share_of_peak = f.gops / (row.ceilings.*f.peak.gops);
  f.gbps = f.rate * f.bytes / 1e9;
  f.share_of_read = f.gbps / row.ceilings.read_gbps;
  return f;
}

std::string test_name(const BenchTest& test) {
  return fmt::format("{}{}", test.decode ? "tg" : "pp", test.tokens);
}

std::string range(const std::vector<double>& values) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return fmt::format("{:.2f} [{:.2f}-{:.2f}]", median(values), *least, *most);
}

void print_speed(const BenchFacts& facts, const BenchResult& result) {
  const bool peer = !result.peer_version.empty();
  fmt::print(
      "| model | size | params | backend | threads | batch | test | t/s | GOP/s | % of peak | MB/token | expected "
      "| GB/s | % of read | ms/step | p99 | p99/median | peak MB |{}\n",
      peer ? " peer t/s | ours/peer |" : "");
  fmt::print(
      "| --- | ---: | ---: | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | "
      "---: | ---: | ---: |{}\n",
      peer ? " ---: | ---: |" : "");
  const auto params = static_cast<double>(count_parameters(*facts.spec).total());
  for (const BenchRow& row : result.rows) {
    const Figures f = figures_of(facts, row);
    fmt::print("| {} | {:.1f} MB | {:.2f} M | {} | {} | {} | {} | {:.1f} ± {:.1f} | {:.1f} | {:.0f} {} | {:.2f} | ",
               facts.model, static_cast<double>(facts.bytes) / 1e6, params / 1e6, facts.kernels->name, row.threads,
               row.test.batch, test_name(row.test), f.rate, f.deviation, f.gops, 100 * f.share_of_peak, f.peak.name,
               f.bytes / 1e6);
    if (row.test.decode) {
      fmt::print("{:.2f} | {:.1f} | {:.0f} | {:.2f} | {:.2f} | {:.2f} | ", f.expected_bytes / 1e6, f.gbps,
                 100 * f.share_of_read, f.median_ms, f.p99_ms, f.p99_ms / f.median_ms);
    } else {
      fmt::print(" | {:.1f} | {:.0f} | | | | ", f.gbps, 100 * f.share_of_read);
    }
    fmt::print("{} |", row.peak_bytes ? fmt::format("{:.1f}", static_cast<double>(*row.peak_bytes) / 1e6) : "");
    if (peer && row.peer_rates.empty()) fmt::print(" | |");
    if (!row.peer_rates.empty()) fmt::print(" {:.1f} | {} |", median(row.peer_rates), range(row.ratios()));
    fmt::print("\n");
  }
}

void print_parts(const BenchResult& result) {
  fmt::print("\n| threads | batch | test | ms/step |");
  for (const std::string_view name : kStepWorkNames) fmt::print(" {} |", name);
  fmt::print(" experts a layer | rows an expert | % of tile rows | max/mean |\n| ---: | ---: | --- |");
  for (int i = 0; i < kNumStepWorks + 5; ++i) fmt::print(" ---: |");
  fmt::print("\n");
  for (const BenchRow& row : result.rows) {
    const auto total = static_cast<double>(row.profile.total_nanoseconds());
    fmt::print("| {} | {} | {} | {:.2f} |", row.threads, row.test.batch, test_name(row.test),
               total / 1e6 / static_cast<double>(row.profile.num_steps()));
    for (int i = 0; i < kNumStepWorks; ++i) {
      fmt::print(" {:.1f}% |", 100 * static_cast<double>(row.profile.nanoseconds(static_cast<StepWork>(i))) / total);
    }
    if (row.tile_occupancy > 0) {
      fmt::print(" {:.1f} | {:.1f} | {:.0f} | {:.2f} |\n", row.visits_per_layer, row.rows_per_visit,
                 100 * row.tile_occupancy, row.max_over_mean);
    } else {
      fmt::print(" | | | |\n");
    }
  }
}

json::Value ceilings_json(const Ceilings& ceilings) {
  json::Value out;
  out.set("f32_gflops", ceilings.f32_gflops).set("bf16_gflops", ceilings.bf16_gflops);
  return out.set("int8_gops", ceilings.int8_gops).set("read_gbps", ceilings.read_gbps);
}

json::Value profile_json(const StepProfile& profile) {
  json::Value parts, out;
  for (int i = 0; i < kNumStepWorks; ++i) {
    parts.set(std::string(kStepWorkNames[static_cast<size_t>(i)]), profile.nanoseconds(static_cast<StepWork>(i)));
  }
  out.set("steps", profile.num_steps()).set("nanoseconds", profile.total_nanoseconds());
  return out.set("parts", std::move(parts));
}

json::Value list_of(const std::vector<double>& values) {
  json::Value list{json::Array{}};
  for (const double value : values) list.push(value);
  return list;
}

json::Value row_json(const BenchFacts& facts, const BenchRow& row) {
  const Figures f = figures_of(facts, row);
  json::Value entry;
  entry.set("test", test_name(row.test)).set("threads", row.threads).set("batch", row.test.batch);
  entry.set("tokens_per_second", f.rate).set("all_tokens_per_second", list_of(row.rates));
  entry.set("gflops", f.gops).set("peak", f.peak.name).set("share_of_peak", f.share_of_peak);
  entry.set("bytes_per_token", f.bytes).set("gbps", f.gbps).set("share_of_read", f.share_of_read);
  if (row.test.decode) {
    entry.set("expected_bytes_per_token", f.expected_bytes);
    entry.set("step_ms_median", f.median_ms).set("step_ms_p99", f.p99_ms);
    entry.set("p99_over_median", f.p99_ms / f.median_ms);
    entry.set("all_step_seconds", list_of(row.step_seconds));
  }
  if (row.tile_occupancy > 0) {
    json::Value experts;
    experts.set("visited_per_layer_and_step", row.visits_per_layer).set("rows_per_visit", row.rows_per_visit);
    experts.set("tile_occupancy", row.tile_occupancy);
    entry.set("experts", experts.set("max_over_mean", row.max_over_mean));
  }
  entry.set("peak_memory_bytes", row.peak_bytes ? json::Value(*row.peak_bytes) : json::Value());
  entry.set("profile", profile_json(row.profile));
  if (!row.peer_rates.empty()) {
    json::Value peer;
    peer.set("tokens_per_second", median(row.peer_rates)).set("all_tokens_per_second", list_of(row.peer_rates));
    entry.set("peer", peer.set("ratio", median(row.ratios())).set("all_ratios", list_of(row.ratios())));
  }
  return entry.set("ceilings", ceilings_json(row.ceilings));
}

}  // namespace

void print_bench_markdown(const BenchFacts& facts, const BenchResult& result) {
  if (result.rows.empty()) return;
  print_speed(facts, result);
  print_parts(result);
  const BenchRow& last = result.rows.back();
  const Ceilings& c = last.ceilings;
  fmt::print(
      "\nmeasured here, {} thread{}: f32 {:.0f} GFLOP/s, bf16 dot {:.0f} GFLOP/s, int8 {:.0f} GOP/s, memory "
      "read {:.1f} GB/s\n",
      last.threads, last.threads == 1 ? "" : "s", c.f32_gflops, c.bf16_gflops, c.int8_gops, c.read_gbps);
  fmt::print("{}, moxie {} {}\n", cpu_brand(), moxie_version(), moxie_commit());
  if (!result.peer_version.empty()) fmt::print("peer: {}\n", result.peer_version);
}

void print_bench_json(const BenchFacts& facts, const BenchResult& result) {
  json::Value list{json::Array{}}, out;
  for (const BenchRow& row : result.rows) list.push(row_json(facts, row));
  out.set("schema_version", 2).set("model", facts.model).set("bytes", facts.bytes);
  out.set("parameters", count_parameters(*facts.spec).total()).set("machine", cpu_brand());
  out.set("kernels", facts.kernels->name).set("version", moxie_version()).set("commit", moxie_commit());
  out.set("peer", result.peer_version.empty() ? json::Value() : json::Value(result.peer_version));
  print_json(out.set("rows", std::move(list)));
}

}  // namespace moxie::cli
