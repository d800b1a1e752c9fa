// From what a user says to token ids: plain text, or chat messages through the model's template.
#pragma once

#include <string>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace moxie {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

/// Renders the conversation, ready for the assistant's answer, and encodes it. Control tokens are read only where the
/// template wrote them: text of a message stays text.
std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                                 const std::vector<ChatMessage>& messages);

}  // namespace moxie
