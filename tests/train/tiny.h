// A model and a text small enough that a test can train on them in a blink. Not a model that learns much.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "train/config.h"
#include "train/scratch_directory.h"

namespace moxie::test {

/// Text with something to learn, the same every time.
inline std::string tiny_text(int lines = 600) {
  const std::vector<std::string> subjects = {"the cat", "a dog", "our house", "my old friend", "the sea"};
  const std::vector<std::string> verbs = {"sees", "finds", "likes", "remembers", "hears", "loses", "needs"};
  std::string text;
  for (int i = 0; i < lines; ++i) {
    const auto pick = [&](const std::vector<std::string>& words, int salt) {
      return words[static_cast<size_t>(i * 7919 + salt * i * i) % words.size()];
    };
    text += pick(subjects, 1) + " " + pick(verbs, 3) + " " + pick(subjects, 5) + ".\n";
  }
  return text;
}

inline constexpr const char* kTinyConfig = R"([model]
model_type = "qwen3_moe"
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 16
num_experts = 4
num_experts_per_tok = 2
moe_intermediate_size = 32
intermediate_size = 64
norm_topk_prob = true
tie_word_embeddings = true
vocab_size = 256
max_position_embeddings = 64

[data]
tokenizer = "bytes"
valid_fraction = 0.2
[[data.domains]]
name = "tiny"
paths = ["text.txt"]

[train]
steps = 12
batch_size = 4
seq_len = 32
lr = 3e-3
log_every = 1
eval_every = 4
eval_sequences = 8
threads = 1
out = "run"

[balance]
coef = 0.01
)";

/// Writes text.txt and tiny.toml into a directory; returns the latter.
inline std::filesystem::path write_tiny(const std::filesystem::path& directory) {
  std::ofstream(directory / "text.txt") << tiny_text();
  std::ofstream(directory / "tiny.toml") << kTinyConfig;
  return directory / "tiny.toml";
}

inline TrainConfig tiny_config(const std::filesystem::path& directory, std::vector<std::string> overrides = {}) {
  return load_train_config(write_tiny(directory), overrides);
}

}  // namespace moxie::test
