#include "infer/peer.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/json.h"

namespace moxie {
namespace {

Error no_report(const std::string& source, std::string got) {
  return invalid({.where = source,
                  .expected = "the output of llama-bench -o json, or the table of llama-batched-bench",
                  .got = std::move(got)});
}

const json::Value& field(const json::Value& test, const char* key, const std::string& source) {
  const json::Value* value = test.find(key);
  if (value != nullptr && value->is_number()) return *value;
  throw invalid({.where = fmt::format("{}: test at byte {}", source, test.offset()),
                 .expected = fmt::format("a number \"{}\"", key),
                 .got = value == nullptr ? "no such key" : std::string(json::type_name(value->type()))});
}

int64_t count(const json::Value& test, const char* key, const std::string& source) {
  const json::Value& value = field(test, key, source);
  const std::optional<int64_t> number = value.as_int();
  if (number && *number >= 0 && *number <= INT32_MAX) return *number;
  throw invalid({.where = fmt::format("{}: {} at byte {}", source, key, value.offset()),
                 .expected = "a count",
                 .got = printable(value.dump())});
}

std::string text_of(const json::Value& test, const char* key) {
  const json::Value* value = test.find(key);
  if (value == nullptr) return "";
  return value->is_string() ? printable(value->as_string()) : value->dump();
}

double rate(double value, const std::string& source) {
  if (std::isfinite(value) && value > 0) return value;
  throw invalid({.where = source, .expected = "tokens a second above 0", .got = fmt::format("{}", value)});
}

/// Without lines that begin with a letter: warnings that libraries print between those of the JSON, which has none.
std::string without_warnings(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    const std::string_view line = text.substr(0, end);
    const size_t first = line.find_first_not_of(" \t\r\n");
    if (first != std::string_view::npos && std::isalpha(static_cast<unsigned char>(line[first])) == 0) out += line;
    text.remove_prefix(end);
  }
  return out;
}

PeerReport parse_json(std::string_view text, const std::string& source) {
  const json::Value root = json::parse(text, {.source = source});
  if (!root.is_array()) throw no_report(source, "JSON that is no list of tests");
  PeerReport report;
  for (const json::Value& test : root.items()) {
    report.tests.push_back({.prompt = count(test, "n_prompt", source),
                            .generate = count(test, "n_gen", source),
                            .batch = 1,
                            .threads = static_cast<int>(count(test, "n_threads", source)),
                            .tokens_per_second = rate(field(test, "avg_ts", source).as_double(), source)});
    if (report.version.empty()) {
      report.version = fmt::format("llama-bench, build {} ({}), {}", text_of(test, "build_commit"),
                                   text_of(test, "build_number"), text_of(test, "model_type"));
    }
  }
  return report;
}

/// The cells of "|  512 |  128 | ... |"; empty if the line is no such row or a cell is no number.
std::vector<double> row_of_numbers(const std::string& line) {
  std::vector<double> numbers;
  std::istringstream cells(line);
  std::string cell;
  if (!line.starts_with('|')) return {};
  std::getline(cells, cell, '|');
  while (std::getline(cells, cell, '|')) {
    const size_t first = cell.find_first_not_of(' '), last = cell.find_last_not_of(' ');
    if (first == std::string::npos) continue;
    double number = 0;
    const auto [end, error] = std::from_chars(cell.data() + first, cell.data() + last + 1, number);
    if (error != std::errc() || end != cell.data() + last + 1) return {};
    numbers.push_back(number);
  }
  return numbers;
}

int64_t count(double number, const std::string& source) {
  if (number >= 0 && number <= INT32_MAX && number == std::floor(number)) return static_cast<int64_t>(number);
  throw invalid({.where = source, .expected = "a count", .got = fmt::format("{}", number)});
}

/// "main: n_kv_max = 2048, ..., n_threads = 2, ...": -1 without such a line.
int threads_of_table(std::string_view text) {
  constexpr std::string_view kMark = "n_threads = ";
  const size_t at = text.find(kMark);
  int threads = -1;
  if (at != std::string_view::npos) {
    std::from_chars(text.data() + at + kMark.size(), text.data() + text.size(), threads);
  }
  return threads;
}

bool has_table(std::string_view text) {
  return text.find("S_TG t/s") != std::string_view::npos;
}

// | PP | TG | B | N_KV | T_PP s | S_PP t/s | T_TG s | S_TG t/s | T s | S t/s |
PeerReport parse_table(std::string_view text, const std::string& source) {
  constexpr size_t kColumns = 10;
  PeerReport report{.version = "llama-batched-bench", .tests = {}};
  const int threads = threads_of_table(text);
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    const std::vector<double> row = row_of_numbers(line);
    if (row.size() != kColumns) continue;
    report.tests.push_back({.prompt = count(row[0], source),
                            .generate = count(row[1], source),
                            .batch = count(row[2], source),
                            .threads = threads,
                            .tokens_per_second = rate(row[1] > 0 ? row[7] : row[5], source)});
  }
  return report;
}

}  // namespace

std::string_view peer_report(std::string_view out, std::string_view err) {
  return !has_table(out) && has_table(err) ? err : out;
}

PeerReport parse_peer(std::string_view text, const std::string& source) {
  const bool is_table = has_table(text);
  const std::string json = is_table ? "" : without_warnings(text);
  if (!is_table && !json.starts_with('[')) {
    throw no_report(source, text.empty() ? "nothing" : fmt::format("\"{}\"", printable(text)));
  }
  const PeerReport report = is_table ? parse_table(text, source) : parse_json(json, source);
  if (report.tests.empty()) throw no_report(source, "no test");
  return report;
}

std::string readable_peer_command(const std::string& command) {
  std::istringstream words(command);
  for (std::string word; words >> word;) {
    if (word == "-o" || word.starts_with("--output") || word.find("batched-bench") != std::string::npos) return command;
  }
  return command + " -o json";
}

}  // namespace moxie
