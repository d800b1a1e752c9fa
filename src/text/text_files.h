// Files of a model directory that are about text and sampling, not about weights: copies of them, and those made of a
// GGUF file's metadata.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"

namespace moxie {

/// A file of a model directory, whole.
struct TextFile {
  std::string name, text;
};

/// Copies the tokenizer, chat template and generation files of a model directory into another, as they are. Throws
/// Error{runtime}.
void copy_text_files(const std::filesystem::path& from, const std::filesystem::path& to);

/// tokenizer.json, tokenizer_config.json (with the chat template) and generation_config.json that say what the metadata
/// of a GGUF file says, for transformers and for moxie; without a tokenizer in it the last alone. Merges of a
/// vocabulary that has ranks only (SentencePiece, tiktoken) are listed as Hugging Face's converters list them. Throws
/// Error{invalid} as Tokenizer::from_gguf does.
std::vector<TextFile> text_files_of_gguf(const json::Value& metadata, const std::string& source);

}  // namespace moxie
