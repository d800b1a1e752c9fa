// The bundled models and small helpers for the tests of infer. Not for tests of single families: those use goldens.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "infer/generate.h"

namespace moxie::test {

inline std::filesystem::path bundled(const std::string& name) {
  return std::filesystem::path(MOXIE_SOURCE_DIR) / "models" / name;
}

/// The bundled MoE model with its tokenizer, loaded once.
inline const Model& moe_7m() {
  static const Model model = Model::load(bundled("moe-7m"));
  return model;
}
inline const Tokenizer& moe_7m_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::load(bundled("moe-7m"));
  return tokenizer;
}

/// The first `n` tokens (bytes) of one of the bundled texts, from `begin` on.
inline std::vector<int32_t> text_ids(const std::string& domain, size_t begin, size_t n) {
  static constexpr size_t kMost = 1 << 20;
  return moe_7m_tokenizer().encode(read_file(bundled("moe-7m") / "valid" / (domain + ".txt"), kMost).substr(begin, n));
}

/// Names of the kernel sets this CPU can run.
inline std::vector<std::string> kernel_sets_here() {
  std::vector<std::string> names;
  for (const KernelSet* set : all_kernel_sets()) {
    if (runs_here(*set)) names.emplace_back(set->name);
  }
  return names;
}

inline std::vector<float> copied(std::span<const float> logits) {
  return {logits.begin(), logits.end()};
}

/// Code and text of the Error that `action` throws; empty if it throws none.
struct Refusal {
  ErrorCode code;
  std::string text;
};
template <typename Action>
std::optional<Refusal> refusal_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return Refusal{error.code(), error.text()};
  }
  return std::nullopt;
}

inline bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace moxie::test
