// GGUF files by hand for tests, good and bad: numbers, keys and tensor infos as bytes. Nothing here checks anything.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moxie {

template <typename T>
std::string number_bytes(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}
inline std::string u16(uint16_t value) {
  return number_bytes(value);
}
inline std::string u32(uint32_t value) {
  return number_bytes(value);
}
inline std::string u64(uint64_t value) {
  return number_bytes(value);
}
inline std::string text(std::string_view bytes) {
  return u64(bytes.size()) + std::string(bytes);
}

inline std::string key(std::string_view name, uint32_t type, std::string_view value) {
  return text(name) + u32(type) + std::string(value);
}

/// Dimensions as the file has them: innermost first.
inline std::string tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
  std::string bytes = text(name) + u32(static_cast<uint32_t>(dims.size()));
  for (const uint64_t dim : dims) bytes += u64(dim);
  return bytes + u32(type) + u64(offset);
}

inline std::string join(const std::vector<std::string>& parts) {
  std::string bytes;
  for (const std::string& part : parts) bytes += part;
  return bytes;
}

/// A file of version 3: the data is padded to its alignment in front, and not behind.
inline std::string gguf(const std::vector<std::string>& keys, const std::vector<std::string>& tensors = {},
                        std::string_view data = "", size_t alignment = 32) {
  std::string file = "GGUF" + u32(3) + u64(tensors.size()) + u64(keys.size()) + join(keys) + join(tensors);
  if (!tensors.empty()) file.append((alignment - file.size() % alignment) % alignment, '\0');
  return file + std::string(data);
}

/// "at byte N" of the place where `needle` stands in a file, `plus` bytes further.
inline std::string at(std::string_view file, std::string_view needle, size_t plus = 0) {
  EXPECT_NE(file.find(needle), std::string_view::npos) << needle;
  return "at byte " + std::to_string(file.find(needle) + plus) + ":";
}

}  // namespace moxie
