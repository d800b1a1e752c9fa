// libFuzzer target: tokenizer.model (SentencePiece), then a short text through what was read.
#include <cstdint>

#include "base/error.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    const moxie::Tokenizer tokenizer = moxie::Tokenizer::from_sentencepiece(bytes, "tokenizer.model");
    for (const std::string_view text :
         {bytes.substr(0, 100), std::string_view("abc  ab\n 12 \xf0\x9f\x99\x82<s>\xff")}) {
      for (const bool parse_special : {false, true})
        tokenizer.decode(tokenizer.encode(text, {.parse_special = parse_special}));
    }
  } catch (const moxie::Error&) {
  }
  return 0;
}
