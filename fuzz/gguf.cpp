// Fuzzes the GGUF header: whatever is accepted must tile the data of the file, and its metadata must print.
#include "store/gguf.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

namespace {

// Every value lies in the file, after the one before it.
size_t check_value(const moxie::json::Value& value, size_t at, size_t size) {
  MOXIE_CHECK(value.offset() >= at && value.offset() < size);
  at = value.offset();
  if (value.is_array()) {
    for (const moxie::json::Value& item : value.items()) at = check_value(item, at, size);
  }
  return at;
}

void check(const std::string& file) {
  try {
    const moxie::GgufHeader header = moxie::parse_gguf_header(file, "fuzz");
    size_t at = 24;
    for (const moxie::json::Member& member : header.metadata.members()) {
      MOXIE_CHECK(member.key_offset >= at);
      at = check_value(member.value, member.key_offset, file.size());
    }
    MOXIE_CHECK(!header.metadata.dump().empty());
    const auto alignment = static_cast<int64_t>(header.alignment);
    int64_t total = 0;
    int64_t last_end = 0;
    for (const moxie::TensorRange& tensor : header.tensors) {
      const moxie::View view =
          moxie::dense_view(file.data() + header.data_begin + tensor.begin, tensor.format, tensor.shape);
      MOXIE_CHECK(view.num_bytes() == tensor.end - tensor.begin && tensor.begin >= 0);
      MOXIE_CHECK((header.data_begin + tensor.begin) % alignment == 0);
      MOXIE_CHECK(header.data_begin + tensor.end <= static_cast<int64_t>(file.size()));
      total += (view.num_bytes() + alignment - 1) / alignment * alignment;
      last_end = std::max(last_end, tensor.end);
    }
    MOXIE_CHECK(total - last_end >= 0 && total - last_end < alignment);
    MOXIE_CHECK(static_cast<int64_t>(file.size()) - header.data_begin - total <= alignment);
  } catch (const moxie::Error& error) {
    MOXIE_CHECK(error.code() == moxie::ErrorCode::invalid);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string file(reinterpret_cast<const char*>(data), size);
  check(file);
  // Once more with a good magic and small counts, or few mutations of it would be read at all.
  if (size < 24) return 0;
  std::memcpy(file.data(), "GGUF\3\0\0\0", 8);
  for (size_t i = 9; i < 24; ++i) {
    if (i != 16) file[i] = 0;
  }
  file[8] &= 7;
  file[16] &= 7;
  check(file);
  return 0;
}
