#include "quantize/gguf_check.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <exception>
#include <map>

#include "base/rng.h"

namespace moxie {
namespace {

constexpr double kMostOfUsual = 2.5;

/// What one piece of rows adds to.
struct Sums {
  double squares = 0, differences = 0;
  int64_t unequal = 0;  // bits
  bool finite_source = true, finite_result = true;

  void add(const Sums& other) {
    squares += other.squares;
    differences += other.differences;
    unequal += other.unequal;
    finite_source = finite_source && other.finite_source;
    finite_result = finite_result && other.finite_result;
  }
};

Sums compare(const float* want, const float* got, int64_t count) {
  Sums sums;
  for (int64_t i = 0; i < count; ++i) {
    const double a = want[i], b = got[i];
    sums.squares += a * a;
    sums.differences += (a - b) * (a - b);
    sums.unequal += std::bit_cast<uint32_t>(want[i]) != std::bit_cast<uint32_t>(got[i]);
    sums.finite_source = sums.finite_source && std::isfinite(want[i]);
    sums.finite_result = sums.finite_result && std::isfinite(got[i]);
  }
  return sums;
}

double relative(const Sums& sums) {
  if (sums.differences == 0) return 0;
  return sums.squares == 0 ? HUGE_VAL : std::sqrt(sums.differences / sums.squares);
}

class Checker {
 public:
  Checker(const std::filesystem::path& path, const GgufPlan& plan, ThreadPool& pool)
      : path_(path), plan_(plan), pool_(pool), file_(GgufFile::open(path)) {}

  std::vector<TensorError> run(const std::function<void(double)>& progress) {
    std::map<std::string_view, const TensorEntry*> entries;
    for (const TensorEntry& entry : file_.entries()) entries.emplace(entry.name, &entry);
    std::vector<TensorError> errors;
    const auto all_bytes = static_cast<double>(plan_.num_bytes());
    int64_t done_bytes = 0;
    for (size_t i = 0; i < plan_.tensors.size(); ++i) {
      const PlannedTensor& tensor = plan_.tensors[i];
      const auto at = entries.find(tensor.name);
      const View* view = at == entries.end() ? nullptr : &at->second->tensor.view;
      if (view == nullptr || view->format != tensor.format || view->packed != tensor.packed ||
          !(view->shape == tensor.shape)) {
        fail(tensor, 0, fmt::format("{} {}", format_name(tensor.format), tensor.shape.str()), "another tensor");
      }
      const std::vector<Sums> experts = sums_of(tensor, RowSource(*view));
      for (size_t e = 0; e < experts.size(); ++e) {
        judge(tensor, static_cast<int64_t>(e), experts[e]);
        errors.push_back({i, static_cast<int64_t>(e), relative(experts[e])});
      }
      done_bytes += tensor.num_bytes();
      if (progress) progress(static_cast<double>(done_bytes) / all_bytes);
    }
    return errors;
  }

 private:
  // Pieces of rows of one expert each, summed in their order.
  std::vector<Sums> sums_of(const PlannedTensor& tensor, const RowSource& written) {
    constexpr int64_t kElemsAPiece = 1 << 16;
    const int64_t experts = tensor.num_experts(), rows = tensor.num_rows() / experts, columns = tensor.shape.back();
    const int64_t step = std::max<int64_t>(kElemsAPiece / columns, 1), pieces = (rows + step - 1) / step;
    std::vector<Sums> parts(static_cast<size_t>(experts * pieces));
    const bool copied = tensor.rows.stands_as(tensor.format);
    std::vector<std::vector<float>> scratch(static_cast<size_t>(pool_.size()));
    for (std::vector<float>& each : scratch) each.resize(static_cast<size_t>(2 * std::min(step, rows) * columns));
    pool_.run(experts * pieces, [&](int64_t item, int worker) {
      const int64_t begin = item / pieces * rows + item % pieces * step;
      const int64_t end = std::min(begin + step, (item / pieces + 1) * rows), count = (end - begin) * columns;
      float* want = scratch[static_cast<size_t>(worker)].data();
      float* got = want + count;
      if (copied) {
        parts[static_cast<size_t>(item)].unequal = unequal_rows(tensor, written, begin, end);
        return;
      }
      tensor.rows.decode(begin, end, want);
      written.decode(begin, end, got);
      parts[static_cast<size_t>(item)] = compare(want, got, count);
    });
    std::vector<Sums> out(static_cast<size_t>(experts));
    for (size_t i = 0; i < parts.size(); ++i) out[i / static_cast<size_t>(pieces)].add(parts[i]);
    return out;
  }

