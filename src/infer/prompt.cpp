#include "infer/prompt.h"

namespace moxie {

std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                                 const std::vector<ChatMessage>& messages) {
  json::Value list{json::Array{}};
  for (const ChatMessage& message : messages) {
    json::Value entry;
    entry.set("role", message.role).set("content", message.content);
    list.push(std::move(entry));
  }
  json::Value context;
  context.set("messages", std::move(list)).set("add_generation_prompt", true);
  context.set("bos_token", tokenizer.bos() ? tokenizer.token_bytes(*tokenizer.bos()) : "");
  context.set("eos_token", tokenizer.eos() ? tokenizer.token_bytes(*tokenizer.eos()) : "");

  const std::vector<PromptSegment> segments = chat_template.render(context);
  std::vector<MarkedText> stretches;
  for (const PromptSegment& segment : segments) stretches.push_back({segment.text, segment.from_user});
  return tokenizer.encode(stretches);
}

}  // namespace moxie
