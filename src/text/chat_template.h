// Chat templates: messages in, prompt text out, with the user's bytes marked. Knows no token ids.
#pragma once

#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace moxie {

/// A piece of the rendered prompt. Text that came from a request is marked, so that the tokenizer can refuse to read
/// control tokens in it. Segments are not token borders: tokenise their joined text, with control tokens only where
/// every byte is the template's.
struct PromptSegment {
  std::string text;
  bool from_user;
};

/// The segments' text in a row.
std::string joined(const std::vector<PromptSegment>& segments);

/// What one rendering may spend; each grows with the size of the context, so that a long conversation still renders.
struct RenderLimits {
  uint64_t steps = 20'000'000;
  uint64_t steps_per_value = 10'000;          // for each value in the context
  size_t text_bytes = size_t{16} << 20;       // of each text, the prompt too
  size_t text_bytes_per_byte = 16;            // for each byte of text in the context
  std::optional<std::tm> now = std::nullopt;  // what strftime_now shows; the local time if empty
};

/// A parsed template in the Jinja2 dialect of transformers (Hugging Face): an immutable sandbox with trim_blocks,
/// lstrip_blocks, break and continue, tojson without HTML escapes, raise_exception, strftime_now and {% generation %}.
/// Left out, each an error with line and column: include, import, extends, block, recursive loops,
/// `%` and format on strings. Integers have 64 bits; range() makes a list of at most 100000 items; loops over filtered
/// items are filtered before they begin.
class ChatTemplate {
 public:
  /// Throws Error{invalid}: "NAME: line 3, column 7: ...". Linear in the source, which may have 4 MiB.
  static ChatTemplate parse(std::string_view source, const std::string& name);

  /// From a Hugging Face directory: chat_template.jinja, else the chat_template of tokenizer_config.json (a string, or
  /// a list of {name, template}, of which "default"). Empty if there is none.
  static std::optional<ChatTemplate> load(const std::filesystem::path& model_dir);

  /// The tokenizer.chat_template of a GGUF file's metadata. Empty if there is none.
  static std::optional<ChatTemplate> from_gguf(const json::Value& metadata, const std::string& source);

  /// The template's own text.
  const std::string& source() const;

  /// Renders with the members of the object `context` as variables: messages, add_generation_prompt, tools,
  /// bos_token... All strings in it are the user's, but for those of members named *_token (bos_token, ...), and for
  /// the `role` of a message where it is one of the usual roles (templates build control tokens of it). Throws
  /// Error{invalid} with line and column when the template fails, calls raise_exception, or reaches a limit. Safe to
  /// call from many threads.
  std::vector<PromptSegment> render(const json::Value& context, const RenderLimits& limits = {}) const;

 private:
  struct Parsed;
  explicit ChatTemplate(std::shared_ptr<const Parsed> parsed);
  std::shared_ptr<const Parsed> parsed_;
};

}  // namespace moxie
