// A tokenizer as tokenizer.json (the format of Hugging Face tokenizers): what tokenizer_json.h reads. Not the config
// beside it.
#pragma once

#include <string>

#include "text/tokenizer_parts.h"

namespace moxie::text {

/// Of a finished tokenizer that came from GGUF, SentencePiece or tiktoken. All tokens stand in the vocabulary, so that
/// ids are theirs even where they leave holes. Two things the format cannot say as the source does: merges that share a
/// rank get an order (by the ids of their halves, as Hugging Face's converters do), and a user-defined token is sought
/// in the raw text where SentencePiece seeks it behind the dummy prefix.
std::string tokenizer_json_of(const Parts& parts);

}  // namespace moxie::text
