#include "report/run_log.h"

#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace moxie {
namespace {

constexpr int64_t kMaxExperts = 4096, kMaxLoads = int64_t{1} << 18;  // of a layer, of all layers together
constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

/// One line: its members by name and type, faults named by their place in the file.
class Line {
 public:
  Line(const json::Value& object, std::string where) : object_(object), where_(std::move(where)) {}

  Line of(const json::Value& object) const { return {object, where_}; }

  Error fault(const json::Value& value, std::string_view key, std::string_view expected) const {
    return invalid({.where = fmt::format("{}, byte {}: {}", where_, value.offset(), key),
                    .expected = std::string(expected),
                    .got = value.is_string() || value.is_number() ? printable(value.dump())
                                                                  : std::string(json::type_name(value.type()))});
  }

  double number(std::string_view key) const {
    const json::Value* value = object_.find(key);
    if (value == nullptr || value->is_null()) return kMissing;
    if (!value->is_number()) throw fault(*value, key, "a number");
    return value->as_double();
  }

  int64_t count(std::string_view key) const {
    const json::Value* value = object_.find(key);
    if (value == nullptr || value->is_null()) return 0;
    const std::optional<int64_t> got = value->as_int();
    if (!got || *got < 0) throw fault(*value, key, "a count");
    return *got;
  }

  std::string word(std::string_view key) const {
    const json::Value* value = object_.find(key);
    if (value == nullptr || value->is_null()) return {};
    if (!value->is_string()) throw fault(*value, key, "a string");
    return value->as_string();
  }

  const json::Array& list(std::string_view key) const {
    static const json::Array kNone;
    const json::Value* value = object_.find(key);
    if (value == nullptr || value->is_null()) return kNone;
    if (!value->is_array()) throw fault(*value, key, "an array");
    return value->items();
  }

  /// The members of an object as words, objects inside it by "outer.inner".
  std::vector<std::pair<std::string, std::string>> words(std::string_view key) const {
    std::vector<std::pair<std::string, std::string>> out;
    if (const json::Value* value = object_.find(key); value != nullptr) flatten(*value, "", out);
    return out;
  }

 private:
  static void flatten(const json::Value& value, const std::string& path,
                      std::vector<std::pair<std::string, std::string>>& out) {
    if (!value.is_object()) {
      if (!path.empty()) out.emplace_back(path, value.is_string() ? value.as_string() : value.dump());
      return;
    }
    for (const json::Member& member : value.members()) {
      flatten(member.value, path.empty() ? member.key : path + "." + member.key, out);
    }
  }

  const json::Value& object_;
  std::string where_;
};

/// Puts the lines of one file into a RunLog.
class Reader {
 public:
  explicit Reader(RunLog& log) : log_(log) {}

  void read(const json::Value& object, const std::string& where) {
    const Line line(object, where);
    const std::string type = line.word("type");
    if (type == "run") read_facts(line);
    if (type == "step") read_step(line);
    if (type == "routing") read_routing(line);
    if (type == "eval") read_eval(line);
    if (type == "event") log_.events.push_back({line.count("step"), line.word("kind"), line.word("text")});
  }

 private:
  void read_facts(const Line& line) {
    ++log_.times_started;
    RunFacts& to = log_.facts;
    to = {line.word("name"),  line.word("family"),  line.word("started"),
          line.word("moxie"), line.word("kernels"), line.word("precision")};
    to.threads = line.count("threads");
    to.parameters_total = line.count("parameters_total");
    to.parameters_active = line.count("parameters_active");
    to.flops_per_token = line.number("flops_per_token");
    to.num_layers = line.count("num_layers");
    to.num_experts = line.count("num_experts");
    to.top_k = line.count("top_k");
    to.seq_len = line.count("seq_len");
    to.tokens_per_step = line.count("tokens_per_step");
    to.steps = line.count("steps");
    for (const json::Value& layer : line.list("moe_layers")) {
      if (!layer.as_int()) throw line.fault(layer, "moe_layers", "layer numbers");
      to.moe_layers.push_back(*layer.as_int());
    }
    to.balance = line.words("balance");
    to.router = line.words("router");
  }

