// The tokenizer as a whole: real vocabularies, special tokens, streaming.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"

namespace moxie {
namespace {

std::string data(const std::string& name) {
  return read_file(std::string(MOXIE_SOURCE_DIR) + "/tests/data/tokenizers/" + name, size_t{64} << 20);
}

TEST(Tokenizer, a_byte_vocabulary_maps_bytes_to_ids_and_back) {
  const Tokenizer tokenizer = Tokenizer::from_json(data("moe-7m/tokenizer.json"), "tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), 256);
  std::string every_byte;
  for (int i = 0; i < 256; ++i) every_byte += static_cast<char>(i);
  const std::vector<int32_t> ids = tokenizer.encode(every_byte);
  ASSERT_EQ(ids.size(), 256u);
  std::string bytes;
  for (int i = 0; i < 256; ++i) {
    EXPECT_EQ(ids[static_cast<size_t>(i)], i);
    bytes += tokenizer.token_bytes(ids[static_cast<size_t>(i)]);
  }
  EXPECT_EQ(bytes, every_byte);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("naïve 🙂\n")), "naïve 🙂\n");
}

}  // namespace
}  // namespace moxie
