// Writes a configuration as TOML that reads back to the same. Values only: comments of the user's file are not kept.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "train/config_fields.h"

namespace moxie {
namespace {

// A JSON string is a TOML string but for DEL, which only TOML wants escaped.
std::string toml_string(std::string_view text) {
  std::string out;
  for (char c : json::quote(text)) {
    if (c == '\x7f') {
      out += "\\u007f";
    } else {
      out += c;
    }
  }
  return out;
}

// The shortest text that reads back to the same number; TOML tells a float by its point or exponent.
template <typename Number>
std::string floating(Number value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string key_text(std::string_view key) {
  const auto bare = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !key.empty() && std::all_of(key.begin(), key.end(), bare) ? std::string(key) : toml_string(key);
}

std::string value_text(const json::Value& value) {
  switch (value.type()) {
    case json::Type::null:
      return "\"null\"";
    case json::Type::string:
      return toml_string(value.as_string());
    case json::Type::number:
      return floating(value.as_double());
    case json::Type::array: {
      std::vector<std::string> items;
      for (const json::Value& item : value.items()) items.push_back(value_text(item));
      return fmt::format("[{}]", fmt::join(items, ", "));
    }
    case json::Type::object: {
      std::vector<std::string> members;
      for (const json::Member& member : value.members()) {
        members.push_back(fmt::format("{} = {}", key_text(member.key), value_text(member.value)));
      }
      return fmt::format("{{{}}}", fmt::join(members, ", "));
    }
    default:
      return value.dump();
  }
}

class TableWriter : public Fields {
 public:
  explicit TableWriter(std::string& out) : out_(out) {}

  void integer(std::string_view key, int64_t& value, IntegerRange) override { line(key, fmt::format("{}", value)); }
  void number(std::string_view key, double& value, NumberRange) override { line(key, floating(value)); }
  void number(std::string_view key, float& value, NumberRange) override { line(key, floating(value)); }
  void flag(std::string_view key, bool& value) override { line(key, value ? "true" : "false"); }
  void text(std::string_view key, std::string& value) override { line(key, toml_string(value)); }
  void path(std::string_view key, std::string& value, std::string_view) override { line(key, toml_string(value)); }
  void paths(std::string_view key, std::vector<std::string>& value) override {
    std::vector<std::string> items;
    for (const std::string& path : value) items.push_back(toml_string(path));
    line(key, fmt::format("[{}]", fmt::join(items, ", ")));
  }
  void choice(std::string_view key, size_t& index, std::span<const std::string_view> names) override {
    line(key, toml_string(names[index]));
  }

 private:
  void line(std::string_view key, const std::string& value) { out_ += fmt::format("{} = {}\n", key, value); }
  std::string& out_;
};

}  // namespace

std::string to_toml(const TrainConfig& config) {
  TrainConfig copy = config;  // the walk over keys takes variables
  std::string out = "[model]\n";
  TableWriter writer(out);
  for (const json::Member& member : copy.model.members()) {
    out += fmt::format("{} = {}\n", key_text(member.key), value_text(member.value));
  }
  out += "\n[data]\n";
  data_fields(writer, copy.data);
  for (DataDomain& domain : copy.data.domains) {
    out += "\n[[data.domains]]\n";
    domain_fields(writer, domain, true);
  }
  for (DataDomain& domain : copy.data.valid) {
    out += "\n[[data.valid]]\n";
    domain_fields(writer, domain, false);
  }
  out += "\n[train]\n";
  train_fields(writer, copy.train);
  out += "\n[router]\n";
  router_fields(writer, copy.router);
  out += "\n[balance]\n";
  balance_fields(writer, copy.aux, copy.bias);
  return out;
}

}  // namespace moxie
