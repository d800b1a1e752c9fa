// libFuzzer: any bytes as a config.json. Either a ModelSpec comes out, whose rotary table and size can be computed, or
// an Error{invalid}.
#include "spec/config.h"

#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "spec/rope.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const moxie::ModelSpec spec = moxie::parse_config({reinterpret_cast<const char*>(data), size}, "config.json");
    if (spec.layers.empty() || spec.rope.dim > (1 << 17)) std::abort();
    moxie::rope_inverse_frequencies(spec.rope, spec.max_position);
  } catch (const moxie::Error& error) {
    if (error.code() != moxie::ErrorCode::invalid) std::abort();
  }
  return 0;
}
