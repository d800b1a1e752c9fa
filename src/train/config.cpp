// Reads a configuration: TOML and overrides into the tables, each fault with its line. What the keys are stands in
// config_fields.cpp, which values go together in config_checks.cpp.
#include "train/config.h"

#include <stdexcept>

// The parser checks malformed input by assertions, too (a line "[" alone): they have to throw, not end the process.
[[noreturn]] static void toml_check_failed() {
  throw std::logic_error("TOML++ lost its way");
}
#define TOML_ASSERT(condition) ((condition) ? static_cast<void>(0) : toml_check_failed())
#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_FORMATTERS 0
#pragma push_macro("NDEBUG")
#undef NDEBUG  // it would take the check away
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "spec/config.h"
#include "train/config_fields.h"
#include "train/config_words.h"
#include "train/model_defaults.h"
#include "train/toml_ascii.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;
constexpr size_t kMaxConfigBytes = size_t{4} << 20;
constexpr std::string_view kTables[] = {"model", "data", "train", "router", "balance"};

std::string shown(const toml::node& node) {
  if (const auto* text = node.as_string()) return "\"" + printable(text->get()) + "\"";
  if (const auto* integer = node.as_integer()) return fmt::format("{}", integer->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  return node.is_table() ? "a table" : node.is_array() ? "an array" : "a date or time";
}

// The file with its overrides, and where each key came from.
class Source {
 public:
  Source(std::string_view text, const fs::path& file, std::span<const std::string> overrides) : name_(file.string()) {
    if (const size_t at = toml_stray_offset(text); at != std::string_view::npos) {
      throw invalid({.where = fmt::format("{}:{}", name_, 1 + std::count(text.begin(), text.begin() + at, '\n')),
                     .expected = "TOML: ASCII outside strings and comments",
                     .got = printable(text.substr(at), 40)});
    }
    try {
      root_ = toml::parse(text);
    } catch (const toml::parse_error& error) {
      throw invalid({.where = fmt::format("{}:{}", name_, error.source().begin.line),
                     .expected = "TOML",
                     .got = printable(error.description(), 200)});
    } catch (const std::logic_error&) {
      throw invalid({.where = name_, .expected = "TOML", .got = "a [table] or a key whose name is missing"});
    }
    std::error_code failed;
    file_folder_ = fs::absolute(file, failed).parent_path();
    for (const std::string& one : overrides) apply(one);
  }

  const toml::table& root() const { return root_; }

  /// The text of an override as it was typed, or nullptr.
  const std::string* typed(const std::string& path) const {
    const auto found = overrides_.find(path);
    return found == overrides_.end() ? nullptr : &found->second;
  }

  [[noreturn]] void fail(const std::string& path, const toml::node* node, std::string expected, std::string got = "",
                         std::string hint = "") const {
    std::string where = fmt::format("{}: {}", name_, path);
    if (node != nullptr && node->source().begin) {
      where = fmt::format("{}:{}: {}", name_, node->source().begin.line, path);
    }
    if (const std::string* text = typed(path)) where = fmt::format("--{}={}", path, printable(*text));
    if (got.empty()) got = node == nullptr ? "no such key" : shown(*node);
    throw invalid({std::move(where), std::move(expected), std::move(got), std::move(hint)});
  }

  /// The same for a path alone ("train.steps"); it need not exist.
  [[noreturn]] void fail_at(const std::string& path, std::string expected, std::string got, std::string hint) const {
    fail(path, root_.at_path(path).node(), std::move(expected), std::move(got), std::move(hint));
  }

  /// A path in the file is relative to the file, one that was typed to where the user stands.
  std::string resolve(const std::string& path, const std::string& key_path) const {
    if (path.empty()) return path;
    std::error_code failed;
    const fs::path folder = typed(key_path) != nullptr ? fs::current_path(failed) : file_folder_;
    return (folder / path).lexically_normal().string();
  }

 private:
  void apply(const std::string& text) {
    const size_t equals = text.find('=');
    const std::string path = text.substr(0, equals);
    const size_t dot = path.find('.');
    if (equals == std::string::npos || dot == std::string::npos || path.front() == '.' || path.back() == '.' ||
        path.find("..") != std::string::npos) {
      throw make_error(ErrorCode::usage, "--{}: expected --TABLE.KEY=VALUE, as in --train.steps=2000", printable(text));
    }
    const std::string value = text.substr(equals + 1);
    toml::table* table = &root_;
    size_t begin = 0;
    for (size_t end = dot; end != std::string::npos; begin = end + 1, end = path.find('.', begin)) {
      const std::string key = path.substr(begin, end - begin);
      if (!table->contains(key)) table->insert(key, toml::table{});
      table = table->get(key)->as_table();
      if (table == nullptr) {
        throw make_error(ErrorCode::usage, "--{}: {} is not a table. Change it in the file", printable(text),
                         printable(path.substr(0, end)));
      }
    }
    const std::string key = path.substr(begin);
    if (const toml::node* old = table->get(key); old != nullptr && (old->is_table() || old->is_array_of_tables())) {
      throw make_error(ErrorCode::usage, "--{}: {} is a table. Change it in the file", printable(text), path);
    }
    insert_value(*table, key, value);
    overrides_[path] = value;
  }

  // As TOML if it is one value, else a bare word.
  static void insert_value(toml::table& table, const std::string& key, const std::string& value) {
    try {
      const std::string line = "v = " + value;
      toml::table one;
      if (line.find('\n') == std::string::npos && toml_stray_offset(line) == std::string::npos) one = toml::parse(line);
      if (one.size() == 1) {
        one.get("v")->visit([&](auto& node) { table.insert_or_assign(key, std::move(node)); });
        return;
      }
    } catch (const toml::parse_error&) {
    } catch (const std::logic_error&) {
    }
    table.insert_or_assign(key, value);
  }

  std::string name_;
  fs::path file_folder_;
  toml::table root_;
  std::map<std::string, std::string> overrides_;
};

// Reads one table by its list of keys; finish() refuses the keys that were not asked for.
class TableReader : public Fields {
 public:
  TableReader(const Source& source, std::string prefix, const toml::table* table)
      : source_(source), prefix_(std::move(prefix)), table_(table) {}

  void integer(std::string_view key, int64_t& value, IntegerRange range) override {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const auto* integer = node->as_integer();
    if (integer == nullptr || integer->get() < range.low || integer->get() > range.high) {
      fail(key, fmt::format("an integer from {} to {}", range.low, range.high));
    }
    value = integer->get();
  }

  void number(std::string_view key, double& value, NumberRange range) override {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const std::optional<double> number = node->value<double>();
    const bool is_number = node->is_number() && number.has_value();
    if (!is_number || !(range.from_low ? *number >= range.low : *number > range.low) || !(*number <= range.high)) {
      fail(key, fmt::format("a number {} {} to {}", range.from_low ? "from" : "above", range.low, range.high));
    }
    value = *number;
  }

  void number(std::string_view key, float& value, NumberRange range) override {
    double wide = value;
    number(key, wide, range);
    value = static_cast<float>(wide);
  }

  void flag(std::string_view key, bool& value) override {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (!node->is_boolean()) fail(key, "true or false");
    value = node->as_boolean()->get();
  }

  void text(std::string_view key, std::string& value) override {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    // `--train.out=7` means the name 7.
    const std::string* typed = source_.typed(path_of(key));
    if (!node->is_string() && (typed == nullptr || node->is_table())) fail(key, "a string");
    value = node->is_string() ? node->as_string()->get() : *typed;
  }

  void path(std::string_view key, std::string& value, std::string_view keyword) override {
    if (find(key) == nullptr) return;
    text(key, value);
    if (keyword.empty() || value != keyword) value = source_.resolve(value, path_of(key));
  }

  void paths(std::string_view key, std::vector<std::string>& value) override {
    const toml::node* node = find(key);
    if (node == nullptr || (!node->is_string() && !node->is_array())) fail(key, "a path, or an array of paths");
    value.clear();
    const auto add = [&](const toml::node& item) {
      if (!item.is_string() || item.as_string()->get().empty()) fail(key, "a path, or an array of paths", shown(item));
      value.push_back(source_.resolve(item.as_string()->get(), path_of(key)));
    };
    if (node->is_string()) return add(*node);
    for (const toml::node& item : *node->as_array()) add(item);
    if (value.empty()) fail(key, "at least one path", "none");
  }

  void choice(std::string_view key, size_t& index, std::span<const std::string_view> names) override {
    if (find(key) == nullptr) return;
    std::string name;
    text(key, name);
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end())
      fail(key, fmt::format("one of {}", fmt::join(names, ", ")), "", nearest_hint(name, names));
    index = static_cast<size_t>(found - names.begin());
  }

  /// A key that is read elsewhere.
  const toml::node* find(std::string_view key) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
    return table_ == nullptr ? nullptr : table_->get(key);
  }

  void finish() const {
    if (table_ == nullptr) return;
    for (const auto& [key, node] : *table_) {
      if (std::find(known_.begin(), known_.end(), key.str()) != known_.end()) continue;
      source_.fail(path_of(key.str()), &node, fmt::format("one of {}", fmt::join(known_, ", ")), "an unknown key",
                   nearest_hint(key.str(), known_));
    }
  }

  [[noreturn]] void fail(std::string_view key, std::string expected, std::string got = "", std::string hint = "") {
    source_.fail(path_of(key), find(key), std::move(expected), std::move(got), std::move(hint));
  }

 private:
  std::string path_of(std::string_view key) const { return fmt::format("{}.{}", prefix_, key); }

  const Source& source_;
  std::string prefix_;
  const toml::table* table_;
  std::vector<std::string_view> known_;
};