  /// What an interrupted run had said of this step and later ones is said again.
  template <typename Lines>
  static void forget_from(Lines& lines, int64_t step) {
    while (!lines.empty() && lines.back().step >= step) lines.pop_back();
  }

  void read_step(const Line& line) {
    StepLine to;
    to.step = line.count("step");
    forget_from(log_.steps, to.step);
    to.tokens = line.number("tokens");
    to.flops = line.number("flops");
    to.seconds = line.number("seconds");
    to.loss = line.number("loss");
    to.aux = line.number("aux");
    to.z = line.number("z");
    to.grad_norm = line.number("grad_norm");
    to.lr = line.number("lr");
    to.tokens_per_second = line.number("tokens_per_second");
    to.mfu = line.number("mfu");
    to.max_vio = line.number("max_vio");
    to.max_over_mean = line.number("max_over_mean");
    to.entropy = line.number("entropy");
    to.dead_experts = line.number("dead_experts");
    to.dropped = line.number("dropped");
    to.rerouted = line.number("rerouted");
    log_.steps.push_back(to);
  }

  /// The layers of the first routing line are those of all.
  void learn_layers(const Line& line, const json::Array& layers) {
    int64_t begin = 0;
    for (const json::Value& value : layers) {
      const Line layer = line.of(value);
      const auto experts = static_cast<int64_t>(layer.list("load").size());
      if (experts > kMaxExperts || experts > kMaxLoads - begin) {
        throw line.fault(value, "load", fmt::format("at most {} experts, {} in all layers", kMaxExperts, kMaxLoads));
      }
      log_.load.layers.push_back({layer.count("layer"), experts, begin});
      begin += experts;
    }
  }

  void read_routing(const Line& line) {
    LoadHistory& history = log_.load;
    const json::Array& layers = line.list("layers");
    if (layers.empty()) return;
    if (history.layers.empty()) learn_layers(line, layers);
    if (layers.size() != history.layers.size()) {
      throw line.fault(layers[0], "layers", fmt::format("{} layers as before", history.layers.size()));
    }
    LoadColumn column{.first_step = line.count("step"), .lines = 1};
    column.last_step = column.first_step;
    for (size_t l = 0; l < layers.size(); ++l) {
      const Line layer = line.of(layers[l]);
      const json::Array& load = layer.list("load");
      const LoadHistory::Layer& known = history.layers[l];
      if (layer.count("layer") != known.layer || static_cast<int64_t>(load.size()) != known.num_experts) {
        throw line.fault(layers[l], "layers",
                         fmt::format("layer {} with {} experts as before", known.layer, known.num_experts));
      }
      for (const json::Value& share : load) {
        if (!share.is_number() || !(share.as_double() >= 0 && share.as_double() <= 1)) {
          throw line.fault(share, "load", "shares from 0 to 1");
        }
        column.load.push_back(static_cast<float>(share.as_double()));
      }
    }
    append(std::move(column));
  }

  void append(LoadColumn column) {
    std::vector<LoadColumn>& columns = log_.load.columns;
    while (!columns.empty() && columns.back().first_step >= column.first_step) columns.pop_back();
    // The last column takes lines until it stands for as many as the others.
    if (!columns.empty() && columns.back().lines < lines_per_column_) {
      merge(columns.back(), column);
    } else {
      columns.push_back(std::move(column));
    }
    if (columns.size() < LoadHistory::kMaxColumns) return;
    for (size_t i = 0; i < columns.size() / 2; ++i) {
      merge(columns[2 * i], columns[2 * i + 1]);
      if (i > 0) columns[i] = std::move(columns[2 * i]);
    }
    columns.resize(columns.size() / 2);
    lines_per_column_ *= 2;
  }

  static void merge(LoadColumn& into, const LoadColumn& next) {
    const float part = static_cast<float>(next.lines) / static_cast<float>(into.lines + next.lines);
    for (size_t i = 0; i < into.load.size(); ++i) into.load[i] += part * (next.load[i] - into.load[i]);
    into.lines += next.lines;
    into.last_step = next.last_step;
  }

