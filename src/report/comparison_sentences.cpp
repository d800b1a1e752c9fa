// When an MoE model beats a dense one on this machine and when not: sentences from the numbers of a comparison.
#include <fmt/format.h>

#include <cmath>

#include "report/comparison.h"
#include "report/run_summary.h"
#include "report/token_text.h"

namespace moxie {
namespace {

constexpr double kTie = 1.03;  // closer than this, two speeds count as equal: medians of a few repeats tell no more

std::string gigabytes(double bytes) {
  return bytes >= 1e8 ? fmt::format("{:.1f} GB", bytes / 1e9) : fmt::format("{:.1f} MB", bytes / 1e6);
}

/// "1.9x faster", "1.2x slower", "as fast" for a speed over another.
std::string pace(double ratio) {
  if (ratio < kTie && ratio > 1 / kTie) return "as fast as";
  return ratio >= 1 ? fmt::format("{:.2f}x faster than", ratio) : fmt::format("{:.2f}x slower than", 1 / ratio);
}

std::string size_sentence(const Comparison& c) {
  const double total = static_cast<double>(c.moe.parameters.total()) / static_cast<double>(c.dense.parameters.total());
  const double active = static_cast<double>(c.moe.conventions.full) / static_cast<double>(c.dense.conventions.full);
  return fmt::format(
      "The MoE ({} of {} experts) holds {:.2f}x the parameters of the dense model and a token passes through {:.2f}x "
      "as "
      "many: memory follows the first number, compute the second.",
      c.moe.top_k, c.moe.num_experts, total, active);
}

std::string one_request_sentence(const Comparison& c) {
  const double speed = c.moe.decode.front().tokens_per_second / c.dense.decode.front().tokens_per_second;
  const double bytes = static_cast<double>(c.moe.disk_bytes) / static_cast<double>(c.dense.disk_bytes);
  return fmt::format(
      "At one request the MoE is {} this dense model, and about {:.1f}x as fast as a dense model of the MoE's total "
      "size would be (estimated: this dense model's time times {:.2f}, the ratio of bytes); its first token after {} "
      "is "
      "{} the dense one's.",
      pace(speed), speed * bytes, bytes, c.prompt_tokens,
      pace(c.dense.first_token_seconds / c.moe.first_token_seconds));
}

std::string throughput_sentence(const Comparison& c) {
  std::string text = "Tokens a second of many requests, MoE over dense:";
  const char* comma = " ";
  int64_t changes = 0, last = 0;
  bool moe_first = false, moe_now = false;
  for (size_t i = 0; i < c.moe.decode.size(); ++i) {
    const double ratio = c.moe.decode[i].tokens_per_second / c.dense.decode[i].tokens_per_second;
    text += fmt::format("{}{:.2f}x at {}", comma, ratio, c.moe.decode[i].batch);
    comma = ", ";
    if (i == 0) moe_first = moe_now = ratio >= 1;
    if ((ratio >= 1) != moe_now) {
      ++changes;
      last = c.moe.decode[i].batch;
      moe_now = ratio >= 1;
    }
  }
  if (changes == 0) {
    text += fmt::format(". The {} is ahead at every batch tried", moe_first ? "MoE" : "dense model");
  } else if (changes == 1) {
    text += fmt::format(". From batch {} on the {} is ahead", last, moe_now ? "MoE" : "dense model");
  } else {
    text += ". Neither is ahead throughout";
  }
  const BatchSpeed& most = c.moe.decode.back();
  return text + fmt::format("; a step of {} visits about {:.1f} of {} experts a layer, {:.0f}% of what it holds.",
                            most.batch, most.distinct_experts, c.moe.num_experts,
                            100 * most.distinct_experts / static_cast<double>(c.moe.num_experts));
}

std::string memory_sentence(const Comparison& c) {
  const double moe = c.moe.memory_bytes(), dense = c.dense.memory_bytes();
  const std::string needs =
      fmt::format("With one full context the MoE takes {}, the dense model {}", gigabytes(moe), gigabytes(dense));
  const char* smaller = moe < dense ? "MoE" : "dense model";
  const std::string between = fmt::format("between {} and {} of memory only the {} fits",
                                          gigabytes(std::min(moe, dense)), gigabytes(std::max(moe, dense)), smaller);
  if (c.memory_bytes <= 0) return fmt::format("{}: {}.", needs, between);
  const bool moe_fits = moe <= c.memory_bytes, dense_fits = dense <= c.memory_bytes;
  const char* here = moe_fits && dense_fits ? "both fit"
                     : moe_fits             ? "only the MoE fits"
                     : dense_fits           ? "only the dense model fits"
                                            : "neither fits";
  return fmt::format("{}: {} into the {} here; {}.", needs, here, gigabytes(c.memory_bytes), between);
}

std::string quality_sentence(const Comparison& c) {
  const double difference = *c.moe.nats_per_byte - *c.dense.nats_per_byte;
  return fmt::format("On {} the MoE needs {:.4f} nats/byte, the dense model {:.4f}: the {} predicts better by {:.4f}.",
                     visible_text(c.text), *c.moe.nats_per_byte, *c.dense.nats_per_byte,
                     difference < 0 ? "MoE" : "dense model", std::abs(difference));
}

std::string verdict(const Comparison& c) {
  const auto ahead = [&](const BatchSpeed& moe, const BatchSpeed& dense) {
    const double ratio = moe.tokens_per_second / dense.tokens_per_second;
    return ratio > kTie ? 1 : ratio < 1 / kTie ? -1 : 0;
  };
  std::vector<std::string> moe, dense;
  const int one = ahead(c.moe.decode.front(), c.dense.decode.front());
  const int many = ahead(c.moe.decode.back(), c.dense.decode.back());
  const std::string load = fmt::format("speed at {} requests", c.moe.decode.back().batch);
  if (one != 0) (one > 0 ? moe : dense).push_back("speed at one request");
  if (many != 0 && c.moe.decode.size() > 1) (many > 0 ? moe : dense).push_back(load);
  if (c.moe.memory_bytes() != c.dense.memory_bytes()) {
    (c.moe.memory_bytes() < c.dense.memory_bytes() ? moe : dense).push_back("memory");
  }
  if (c.moe.nats_per_byte && c.dense.nats_per_byte) {
    (*c.moe.nats_per_byte < *c.dense.nats_per_byte ? moe : dense).push_back("quality on that text");
  }
  const auto list = [](const std::vector<std::string>& reasons) {
    std::string text;
    for (size_t i = 0; i < reasons.size(); ++i) {
      text += (i == 0 ? "" : i + 1 == reasons.size() ? " and " : ", ") + reasons[i];
    }
    return reasons.empty() ? std::string("nothing measured here") : text;
  };
  return fmt::format("For this machine: the MoE wins on {}; the dense model wins on {}.", list(moe), list(dense));
}

}  // namespace

std::vector<std::string> comparison_sentences(const Comparison& c) {
  std::vector<std::string> out = {size_sentence(c), one_request_sentence(c), throughput_sentence(c),
                                  memory_sentence(c)};
  if (c.moe.nats_per_byte && c.dense.nats_per_byte) out.push_back(quality_sentence(c));
  if (c.runs.size() == 2) {
    const std::vector<RunSummary> runs = {summarize(c.runs[0]), summarize(c.runs[1])};
    for (const RunComparison& pair : compare(c.runs)) out.push_back(comparison_sentence(pair, runs));
  }
  out.push_back(verdict(c));
  return out;
}

}  // namespace moxie
