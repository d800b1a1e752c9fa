// libFuzzer: any bytes as a train_state.json. Either a state comes out, which reads back from its own text and whose
// configuration can be compared, or an Error{invalid}.
#include "train/train_state.h"

#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "train/run_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const moxie::TrainState state =
        moxie::parse_train_state({reinterpret_cast<const char*>(data), size}, "train_state.json");
    if (!moxie::config_difference(state.config, state.config).empty()) std::abort();
    moxie::config_difference(state.config, "[train]\nlr = 1.0\n");
    const std::string text = moxie::to_json(state).dump();
    if (moxie::to_json(moxie::parse_train_state(text, "again")).dump() != text) std::abort();
  } catch (const moxie::Error& error) {
    if (error.code() != moxie::ErrorCode::invalid) std::abort();
  }
  return 0;
}
