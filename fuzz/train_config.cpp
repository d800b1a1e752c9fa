// libFuzzer: any bytes as the TOML of a training run. Either a configuration comes out, whose resolved text reads back
// to itself, or an Error{invalid}.
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "train/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string toml =
        moxie::to_toml(moxie::parse_train_config({reinterpret_cast<const char*>(data), size}, "/run.toml", {}));
    try {
      if (moxie::to_toml(moxie::parse_train_config(toml, "/run.toml", {})) != toml) std::abort();
    } catch (const moxie::Error&) {
      std::abort();
    }
  } catch (const moxie::Error& error) {
    if (error.code() != moxie::ErrorCode::invalid) std::abort();
  }
  return 0;
}