const toml::table* find_table(const Source& source, const std::string& name) {
  const toml::node* node = source.root().get(name);
  if (node != nullptr && !node->is_table()) source.fail(name, node, "a table");
  return node == nullptr ? nullptr : node->as_table();
}

std::vector<DataDomain> read_domains(const Source& source, const toml::node* node, const std::string& path,
                                     bool weighted) {
  std::vector<DataDomain> domains;
  if (node == nullptr) return domains;
  if (!node->is_array_of_tables()) source.fail(path, node, fmt::format("tables, as in [[{}]]", path));
  for (const toml::node& item : *node->as_array()) {
    TableReader fields(source, path, item.as_table());
    DataDomain domain;
    domain_fields(fields, domain, weighted);
    fields.finish();
    if (domain.name.empty()) domain.name = fs::path(domain.paths.front()).stem().string();
    domains.push_back(std::move(domain));
  }
  return domains;
}

json::Value to_json(const Source& source, const std::string& path, const toml::node& node) {
  if (const auto* text = node.as_string()) {
    return text->get() == "null" ? json::Value() : json::Value(text->get());  // TOML has no null
  }
  if (const auto* integer = node.as_integer()) return integer->get();
  if (const auto* flag = node.as_boolean()) return flag->get();
  if (const auto* number = node.as_floating_point(); number != nullptr && std::isfinite(number->get())) {
    return number->get();
  }
  if (const toml::array* array = node.as_array()) {
    json::Array items;
    for (const toml::node& item : *array) items.push_back(to_json(source, path, item));
    return items;
  }
  if (!node.is_table()) source.fail(path, &node, "a value that JSON has");
  json::Value object = json::Object();
  for (const auto& [key, value] : *node.as_table()) {
    object.set(std::string(key.str()), to_json(source, fmt::format("{}.{}", path, key.str()), value));
  }
  return object;
}

