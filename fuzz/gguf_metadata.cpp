// libFuzzer target: the metadata of a GGUF file, written as JSON, as config, tokenizer, chat template and defaults.
#include <cstdint>

#include "base/error.h"
#include "spec/gguf_config.h"
#include "text/chat_template.h"
#include "text/generation_config.h"
#include "text/tokenizer.h"

namespace {

template <typename Read>
void attempt(Read read) {
  try {
    read();
  } catch (const moxie::Error& error) {
    MOXIE_CHECK(error.code() == moxie::ErrorCode::invalid);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  moxie::json::Value metadata;
  attempt([&] { metadata = moxie::json::parse(bytes, {.source = "metadata"}); });
  if (!metadata.is_object()) return 0;
  const bool odd = size % 2 != 0;
  attempt([&] {
    moxie::GgufTensorFacts facts{.has_output = odd, .has_attention_bias = odd, .has_qk_norm = odd};
    if (odd) facts.layers_without_router = {0, 1};
    if (size % 3 == 0) facts.rope_factors = {1, 2, 4, 8};
    if (size % 5 == 0) facts.rope_long = facts.rope_short = {1, 2, 4, 8};
    moxie::gguf_spec(metadata, facts, "m.gguf");
  });
  attempt([&] {
    const moxie::Tokenizer tokenizer = moxie::Tokenizer::from_gguf(metadata, "m.gguf");
    for (const std::string_view text :
         {bytes.substr(0, 100), std::string_view("abc  ab\n 12 \xf0\x9f\x99\x82<s>\xff")}) {
      for (const bool parse_special : {false, true})
        tokenizer.decode(tokenizer.encode(text, {.parse_special = parse_special}));
    }
  });
  attempt([&] { moxie::ChatTemplate::from_gguf(metadata, "m.gguf"); });
  attempt([&] { moxie::GenerationConfig::from_gguf(metadata, "m.gguf"); });
  return 0;
}
