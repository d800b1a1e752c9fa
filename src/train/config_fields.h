// The keys of the configuration's tables: one list a table, which the reader, the writer and the hints walk alike.
// Knows no TOML.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spec/config_reader.h"
#include "train/config.h"

namespace moxie {

/// Somebody who walks the keys of a table: reads each into its variable, or writes it out.
class Fields {
 public:
  virtual ~Fields() = default;
  virtual void integer(std::string_view key, int64_t& value, IntegerRange range) = 0;
  virtual void number(std::string_view key, double& value, NumberRange range) = 0;
  virtual void number(std::string_view key, float& value, NumberRange range) = 0;
  virtual void flag(std::string_view key, bool& value) = 0;
  virtual void text(std::string_view key, std::string& value) = 0;
  /// A path, relative to the file that names it; `keyword` is a value that is no path.
  virtual void path(std::string_view key, std::string& value, std::string_view keyword = "") = 0;
  /// One path, or an array of them.
  virtual void paths(std::string_view key, std::vector<std::string>& value) = 0;
  /// `index` into `names`.
  virtual void choice(std::string_view key, size_t& index, std::span<const std::string_view> names) = 0;

  /// An enum whose values are named in their order.
  template <typename Enum>
  void one_of(std::string_view key, Enum& value, std::initializer_list<std::string_view> names) {
    auto index = static_cast<size_t>(value);
    choice(key, index, {names.begin(), names.size()});
    value = static_cast<Enum>(index);
  }
};

void train_fields(Fields& fields, LoopConfig& train);
void router_fields(Fields& fields, RouterTraining& router);
void balance_fields(Fields& fields, AuxLoss& aux, BiasUpdate& bias);
/// Without the arrays `domains` and `valid`.
void data_fields(Fields& fields, DataConfig& data);
/// `weighted` false: a validation domain, which has no weight.
void domain_fields(Fields& fields, DataDomain& domain, bool weighted);

/// A rule that two keys break together.
struct ConfigProblem {
  std::string key;  // "train.seq_len"
  std::string expected, got, hint;
};

/// The broken rules that no range catches; the first of them, or an empty key. Adds what the user should know but
/// nothing forbids to config.spec.notices.
ConfigProblem find_problem(TrainConfig& config);

}  // namespace moxie