// The family's reader names the key and its offset in a JSON text that the user never sees: the line takes its place.
ModelSpec parse_model(const Source& source, const json::Value& model) {
  const std::string marker = "[model]";
  try {
    return parse_config(model.dump(), marker);
  } catch (const Error& error) {
    const std::string& text = error.text();
    const size_t begin = marker.size() + 2;
    const size_t end = text.find(": ", begin);
    if (!text.starts_with(marker + ": ") || end == std::string::npos) {
      source.fail("model", source.root().get("model"), "the config.json of a model, as TOML", text);
    }
    std::string key = text.substr(begin, end - begin);
    key = key.substr(0, key.find(" at byte "));
    std::string expected = text.substr(end + 2);
    if (expected.starts_with("expected ")) expected.erase(0, 9);
    const size_t got = expected.find(", got ");
    source.fail_at("model." + key, expected.substr(0, got), got == std::string::npos ? "" : expected.substr(got + 6),
                   "");
  }
}

}  // namespace

TrainConfig load_train_config(const std::filesystem::path& file, std::span<const std::string> overrides) {
  return parse_train_config(read_file(file, kMaxConfigBytes), file, overrides);
}

TrainConfig parse_train_config(std::string_view text, const std::filesystem::path& file,
                               std::span<const std::string> overrides) {
  const Source source(text, file, overrides);
  for (const auto& [key, node] : source.root()) {
    if (std::find(std::begin(kTables), std::end(kTables), key.str()) != std::end(kTables)) continue;
    source.fail(std::string(key.str()), &node, fmt::format("one of the tables {}", fmt::join(kTables, ", ")),
                "an unknown key", nearest_hint(key.str(), kTables));
  }
  const auto read = [&](const std::string& table, auto fields_of) {
    TableReader fields(source, table, find_table(source, table));
    fields_of(fields);
    fields.finish();
  };
  TrainConfig config;
  read("train", [&](TableReader& fields) { train_fields(fields, config.train); });
  read("router", [&](TableReader& fields) { router_fields(fields, config.router); });
  read("balance", [&](TableReader& fields) { balance_fields(fields, config.aux, config.bias); });
  read("data", [&](TableReader& fields) {
    data_fields(fields, config.data);
    config.data.domains = read_domains(source, fields.find("domains"), "data.domains", true);
    config.data.valid = read_domains(source, fields.find("valid"), "data.valid", false);
  });
  const toml::table* model = find_table(source, "model");
  if (model == nullptr) source.fail("model", nullptr, "a table [model]: the config.json of a model, as TOML");
  config.model = to_json(source, "model", *model);
  add_model_defaults(config);
  config.spec = parse_model(source, config.model);
  if (ConfigProblem problem = find_problem(config); !problem.key.empty()) {
    source.fail_at(problem.key, problem.expected, problem.got, problem.hint);
  }
  return config;
}

}  // namespace moxie
