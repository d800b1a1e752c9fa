// Fuzzes the safetensors header: whatever is accepted must tile the data of the file.
#include "store/safetensors.h"

#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  try {
    const moxie::SafetensorsHeader header = moxie::parse_safetensors_header(file, "fuzz");
    int64_t total = 0;
    for (const moxie::TensorRange& tensor : header.tensors) {
      const moxie::View view =
          moxie::dense_view(file.data() + header.data_begin + tensor.begin, tensor.format, tensor.shape);
      MOXIE_CHECK(view.num_bytes() == tensor.end - tensor.begin && tensor.begin >= 0);
      total += view.num_bytes();
    }
    MOXIE_CHECK(header.data_begin + total == static_cast<int64_t>(size));
  } catch (const moxie::Error& error) {
    MOXIE_CHECK(error.code() == moxie::ErrorCode::invalid);
  }
  return 0;
}
