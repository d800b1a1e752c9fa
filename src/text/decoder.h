// Decoders, compiled at load into one byte string a token plus a rule for the start of a text. No UTF-8 repair here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/normalizer.h"

namespace moxie::text {

struct ByteLevelDecoder {};
struct MetaspaceDecoder {
  std::string replacement;
  bool drop_at_start = true;  // the first token of a text loses its replacements
};
struct ByteFallbackDecoder {};
struct FuseDecoder {};
struct StripDecoder {
  std::string content;
  size_t start = 0;  // at most so many, from the front of each token, or of the whole text after Fuse
  size_t stop = 0;   // from the back; before Fuse only
};

using DecoderStep =
    std::variant<ByteLevelDecoder, MetaspaceDecoder, Replace, ByteFallbackDecoder, FuseDecoder, StripDecoder>;

/// What every token adds to a text.
class Decoder {
 public:
  /// Steps in file order. `where` names them in errors. Throws Error{invalid} for an order that cannot be applied token
  /// by token (a text step other than Strip after Fuse). Without steps tokens are joined as they are.
  Decoder(std::vector<DecoderStep> steps, const std::string& where);

  /// What a token with that content adds in the middle of a text, or as the first token.
  std::string piece(std::string_view content, bool first) const;

  /// Those before Fuse.
  const std::vector<DecoderStep>& steps() const { return steps_; }
  const std::string& strip_content() const { return strip_.content; }
  size_t strip_start() const { return strip_.start; }

 private:
  std::vector<DecoderStep> steps_;  // those applied to each token
  StripDecoder strip_;              // applied to the whole text
};

}  // namespace moxie::text
