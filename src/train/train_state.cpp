#include "train/train_state.h"

#include "base/error.h"

namespace moxie {
namespace {

const json::Value& member(const json::Value& root, const char* key, const std::string& source) {
  const json::Value* value = root.find(key);
  if (value == nullptr)
    throw invalid({.where = source, .expected = fmt::format("a member \"{}\"", key), .got = "none"});
  return *value;
}

Error wrong_type(const json::Value& value, const char* key, const char* expected, const std::string& source) {
  return invalid({.where = fmt::format("{}: {} at byte {}", source, key, value.offset()),
                  .expected = expected,
                  .got = std::string(json::type_name(value.type()))});
}

int64_t count(const json::Value& value, const char* key, const std::string& source) {
  constexpr int64_t kMost = int64_t{1} << 62;  // room to go on counting
  const std::optional<int64_t> number = value.as_int();
  if (!number || *number < 0 || *number > kMost) throw wrong_type(value, key, "an integer from 0 to 2^62", source);
  return *number;
}

double number(const json::Value& value, const char* key, const std::string& source) {
  if (!value.is_number()) throw wrong_type(value, key, "a number", source);
  return value.as_double();
}

const std::string& text_of(const json::Value& value, const char* key, const std::string& source) {
  if (!value.is_string()) throw wrong_type(value, key, "a string", source);
  return value.as_string();
}

const json::Array& items(const json::Value& root, const char* key, const std::string& source) {
  const json::Value& value = member(root, key, source);
  if (!value.is_array()) throw wrong_type(value, key, "an array", source);
  return value.items();
}

}  // namespace

json::Value to_json(const TrainState& state) {
  json::Value losses{json::Array{}}, collapsed{json::Array{}}, data{json::Array{}}, out;
  for (const double loss : state.recent_losses) losses.push(loss);
  for (const int64_t steps : state.collapsed_steps) collapsed.push(steps);
  for (const std::string& line : state.data) data.push(line);
  out.set("format_version", kTrainStateVersion).set("step", state.step).set("updates", state.updates);
  out.set("tokens", state.tokens).set("seconds", state.seconds).set("bad_steps", state.bad_steps);
  out.set("best_loss", state.best_loss).set("best_step", state.best_step);
  out.set("recent_losses", std::move(losses)).set("collapsed_steps", std::move(collapsed));
  return out.set("kernels", state.kernels).set("data", std::move(data)).set("config", state.config);
}

TrainState parse_train_state(std::string_view text, const std::string& source) {
  const json::Value root = json::parse(text, {.source = source});
  const int64_t version = count(member(root, "format_version", source), "format_version", source);
  if (version == 0 || version > kTrainStateVersion) {
    throw invalid({.where = source + ": format_version",
                   .expected = fmt::format("at most {}", kTrainStateVersion),
                   .got = std::to_string(version),
                   .hint = "A newer moxie wrote it."});
  }
  const auto whole = [&](const char* key) { return count(member(root, key, source), key, source); };
  const auto real = [&](const char* key) { return number(member(root, key, source), key, source); };
  TrainState state{.step = whole("step"),
                   .updates = whole("updates"),
                   .tokens = whole("tokens"),
                   .seconds = real("seconds"),
                   .bad_steps = whole("bad_steps"),
                   .best_loss = real("best_loss"),
                   .best_step = whole("best_step")};
  for (const json::Value& loss : items(root, "recent_losses", source)) {
    state.recent_losses.push_back(number(loss, "recent_losses", source));
  }
  for (const json::Value& steps : items(root, "collapsed_steps", source)) {
    state.collapsed_steps.push_back(count(steps, "collapsed_steps", source));
  }
  if (const json::Value* kernels = root.find("kernels"); kernels != nullptr) {
    state.kernels = text_of(*kernels, "kernels", source);
  }
  for (const json::Value& line : items(root, "data", source)) state.data.push_back(text_of(line, "data", source));
  state.config = text_of(member(root, "config", source), "config", source);
  return state;
}

}  // namespace moxie