  void read_eval(const Line& line) {
    EvalLine to;
    to.step = line.count("step");
    forget_from(log_.evals, to.step);
    to.tokens = line.number("tokens");
    to.flops = line.number("flops");
    to.seconds = line.number("seconds");
    to.loss = line.number("loss");
    to.nats_per_byte = line.number("nats_per_byte");
    to.max_vio_global = line.number("max_vio_global");
    for (const json::Value& value : line.list("domains")) {
      const Line domain = line.of(value);
      to.domains.push_back(
          {domain.word("name"), domain.number("loss"), domain.number("nats_per_byte"), domain.number("tokens")});
    }
    for (const json::Value& value : line.list("layers")) {
      const Line layer = line.of(value);
      to.layers.push_back({layer.count("layer"), layer.number("max_vio"), layer.number("entropy"), layer.number("dead"),
                           layer.number("saturation")});
    }
    log_.evals.push_back(std::move(to));
    read_matrices(line, "specialisation", log_.specialisation);
    read_matrices(line, "co_activation", log_.co_activation);
    if (const json::Array& list = line.list("vocabulary"); !list.empty()) {
      log_.vocabulary.clear();
      for (const json::Value& value : list) log_.vocabulary.push_back(value_of(line, value, "vocabulary"));
    }
  }

  static double value_of(const Line& line, const json::Value& value, std::string_view key) {
    if (value.is_null()) return kMissing;
    if (!value.is_number()) throw line.fault(value, key, "a number");
    return value.as_double();
  }

  static void read_matrices(const Line& line, std::string_view key, std::vector<Matrix>& to) {
    const json::Array& list = line.list(key);
    if (list.empty()) return;
    to.clear();
    for (const json::Value& layer : list) {
      if (!layer.is_array()) throw line.fault(layer, key, "an array of rows");
      Matrix matrix{.rows = static_cast<int64_t>(layer.items().size())};
      for (const json::Value& row : layer.items()) {
        if (!row.is_array()) throw line.fault(row, key, "a row of numbers");
        if (matrix.values.empty()) matrix.columns = static_cast<int64_t>(row.items().size());
        if (static_cast<int64_t>(row.items().size()) != matrix.columns || matrix.columns == 0) {
          throw line.fault(row, key, fmt::format("{} numbers", matrix.columns));
        }
        for (const json::Value& value : row.items()) {
          matrix.values.push_back(static_cast<float>(value_of(line, value, key)));
        }
      }
      to.push_back(std::move(matrix));
    }
  }

  RunLog& log_;
  int64_t lines_per_column_ = 1;
};

}  // namespace

RunLog parse_run_log(std::string_view text, const std::string& source) {
  RunLog log;
  log.source = source;
  Reader reader(log);
  size_t number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t newline = text.find('\n', begin);
    const bool whole = newline != std::string_view::npos;
    const std::string_view line = text.substr(begin, whole ? newline - begin : std::string_view::npos);
    const std::string where = fmt::format("{}: line {}", source, number);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      std::optional<json::Value> object;
      try {
        object = json::parse(line, {.source = where, .base_offset = begin});
      } catch (const Error&) {
        if (whole) throw;
        log.notice = fmt::format("{}: its last line (line {}) is cut short and left out", source, number);
      }
      if (object && !object->is_object()) {
        throw invalid({.where = fmt::format("{}, byte {}", where, begin), .expected = "an object", .got = "an array"});
      }
      if (object) reader.read(*object, where);
    }
    begin = whole ? newline + 1 : text.size();
  }
  if (log.times_started == 0) {
    throw invalid({.where = source, .expected = "a line of type \"run\"", .got = "none", .hint = ""});
  }
  return log;
}

RunLog read_run_log(const std::filesystem::path& run) {
  std::error_code ignored;
  const auto file = std::filesystem::is_directory(run, ignored) ? run / "metrics.jsonl" : run;
  return parse_run_log(MappedFile::open(file)->bytes(), file.string());
}

}  // namespace moxie