  // Of rows that were copied the bytes count, whatever they stand for.
  static int64_t unequal_rows(const PlannedTensor& tensor, const RowSource& written, int64_t begin, int64_t end) {
    const auto bytes = static_cast<size_t>(row_bytes(tensor.format, tensor.shape.back()));
    std::vector<char> want(bytes), got(bytes);
    int64_t unequal = 0;
    for (int64_t i = begin; i < end; ++i) {
      tensor.rows.copy(tensor.format, i, i + 1, want.data());
      written.copy(tensor.format, i, i + 1, got.data());
      unequal += std::memcmp(want.data(), got.data(), bytes) != 0;
    }
    return unequal;
  }

  void judge(const PlannedTensor& tensor, int64_t expert, const Sums& sums) {
    if (tensor.exact()) {
      if (sums.unequal == 0) return;
      fail(tensor, expert, "the source's numbers", fmt::format("others in {} places", sums.unequal));
    }
    if (!sums.finite_source) fail(tensor, expert, "finite numbers in the source", "NaN or infinity");
    if (!sums.finite_result) fail(tensor, expert, "numbers within the range of the format", "larger ones");
    const double limit = kMostOfUsual * usual(tensor.format);
    if (relative(sums) <= limit) return;
    fail(tensor, expert, fmt::format("a relative error of at most {:.2g} in {}", limit, format_name(tensor.format)),
         fmt::format("{:.2g}", relative(sums)));
  }

  double usual(FormatId format) {
    const auto [at, is_new] = usual_.try_emplace(format, 0.0);
    if (is_new) at->second = usual_error(format);
    return at->second;
  }

  [[noreturn]] void fail(const PlannedTensor& tensor, int64_t expert, std::string expected, std::string got) {
    std::string where = fmt::format("{}: {}", path_.string(), tensor.name);
    if (tensor.num_experts() > 1) where += fmt::format(", expert {}", expert);
    throw invalid({.where = std::move(where),
                   .expected = std::move(expected),
                   .got = std::move(got),
                   .hint = fmt::format("--tensor-format '{}=f32' keeps its numbers.", tensor.name)});
  }

  const std::filesystem::path& path_;
  const GgufPlan& plan_;
  ThreadPool& pool_;
  GgufFile file_;
  std::map<FormatId, double> usual_;
};

}  // namespace

double usual_error(FormatId format) {
  constexpr int64_t kRows = 64, kColumns = 256;
  const Rng random(1, 0);
  std::vector<float> want, got(kRows * kColumns);
  for (uint64_t i = 0; i < kRows * kColumns; ++i) want.push_back(random.normal(i));
  std::vector<char> bytes(static_cast<size_t>(row_bytes(format, kRows * kColumns)));
  encode_rows(format, want.data(), kRows, kColumns, bytes.data());
  RowSource(dense_view(bytes.data(), format, {kRows, kColumns})).decode(0, kRows, got.data());
  return relative(compare(want.data(), got.data(), kRows * kColumns));
}

std::vector<TensorError> check_gguf(const std::filesystem::path& file, const GgufPlan& plan, ThreadPool& pool,
                                    const std::function<void(double)>& progress) {
  return Checker(file, plan, pool).run(progress);
}

}  // namespace moxie
