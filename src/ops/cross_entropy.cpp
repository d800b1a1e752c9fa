#include "ops/cross_entropy.h"

#include <algorithm>

#include "base/error.h"

namespace moxie {

void cross_entropy(Exec& exec, float* logits, int64_t num_rows, int64_t n, const int32_t* targets, float scale,
                   float* losses) {
  constexpr int64_t kBlockRows = 16;  // of one work item
  for (int64_t row = 0; row < num_rows; ++row) MOXIE_CHECK(targets[row] < n);
  exec.pool.run((num_rows + kBlockRows - 1) / kBlockRows, [&](int64_t block, int) {
    const int64_t end = std::min((block + 1) * kBlockRows, num_rows);
    for (int64_t row = block * kBlockRows; row < end; ++row) {
      float* row_logits = logits + row * n;
      if (targets[row] >= 0) {
        losses[row] = exec.kernels.cross_entropy(row_logits, n, targets[row], scale);
      } else {
        losses[row] = 0;
        std::fill_n(row_logits, n, 0.0f);
      }
    }
  });
}

}  // namespace moxie
