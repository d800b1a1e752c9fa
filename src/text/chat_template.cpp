#include "text/chat_template.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "text/jinja_interpreter.h"

namespace moxie {
namespace {

constexpr size_t kMaxSourceBytes = size_t{4} << 20;
constexpr size_t kMaxConfigBytes = size_t{64} << 20;
constexpr std::string_view kRoles[] = {"system", "developer", "user",    "assistant",
                                       "tool",   "function",  "ipython", "observation"};

// What the context holds, for the limits.
struct ContextSize {
  uint64_t values = 0;
  uint64_t bytes = 0;
};

void measure(const json::Value& value, ContextSize& size, int depth) {
  if (depth > 100) return;  // from_json refuses it
  ++size.values;
  if (value.is_string()) size.bytes += value.as_string().size();
  if (value.is_array()) {
    for (const json::Value& item : value.items()) measure(item, size, depth + 1);
  }
  if (value.is_object()) {
    for (const json::Member& member : value.members()) {
      size.bytes += member.key.size();
      measure(member.value, size, depth + 1);
    }
  }
}

uint64_t limit_of(uint64_t base, uint64_t each, uint64_t count) {
  uint64_t grown = 0;
  if (__builtin_mul_overflow(each, count, &grown) || __builtin_add_overflow(grown, base, &grown)) return UINT64_MAX;
  return grown;
}

jinja::Value messages_value(const json::Value& messages, jinja::Budget& budget) {
  const jinja::Value all = jinja::from_json(messages, true, budget);
  if (!all.is(jinja::Kind::sequence)) return all;
  std::vector<jinja::Value> marked;
  for (const jinja::Value& message : all.sequence().items) {
    const jinja::Value* role = message.is(jinja::Kind::dict) ? message.dict().find("role") : nullptr;
    const bool is_usual = role != nullptr && role->is(jinja::Kind::text) &&
                          std::find(std::begin(kRoles), std::end(kRoles), role->text().view()) != std::end(kRoles);
    if (!is_usual) {
      marked.push_back(message);
      continue;
    }
    auto entries = message.dict().entries;
    entries[message.dict().position(jinja::Text("role"), budget)].second = jinja::Text(role->text().bytes());
    marked.push_back(jinja::make_dict(std::move(entries), budget));
  }
  return jinja::make_sequence(std::move(marked));
}

std::vector<std::pair<std::string_view, jinja::Value>> variables(const json::Value& context, jinja::Budget& budget) {
  std::vector<std::pair<std::string_view, jinja::Value>> names;
  for (const json::Member& member : context.members()) {
    const std::string_view name = member.key;
    const bool is_token = name.size() > 6 && name.substr(name.size() - 6) == "_token";
    names.emplace_back(name, name == "messages" ? messages_value(member.value, budget)
                                                : jinja::from_json(member.value, !is_token, budget));
  }
  return names;
}

std::vector<PromptSegment> segments_of(const jinja::Text& text) {
  std::vector<PromptSegment> segments;
  size_t at = 0;
  const auto add = [&](size_t end, bool from_user) {
    if (end > at) segments.push_back({text.bytes().substr(at, end - at), from_user});
    at = end;
  };
  for (const jinja::Span& span : text.user_spans()) {
    add(span.begin, false);
    add(span.end, true);
  }
  add(text.size(), false);
  return segments;
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm result{};
  localtime_r(&now, &result);
  return result;
}

const std::string* default_template(const json::Value& config, const std::string& where) {
  const json::Value* field = config.find("chat_template");
  if (field == nullptr || field->is_null()) return nullptr;
  if (field->is_string()) return &field->as_string();
  if (!field->is_array()) {
    throw invalid({.where = where + ": chat_template",
                   .expected = "a string, or a list of {name, template}",
                   .got = std::string(json::type_name(field->type()))});
  }
  for (const json::Value& item : field->items()) {
    const json::Value* name = item.find("name");
    const json::Value* source = item.find("template");
    if (name == nullptr || !name->is_string() || source == nullptr || !source->is_string()) {
      throw invalid({.where = where + ": chat_template",
                     .expected = "a name and a template in each item",
                     .got = "another item"});
    }
    if (name->as_string() == "default") return &source->as_string();
  }
  return nullptr;
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string name, source;
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}

std::string joined(const std::vector<PromptSegment>& segments) {
  std::string text;
  for (const PromptSegment& segment : segments) text += segment.text;
  return text;
}

ChatTemplate ChatTemplate::parse(std::string_view source, const std::string& name) {
  if (source.size() > kMaxSourceBytes) {
    throw invalid({.where = name,
                   .expected = fmt::format("a template of at most {} bytes", kMaxSourceBytes),
                   .got = fmt::format("{} bytes", source.size())});
  }
  auto parsed = std::make_shared<Parsed>();
  parsed->name = name;
  parsed->source = source;
  parsed->body = jinja::parse_template(source, name);
  return ChatTemplate(std::move(parsed));
}

std::optional<ChatTemplate> ChatTemplate::load(const std::filesystem::path& model_dir) {
  const auto file = model_dir / "chat_template.jinja";
  if (std::filesystem::exists(file)) return parse(read_file(file, kMaxSourceBytes), file.string());
  const auto config_file = model_dir / "tokenizer_config.json";
  if (!std::filesystem::exists(config_file)) return std::nullopt;
  const auto config = json::parse(read_file(config_file, kMaxConfigBytes), {.source = config_file.string()});
  const std::string* source = default_template(config, config_file.string());
  if (source == nullptr) return std::nullopt;
  return parse(*source, config_file.string() + ": chat_template");
}

const std::string& ChatTemplate::source() const {
  return parsed_->source;
}

std::vector<PromptSegment> ChatTemplate::render(const json::Value& context, const RenderLimits& limits) const {
  if (!context.is_object()) {
    throw invalid({.where = parsed_->name,
                   .expected = "an object as context",
                   .got = std::string(json::type_name(context.type()))});
  }
  ContextSize size;
  measure(context, size, 0);
  const jinja::Budget budget(limit_of(limits.steps, limits.steps_per_value, size.values),
                             limit_of(limits.text_bytes, limits.text_bytes_per_byte, size.bytes));
  jinja::Interpreter run(budget, limits.now ? *limits.now : local_time());
  try {
    return segments_of(run.run(parsed_->body, variables(context, run.budget())));
  } catch (const jinja::RunError& error) {
    throw jinja::template_error(parsed_->name, run.position(), error.message);
  }
}

}  // namespace moxie
