#include "model/gguf_metadata.h"

namespace moxie {

void put_architecture(const GgufExport& made, GgufMetadata& metadata) {
  for (const GgufKey& key : made.keys) {
    std::visit(
        [&](const auto& value) {
          using T = std::decay_t<decltype(value)>;
          if constexpr (std::is_same_v<T, std::string>) {
            metadata.set_string(key.name, value);
          } else {
            metadata.set<T>(key.name, value);
          }
        },
        key.value);
  }
}

void put_vocabulary(const text::GgufVocabulary& vocabulary, GgufMetadata& metadata) {
  metadata.set_string("tokenizer.ggml.model", vocabulary.model);
  metadata.set_string("tokenizer.ggml.pre", vocabulary.pre);
  metadata.set_strings("tokenizer.ggml.tokens", vocabulary.tokens);
  if (!vocabulary.scores.empty()) metadata.set_array<float>("tokenizer.ggml.scores", vocabulary.scores);
  metadata.set_array<int32_t>("tokenizer.ggml.token_type", vocabulary.types);
  if (vocabulary.model == "gpt2") metadata.set_strings("tokenizer.ggml.merges", vocabulary.merges);
  for (const auto& [key, id] : vocabulary.ids) {
    metadata.set<uint32_t>("tokenizer.ggml." + key, static_cast<uint32_t>(id));
  }
  for (const auto& [key, value] : vocabulary.flags) metadata.set<bool>("tokenizer.ggml." + key, value);
  if (!vocabulary.chat_template.empty()) metadata.set_string("tokenizer.chat_template", vocabulary.chat_template);
}

}  // namespace moxie
