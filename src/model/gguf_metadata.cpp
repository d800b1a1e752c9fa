#include "model/gguf_metadata.h"

#include <type_traits>

namespace moxie {
namespace {

template <typename T>
void put(const std::string& name, const T& value, GgufMetadata& metadata) {
  if constexpr (std::is_convertible_v<T, std::string_view>) {
    metadata.set_string(name, value);
  } else if constexpr (std::is_arithmetic_v<T>) {
    metadata.set<T>(name, value);
  } else if constexpr (std::is_same_v<T, std::span<const std::string>>) {
    metadata.set_strings(name, value);
  } else {
    metadata.set_array<typename T::value_type>(name, value);
  }
}

template <typename Key>
void put_all(const std::vector<Key>& keys, GgufMetadata& metadata) {
  for (const Key& key : keys) {
    std::visit([&](const auto& value) { put(key.name, value, metadata); }, key.value);
  }
}

}  // namespace

void put_architecture(const GgufExport& made, GgufMetadata& metadata) {
  put_all(made.keys, metadata);
}

void put_vocabulary(const text::GgufVocabulary& vocabulary, GgufMetadata& metadata) {
  put_all(vocabulary.keys(), metadata);
}

}  // namespace moxie
