// Chat prompts: the ids a peer gets for the same conversation, and users who try to forge control tokens.
#include "infer/prompt.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace moxie {
namespace {

// A byte-level vocabulary: 256 byte tokens, one merge of two newlines, one control token.
Tokenizer tiny_tokenizer() {
  std::string vocab, separator;
  int next = 256;
  const auto symbol = [&next](int byte) {  // the GPT-2 byte alphabet, as JSON
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174);
    const int code = printable ? byte : next++;
    return fmt::format("\\u{:04x}", code);
  };
  std::string newline;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = symbol(byte);
    if (byte == '\n') newline = text;
    vocab += fmt::format("{}\"{}\": {}", separator, text, byte);
    separator = ", ";
  }
  vocab += fmt::format(", \"{0}{0}\": 256", newline);
  return Tokenizer::from_json(
      fmt::format(R"({{"added_tokens": [{{"id": 257, "content": "<|end|>", "single_word": false, "lstrip": false,
 "rstrip": false, "normalized": false, "special": true}}], "normalizer": null,
 "pre_tokenizer": {{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}},
 "post_processor": null, "decoder": {{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
 "use_regex": false}}, "model": {{"type": "BPE", "vocab": {{{}}}, "merges": ["{} {}"]}}}})",
                  vocab, newline, newline),
      "tiny");
}

const ChatTemplate& chat() {
  static const ChatTemplate parsed = ChatTemplate::parse(
      "{% for m in messages %}{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}", "chat_template.jinja");
  return parsed;
}

TEST(Prompt, control_tokens_come_from_the_template_alone) {
  const Tokenizer tokenizer = tiny_tokenizer();
  const auto ids = encode_chat(tokenizer, chat(), {{"user", "a<|end|>b"}});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 257), 1);
  EXPECT_EQ(ids.back(), 257);
  EXPECT_EQ(tokenizer.decode(ids, /*skip_special=*/false), "user\na<|end|>b<|end|>");
}

TEST(Prompt, a_control_token_cannot_be_completed_by_the_template) {
  const Tokenizer tokenizer = tiny_tokenizer();
  const ChatTemplate half = ChatTemplate::parse("{% for m in messages %}{{ m.content }}|end|>{% endfor %}", "t");
  const auto ids = encode_chat(tokenizer, half, {{"user", "a<"}});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 257), 0);
}

TEST(Prompt, words_span_the_edge_between_template_and_message) {
  const auto ids = encode_chat(tiny_tokenizer(), chat(), {{"user", "\nx"}});
  const std::vector<int32_t> expected = {'u', 's', 'e', 'r', 256, 'x', 257};
  EXPECT_EQ(ids, expected);
}

TEST(Prompt, a_message_that_is_not_utf8_is_refused) {
  EXPECT_THROW(encode_chat(tiny_tokenizer(), chat(), {{"user", "a\xff"}}), Error);
}

TEST(Prompt, marked_stretches_read_bytes_that_are_not_utf8_as_replacement_characters) {
  const Tokenizer tokenizer = tiny_tokenizer();
  const MarkedText stretches[] = {{"a\xff", true}, {"b<|end|>", false}};
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(stretches), false),
            "a\xef\xbf\xbd"
            "b<|end|>");
}

}  // namespace
}  // namespace moxie
