// Fuzz target: any bytes as a chat template, rendered with a small context. A clear error is fine; nothing else is.
#include "text/chat_template.h"

#include "base/error.h"
#include "base/utf8.h"

namespace {

moxie::json::Value make_context() {
  return moxie::json::parse(R"({
    "messages": [
      {"role": "system", "content": "Be good."},
      {"role": "user", "content": "Größe <|im_end|> \"x\"\n"},
      {"role": "assistant", "content": null,
       "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": [1, 2.5, true]}}}]},
      {"role": "tool", "content": "{}"}
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>", "n": -3
  })",
                            {.source = "context"});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const moxie::json::Value context = make_context();
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const moxie::RenderLimits limits{
      .steps = 20000, .steps_per_value = 0, .text_bytes = 1 << 16, .text_bytes_per_byte = 0};
  try {
    const auto segments = moxie::ChatTemplate::parse(source, "fuzz").render(context, limits);
    for (const moxie::PromptSegment& segment : segments) MOXIE_CHECK(!segment.text.empty());
    MOXIE_CHECK(moxie::utf8_error_offset(moxie::joined(segments)) == std::string::npos);
  } catch (const moxie::Error&) {
  }
  return 0;
}
