#include "report/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/run_summary.h"
#include "report/token_text.h"

namespace moxie {
namespace {

double of(int64_t n) {
  return static_cast<double>(n);
}

std::string bytes_text(double bytes) {
  if (bytes >= 1e9) return fmt::format("{:.2f} GB", bytes / 1e9);
  return bytes >= 1e6 ? fmt::format("{:.2f} MB", bytes / 1e6) : fmt::format("{:.1f} KB", bytes / 1e3);
}

std::string times(double ratio) {
  return std::isfinite(ratio) ? fmt::format("{:.2f}x", ratio) : "";
}

std::string milliseconds(double seconds) {
  return fmt::format("{:.{}f} ms", seconds * 1e3, seconds < 0.01 ? 3 : seconds < 0.1 ? 2 : 1);
}

double token_seconds(const ComparedModel& model) {
  return 1 / model.decode.front().tokens_per_second;
}

int64_t ffn_of(const PartCounts& parts) {
  return parts[Part::routed_experts] + parts[Part::shared_experts] + parts[Part::dense_ffn] + parts[Part::router];
}

class Rows {
 public:
  void section(std::string name) { section_ = std::move(name); }
  /// Two numbers, written by `show`, and their ratio.
  template <typename Show>
  void add(std::string label, double moe, double dense, Origin origin, Show show) {
    rows.push_back({section_, std::move(label), show(moe), show(dense), dense == 0 ? "" : times(moe / dense), origin});
  }
  void add_text(std::string label, std::string moe, std::string dense, Origin origin) {
    rows.push_back({section_, std::move(label), std::move(moe), std::move(dense), "", origin});
  }
  std::vector<ComparisonRow> rows;

