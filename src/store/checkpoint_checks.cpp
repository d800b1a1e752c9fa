#include "store/checkpoint_checks.h"

#include <algorithm>
#include <cstring>

namespace moxie {
namespace {

constexpr int64_t kSampleBytes = 4096;

/// A running 64-bit hash: eight bytes a step, high bits folded back down after every multiplication.
class Hash {
 public:
  void add(uint64_t word) {
    state_ = (state_ ^ word) * 0x9e3779b97f4a7c15u;
    state_ ^= state_ >> 32;
  }

  void add(const void* data, int64_t size) {
    add(static_cast<uint64_t>(size));
    const char* bytes = static_cast<const char*>(data);
    for (int64_t i = 0; i < size; i += 8) {
      uint64_t word = 0;
      std::memcpy(&word, bytes + i, static_cast<size_t>(std::min<int64_t>(8, size - i)));
      add(word);
    }
  }

  std::string hex() const { return fmt::format("{:016x}", state_); }

 private:
  uint64_t state_ = 0x6d6f786965u;  // "moxie"
};

/// The bits of an element that is not finite: (bits & mask) == value.
struct NonFinitePattern {
  int bytes = 0;  // of one element; 0: every value is finite
  uint64_t mask = 0;
  uint64_t value = 0;
};

NonFinitePattern pattern_of(FormatId format) {
  switch (format) {
    case FormatId::f32:
    case FormatId::c64:  // two f32
      return {4, 0x7f800000, 0x7f800000};
    case FormatId::f16:
      return {2, 0x7c00, 0x7c00};
    case FormatId::bf16:
      return {2, 0x7f80, 0x7f80};
    case FormatId::f64:
      return {8, 0x7ff0000000000000, 0x7ff0000000000000};
    case FormatId::f8_e4m3:  // no infinity, one NaN a sign
      return {1, 0x7f, 0x7f};
    case FormatId::f8_e5m2:
      return {1, 0x7c, 0x7c};
    case FormatId::f8_e8m0:
      return {1, 0xff, 0xff};
    case FormatId::f8_e4m3fnuz:
    case FormatId::f8_e5m2fnuz:  // the place of minus zero
      return {1, 0xff, 0x80};
    default:
      return {};
  }
}

template <typename Bits>
void count_row(const char* row, int64_t elems, const NonFinitePattern& pattern, int64_t index, NonFinite& result) {
  const Bits mask = static_cast<Bits>(pattern.mask);
  const Bits value = static_cast<Bits>(pattern.value);
  for (int64_t i = 0; i < elems; ++i) {
    Bits bits;
    std::memcpy(&bits, row + i * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
    if ((bits & mask) != value) continue;
    if (result.count++ == 0) result.first = index + i;
  }
}

}  // namespace

std::string checkpoint_hash(const Checkpoint& checkpoint) {
  Hash hash;
  for (const TensorEntry& entry : checkpoint.entries()) {
    const View& view = entry.tensor.view;
    const std::string_view format = format_name(view.format);
    hash.add(entry.name.data(), static_cast<int64_t>(entry.name.size()));
    hash.add(format.data(), static_cast<int64_t>(format.size()));
    hash.add(static_cast<uint64_t>(view.shape.rank()));
    for (const int64_t dim : view.shape.dims()) hash.add(static_cast<uint64_t>(dim));
    const int64_t bytes = view.num_bytes();
    const int64_t sample = std::min(bytes, kSampleBytes);
    const char* data = static_cast<const char*>(view.data);
    hash.add(data, sample);
    hash.add(data + (bytes - sample), sample);
  }
  return hash.hex();
}

NonFinite count_non_finite(const View& view) {
  NonFinite result;
  const NonFinitePattern pattern = pattern_of(view.format);
  if (pattern.bytes == 0) return result;
  const int64_t parts = format_info(view.format).block_bytes / pattern.bytes;  // 2 for a complex number
  const int64_t row_elems = view.shape.back() * parts;
  for (int64_t r = 0; r < view.num_rows(); ++r) {
    const char* row = static_cast<const char*>(view.data) + r * view.row_bytes;
    if (pattern.bytes == 1) count_row<uint8_t>(row, row_elems, pattern, r * row_elems, result);
    if (pattern.bytes == 2) count_row<uint16_t>(row, row_elems, pattern, r * row_elems, result);
    if (pattern.bytes == 4) count_row<uint32_t>(row, row_elems, pattern, r * row_elems, result);
    if (pattern.bytes == 8) count_row<uint64_t>(row, row_elems, pattern, r * row_elems, result);
  }
  if (result.first >= 0) result.first /= parts;
  return result;
}

void require_finite(const Checkpoint& checkpoint) {
  for (const TensorEntry& entry : checkpoint.entries()) {
    const NonFinite found = count_non_finite(entry.tensor.view);
    if (found.count == 0) continue;
    throw invalid(
        {fmt::format("{}: tensor \"{}\" {}", entry.file, printable(entry.name), entry.tensor.view.shape.str()),
         "finite values", fmt::format("{} that are not, the first at index {}", found.count, found.first)});
  }
}

}  // namespace moxie
