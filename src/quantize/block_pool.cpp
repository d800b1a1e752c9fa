#include "quantize/block_pool.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "quantize/gguf_plan.h"

namespace moxie {
namespace {

constexpr int64_t kNumbers = 1 << 18, kPlainUnit = 32;

}  // namespace

float near_normal(const Rng& rng, uint64_t i) {
  constexpr int64_t kMeanOfSum = 12 * 65535 / 2;
  int64_t sum = 0;
  for (uint64_t word = 0; word < 3; ++word) {
    const uint64_t bits = rng.bits(3 * i + word);
    sum += static_cast<int64_t>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
  }
  return static_cast<float>(sum - kMeanOfSum) * 0x1p-16f;
}

BlockPool::BlockPool(FormatId format, float mean, float sigma, uint64_t seed) : format_(format) {
  const int64_t block = format_info(format).block_elems;
  unit_elems_ = block > 1 ? block : kPlainUnit;
  unit_bytes_ = row_bytes(format, unit_elems_);
  num_units_ = kNumbers / unit_elems_;
  const Rng rng = Rng(seed, static_cast<uint64_t>(format)).at(std::bit_cast<uint32_t>(sigma));
  std::vector<float> numbers(static_cast<size_t>(num_units_ * unit_elems_));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = mean + sigma * near_normal(rng, i);
  bytes_.resize(static_cast<size_t>(num_units_ * unit_bytes_));
  encode_rows(format, numbers.data(), 1, num_units_ * unit_elems_, bytes_.data());
}

void BlockPool::fill_row(const Rng& row, int64_t columns, char* out) const {
  const auto count = static_cast<uint64_t>(num_units_);
  for (int64_t at = 0; at < columns; at += unit_elems_) {
    const auto unit = static_cast<int64_t>(row.below(static_cast<uint64_t>(at / unit_elems_), count));
    const int64_t bytes = row_bytes(format_, std::min(unit_elems_, columns - at));
    std::memcpy(out, bytes_.data() + unit * unit_bytes_, static_cast<size_t>(bytes));
    out += bytes;
  }
}

}  // namespace moxie
