// Fuzzes the shard index: whatever is accepted names plain files.
#include <cstdint>
#include <string_view>

#include "store/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const moxie::ShardIndex index = moxie::parse_shard_index(text, "fuzz");
    MOXIE_CHECK(!index.shards.empty());
    for (const auto& [shard, names] : index.shards) {
      const std::filesystem::path path = shard;
      MOXIE_CHECK(!names.empty() && path.filename() == path && path.extension() == ".safetensors");
    }
  } catch (const moxie::Error& error) {
    MOXIE_CHECK(error.code() == moxie::ErrorCode::invalid);
  }
  return 0;
}
