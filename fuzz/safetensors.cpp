// Fuzzes the safetensors header: whatever is accepted must tile the data of the file.
#include "store/safetensors.h"

#include <cstdint>
#include <string>

namespace {

void check(const std::string& file) {
  try {
    const moxie::SafetensorsHeader header = moxie::parse_safetensors_header(file, "fuzz");
    int64_t total = 0;
    for (const moxie::TensorRange& tensor : header.tensors) {
      const moxie::View view =
          moxie::dense_view(file.data() + header.data_begin + tensor.begin, tensor.format, tensor.shape);
      MOXIE_CHECK(view.num_bytes() == tensor.end - tensor.begin && tensor.begin >= 0);
      total += view.num_bytes();
    }
    MOXIE_CHECK(header.data_begin + total == static_cast<int64_t>(file.size()));
  } catch (const moxie::Error& error) {
    MOXIE_CHECK(error.code() == moxie::ErrorCode::invalid);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string file(reinterpret_cast<const char*>(data), size);
  check(file);
  // Once more with the length that the text has, or few mutations of it would be read at all.
  const size_t brace = file.rfind('}');
  if (size < 8 || brace == std::string::npos || brace < 8) return 0;
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(((brace - 7) >> (8 * i)) & 0xff);
  check(file);
  return 0;
}