 private:
  std::string section_;
};

std::string shape_of(const ComparedModel& model) {
  if (model.num_experts <= 1) return "dense";
  return fmt::format("{} of {} ({:.1f}%)", model.top_k, model.num_experts,
                     100 * of(model.top_k) / of(model.num_experts));
}

void add_sizes(const ComparedModel& moe, const ComparedModel& dense, Rows& rows) {
  using enum Origin;
  rows.section("size");
  rows.add_text("experts a token visits, k/N", shape_of(moe), shape_of(dense), computed);
  rows.add("parameters, total", of(moe.parameters.total()), of(dense.parameters.total()), computed, short_count);
  rows.add("active, all embeddings counted", of(moe.conventions.full), of(dense.conventions.full), computed,
           short_count);
  rows.add("active, without the input embedding", of(moe.conventions.without_input_embedding),
           of(dense.conventions.without_input_embedding), computed, short_count);
  rows.add("active, without embeddings", of(moe.conventions.without_embeddings),
           of(dense.conventions.without_embeddings), computed, short_count);
  rows.section("memory");
  rows.add("weights on disk and in memory", of(moe.disk_bytes), of(dense.disk_bytes), computed, bytes_text);
  rows.add("feed-forward parameters", of(moe.ffn_parameters()), of(dense.ffn_parameters()), computed, short_count);
  const auto held = [](const ComparedModel& m) {
    return fmt::format("{:.2f}x", of(m.ffn_parameters()) / std::max(1.0, of(ffn_of(m.active))));
  };
  rows.add_text("feed-forward held / used by a token, about N/k", held(moe), held(dense), computed);
  rows.add("KV cache a token", of(moe.kv_bytes_per_token), of(dense.kv_bytes_per_token), computed, bytes_text);
  rows.add("weights and one full context", moe.memory_bytes(), dense.memory_bytes(), computed, bytes_text);
  rows.section("compute");
  rows.add("forward a token", moe.flops_per_token, dense.flops_per_token, computed, short_flops);
}

void add_speed(const Comparison& c, Rows& rows) {
  using enum Origin;
  rows.section("one request");
  rows.add(fmt::format("first token after {}", c.prompt_tokens), c.moe.first_token_seconds, c.dense.first_token_seconds,
           measured, milliseconds);
  rows.add("each further token", token_seconds(c.moe), token_seconds(c.dense), measured, milliseconds);
  rows.section("many requests");
  const auto rate = [](double v) { return fmt::format("{:.1f} tok/s", v); };
  for (size_t i = 0; i < c.moe.decode.size(); ++i) {
    const BatchSpeed &moe = c.moe.decode[i], &dense = c.dense.decode[i];
    rows.add(fmt::format("throughput of {}", moe.batch), moe.tokens_per_second, dense.tokens_per_second, measured,
             rate);
    rows.add(fmt::format("bytes read a step of {}", moe.batch), moe.step_bytes, dense.step_bytes, computed, bytes_text);
    const auto visited = [](const BatchSpeed& s) {
      return s.distinct_experts == 0 ? std::string("all") : fmt::format("{:.1f}", s.distinct_experts);
    };
    rows.add_text(fmt::format("experts visited a layer, {}", moe.batch), visited(moe), visited(dense), computed);
  }
}

void add_training(const Comparison& c, Rows& rows) {
  if (c.runs.size() != 2) return;
  using enum Origin;
  const RunSummary moe = summarize(c.runs[0]), dense = summarize(c.runs[1]);
  rows.section("training");
  rows.add("tokens", moe.tokens, dense.tokens, from_run, short_count);
  rows.add("compute", moe.flops, dense.flops, from_run, short_flops);
  rows.add("training time", moe.seconds, dense.seconds, from_run, short_time);
  rows.add("tokens/s", moe.tokens_per_second, dense.tokens_per_second, from_run, short_count);
  const auto loss = [](double v) { return decimal(v, 4); };
  rows.add("final training loss", moe.train_loss, dense.train_loss, from_run, loss);
  rows.add("final validation loss", moe.eval_loss, dense.eval_loss, from_run, loss);
  rows.add("validation nats/byte", moe.nats_per_byte, dense.nats_per_byte, from_run, loss);
  for (const RunComparison& pair : compare(c.runs)) {
    if (pair.run != 0) continue;  // the runs are not an MoE and a dense one
    const auto ratio = [](std::optional<double> r) { return r ? times(*r) : std::string("not reached"); };
    rows.add_text("tokens to the dense final loss", ratio(pair.tokens_ratio), "1.00x", from_run);
    rows.add_text("compute to the dense final loss", ratio(pair.flops_ratio), "1.00x", from_run);
    rows.add_text("training time to the dense final loss", ratio(pair.seconds_ratio), "1.00x", from_run);
  }
}

}  // namespace

int64_t ComparedModel::ffn_parameters() const {
  return ffn_of(parameters);
}

std::string_view name_of(Origin origin) {
  constexpr std::string_view names[] = {"computed", "measured", "run"};
  return names[static_cast<size_t>(origin)];
}

std::vector<ComparisonRow> comparison_rows(const Comparison& c) {
  Rows rows;
  add_sizes(c.moe, c.dense, rows);
  add_speed(c, rows);
  if (c.moe.nats_per_byte && c.dense.nats_per_byte) {
    rows.section("quality");
    rows.add("nats/byte of " + visible_text(c.text), *c.moe.nats_per_byte, *c.dense.nats_per_byte, Origin::measured,
             [](double v) { return decimal(v, 4); });
  }
  add_training(c, rows);
  return std::move(rows.rows);
}

std::string comparison_text(const Comparison& c) {
  const std::vector<ComparisonRow> rows = comparison_rows(c);
  const std::string moe = visible_text(c.moe.name), dense = visible_text(c.dense.name);
  size_t label = 0, first = moe.size(), second = dense.size();
  for (const ComparisonRow& row : rows) {
    label = std::max(label, row.label.size());
    first = std::max(first, row.moe.size());
    second = std::max(second, row.dense.size());
  }
  std::string out =
      fmt::format("{:<{}}  {:>{}}  {:>{}}  {:>9}  from\n", "", label + 2, moe, first, dense, second, "MoE/dense");
  std::string section;
  for (const ComparisonRow& row : rows) {
    if (row.section != section) out += row.section + "\n";
    section = row.section;
    out += fmt::format("  {:<{}}  {:>{}}  {:>{}}  {:>9}  {}\n", row.label, label, row.moe, first, row.dense, second,
                       row.ratio, name_of(row.origin));
  }
  out += "\n";
  for (const std::string& sentence : comparison_sentences(c)) out += sentence + "\n";
  return out + fmt::format("\nmeasured here: {}, {} kernels; medians of {}, {} decode steps each, random tokens\n",
                           c.machine, c.kernels, c.repeats, c.decode_tokens);
}

namespace {

json::Value model_json(const ComparedModel& m) {
  json::Value out, active, decode{json::Array{}};
  out.set("name", m.name).set("family", m.family).set("parameters", m.parameters.total());
  active.set("full", m.conventions.full).set("without_input_embedding", m.conventions.without_input_embedding);
  out.set("active", active.set("without_embeddings", m.conventions.without_embeddings));
  out.set("num_experts", m.num_experts).set("top_k", m.top_k).set("moe_layers", m.moe_layers);
  out.set("ffn_parameters", m.ffn_parameters()).set("ffn_active_parameters", ffn_of(m.active));
  out.set("disk_bytes", m.disk_bytes).set("kv_bytes_per_token", m.kv_bytes_per_token);
  out.set("memory_bytes", m.memory_bytes()).set("flops_per_token", m.flops_per_token);
  out.set("first_token_seconds", m.first_token_seconds).set("seconds_per_token", token_seconds(m));
  for (const BatchSpeed& speed : m.decode) {
    json::Value item;
    item.set("batch", speed.batch).set("tokens_per_second", speed.tokens_per_second);
    decode.push(item.set("step_bytes", speed.step_bytes).set("distinct_experts", speed.distinct_experts));
  }
  out.set("decode", std::move(decode));
  return out.set("nats_per_byte", m.nats_per_byte ? json::Value(*m.nats_per_byte) : json::Value());
}

}  // namespace

json::Value comparison_json(const Comparison& c) {
  json::Value out, rows{json::Array{}}, sentences{json::Array{}};
  for (const ComparisonRow& row : comparison_rows(c)) {
    json::Value item;
    item.set("section", row.section).set("label", row.label).set("moe", row.moe).set("dense", row.dense);
    rows.push(item.set("ratio", row.ratio).set("from", name_of(row.origin)));
  }
  for (const std::string& sentence : comparison_sentences(c)) sentences.push(sentence);
  out.set("schema_version", 1).set("machine", c.machine).set("kernels", c.kernels);
  out.set("memory_bytes", c.memory_bytes > 0 ? json::Value(c.memory_bytes) : json::Value());
  out.set("prompt_tokens", c.prompt_tokens).set("decode_tokens", c.decode_tokens).set("repeats", c.repeats);
  out.set("moe", model_json(c.moe)).set("dense", model_json(c.dense));
  if (c.runs.size() == 2) out.set("training", to_json(c.runs));
  return out.set("rows", std::move(rows)).set("sentences", std::move(sentences));
}

}  // namespace moxie
