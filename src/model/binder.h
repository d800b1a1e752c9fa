// Looks tensors up by name and expected shape, and keeps a list of all that is wrong. Knows no architecture.
#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "model/weights.h"

namespace moxie {

/// Whether kernels compute with matrices of that format: f32, bf16, f16, and the blocks that GGUF files hold.
/// FP8 matrices are computed with too, once their scales stand beside them (Binder::matrix).
bool computable(FormatId format);

/// A binder of one checkpoint into one ModelWeights. Look-ups that fail return something empty and are remembered;
/// finish() throws them all at once.
class Binder {
 public:
  /// `fp8`: whether the config says that there are FP8 matrices; without it they are refused.
  Binder(const Checkpoint& checkpoint, ModelWeights& weights, bool fp8)
      : checkpoint_(checkpoint), weights_(weights), fp8_(fp8) {}

  int64_t num_tensors() const { return static_cast<int64_t>(checkpoint_.entries().size()); }
  bool has(const std::string& name) const { return checkpoint_.find(name) != nullptr; }

  /// A matrix [rows, columns] in a format kernels compute with, as it lies in the file; FP8 with its scales, which lie
  /// in NAME_scale_inv.
  View matrix(const std::string& name, int64_t rows, int64_t columns);
  /// The same for a matrix that is read both ways round: block formats and FP8 become an f32 copy.
  View plain_matrix(const std::string& name, int64_t rows, int64_t columns);
  /// A tensor of that shape in a format kernels compute with; not FP8.
  View tensor(const std::string& name, const Shape& shape);
  /// A tensor of any shape and format, or null if it is missing; counts as used.
  const View* raw(const std::string& name);
  /// A vector [size] as f32.
  const float* vector(const std::string& name, int64_t size);
  /// `count` elements of a vector already bound: begin, begin + step, ... as their own vector.
  const float* strided(const float* vector, int64_t begin, int64_t step, int64_t count);
  /// A dense [count, K] copy of columns begin, begin + step, ... of an in-major matrix [K, N].
  View transposed(const View& in_major, int64_t begin, int64_t step, int64_t count);

  void misshaped(const std::string& name, const std::string& expected, const std::string& got);

  /// Throws Error{invalid} listing what is missing, misshaped, uncomputable, or extra (not looked up, not ignorable).
  void finish(const std::string& source, int64_t num_layers, int64_t num_mtp_layers);

 private:
  /// The rows themselves where they are f32, else a copy.
  View f32_of(const View& rows);
  bool check_format(const std::string& name, const View& view);

  const Checkpoint& checkpoint_;
  ModelWeights& weights_;
  bool fp8_;
  std::unordered_set<std::string> used_;
  std::vector<std::string> missing_, misshaped_, uncomputable_;
};

}  // namespace moxie
