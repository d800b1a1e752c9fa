// The header of one GGUF file: read in one pass over bytes that are not trusted, then checked against the data.
#include <algorithm>
#include <array>
#include <bit>
#include <tuple>

#include "format/packed.h"
#include "store/foreign_kind.h"
#include "store/gguf.h"
#include "store/gguf_reader.h"
#include "store/gguf_types.h"

namespace moxie {
namespace {

constexpr uint64_t kMaxValues = uint64_t{1} << 22;  // the largest vocabularies have some 1.3 million
constexpr int kMaxDepth = 8;
constexpr uint32_t kMinAlignment = 8, kMaxAlignment = 65536;
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;             // length, one letter, type, one byte
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // length, one letter, rank, one dimension, type, offset
constexpr uint64_t kMostReserved = 1 << 16;                  // a count is a claim until its items have been read

/// The least bytes that a value of each type takes: of a string its length, of an array its type and count.
constexpr std::array<uint8_t, kNumGgufTypes> kLeastBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

/// Types that files of other times had, by number.
std::string_view removed_type(uint32_t type) {
  constexpr std::pair<uint32_t, std::string_view> kRemoved[] = {
      {4, "q4_2"},      {5, "q4_3"},        {31, "q4_0_4_4"},   {32, "q4_0_4_8"},
      {33, "q4_0_8_8"}, {36, "iq4_nl_4_4"}, {37, "iq4_nl_4_8"}, {38, "iq4_nl_8_8"}};
  for (const auto& [number, name] : kRemoved) {
    if (number == type) return name;
  }
  return "";
}

class HeaderParser : private GgufReader {
 public:
  HeaderParser(std::string_view file, const std::string& source) : GgufReader(file, source) {}

  GgufHeader parse() {
    header_.alignment = kGgufAlignment;
    read_frame();
    read_metadata();
    header_.metadata_end = at_;
    read_tensors();
    std::sort(header_.tensors.begin(), header_.tensors.end(), [](const auto& a, const auto& b) {
      return std::tie(a.name, a.name_offset) < std::tie(b.name, b.name_offset);
    });
    check_unique();
    check_data();
    return std::move(header_);
  }

 private:
  // ---- the frame ----

  void read_frame() {
    where_ = "magic";
    if (!file_.starts_with("GGUF")) {
      const std::string_view kind = foreign_kind(file_);
      fail("", 0, "\"GGUF\"",
           !kind.empty()      ? std::string(kind)
           : file_.size() < 4 ? fmt::format("a file of {} bytes", file_.size())
                              : fmt::format("\"{}\"", printable(file_.substr(0, 4))));
    }
    at_ = 4;
    where_ = "version";
    header_.version = number<uint32_t>("");
    if (header_.version != 0 && (header_.version & 0xffff) == 0) {
      fail("", 4, "2 or 3, little-endian", fmt::format("0x{:08x}, a big-endian file", header_.version),
           "Convert it to little-endian.");
    }
    if (header_.version != 2 && header_.version != 3) fail("", 4, "2 or 3", std::to_string(header_.version));
    num_tensors_ = count("number of tensors", kMinTensorBytes);
    num_keys_ = count("number of metadata keys", kMinKeyBytes);
  }

  uint64_t count(std::string_view what, uint64_t least_bytes) {
    where_ = what;
    const size_t begin = at_;
    const auto value = number<uint64_t>("");
    if (value > left() / least_bytes) fail("", begin, most(left() / least_bytes), std::to_string(value));
    return value;
  }

  // ---- metadata ----

  void read_metadata() {
    budget(num_keys_, at_ - sizeof(uint64_t));
    json::Object members;
    members.reserve(std::min(num_keys_, kMostReserved));
    std::unordered_set<std::string_view> seen;
    for (uint64_t i = 0; i < num_keys_; ++i) {
      where_ = fmt::format("metadata key {}", i);
      const size_t key_offset = at_;
      const std::string_view key = name(kMaxGgufKeyBytes);
      where_ = fmt::format("metadata \"{}\"", printable(key));
      if (!seen.insert(key).second) fail("", key_offset, "each key once", "it again");
      const size_t type_offset = at_;
      const uint32_t type = value_type(" type");
      if (key == kAlignmentKey && type != kGgufType<uint32_t>) {
        fail(" type", type_offset, fmt::format("{} (u32)", kGgufType<uint32_t>), std::to_string(type));
      }
      json::Value value = read_value(type, 1);
      if (key == kAlignmentKey) read_alignment(value);
      members.push_back({std::string(key), std::move(value), key_offset});
    }
    header_.metadata = json::Value(std::move(members));
  }

  void read_alignment(const json::Value& value) {
    const uint64_t alignment = *value.as_uint();
    if (alignment < kMinAlignment || alignment > kMaxAlignment || !std::has_single_bit(alignment)) {
      fail("", value.offset(), fmt::format("a power of two from {} to {}", kMinAlignment, kMaxAlignment),
           std::to_string(alignment));
    }
    header_.alignment = static_cast<uint32_t>(alignment);
  }

  uint32_t value_type(std::string_view part) {
    const auto type = number<uint32_t>(part);
    if (type >= kNumGgufTypes) {
      fail(part, at_ - sizeof(type), fmt::format("0 to {}", kNumGgufTypes - 1), std::to_string(type));
    }
    return type;
  }

  void budget(uint64_t values, size_t offset) {
    num_values_ += values;  // each count is below the bytes of the file: no overflow
    if (num_values_ > kMaxValues) {
      fail("", offset, fmt::format("at most {} metadata values", kMaxValues), std::to_string(num_values_));
    }
  }

  json::Value read_value(uint32_t type, int depth) {
    const size_t begin = at_;
    json::Value value = type == kGgufArray ? read_array(depth) : read_scalar(type);
    value.set_offset(begin);
    return value;
  }

  json::Value read_scalar(uint32_t type) {
    switch (type) {
      case kGgufType<uint8_t>:
        return uint64_t{number<uint8_t>("")};
      case kGgufType<int8_t>:
        return int64_t{number<int8_t>("")};
      case kGgufType<uint16_t>:
        return uint64_t{number<uint16_t>("")};
      case kGgufType<int16_t>:
        return int64_t{number<int16_t>("")};
      case kGgufType<uint32_t>:
        return uint64_t{number<uint32_t>("")};
      case kGgufType<int32_t>:
        return int64_t{number<int32_t>("")};
      case kGgufType<uint64_t>:
        return number<uint64_t>("");
      case kGgufType<int64_t>:
        return number<int64_t>("");
      case kGgufType<float>:
        return double{number<float>("")};
      case kGgufType<double>:
        return number<double>("");
      case kGgufType<bool>:
        return flag();
      default:
        return text(" length");
    }
  }

  bool flag() {
    const auto byte = number<uint8_t>("");
    if (byte > 1) fail("", at_ - 1, "0 or 1 for false or true", std::to_string(byte));
    return byte == 1;
  }

  json::Value read_array(int depth) {
    const uint32_t type = value_type(" item type");
    if (type == kGgufArray && depth == kMaxDepth) {
      fail(" item type", at_ - sizeof(type), fmt::format("at most {} levels of arrays", kMaxDepth), "more");
    }
    const size_t count_offset = at_;
    const auto num_items = number<uint64_t>(" count");
    const uint64_t most_items = left() / kLeastBytes[type];
    if (num_items > most_items) fail(" count", count_offset, most(most_items), std::to_string(num_items), kCutShort);
    budget(num_items, count_offset);
    json::Array items;
    items.reserve(num_items);
    for (uint64_t i = 0; i < num_items; ++i) items.push_back(read_value(type, depth + 1));
    return items;
  }

  // ---- tensors ----

  void read_tensors() {
    header_.tensors.reserve(std::min(num_tensors_, kMostReserved));
    for (uint64_t i = 0; i < num_tensors_; ++i) {
      where_ = fmt::format("tensor {}", i);
      header_.tensors.push_back(read_tensor());
    }
  }

  TensorRange read_tensor() {
    TensorRange tensor;
    tensor.name_offset = at_;
    tensor.name = name(kMaxGgufNameBytes);
    where_ = fmt::format("tensor \"{}\"", printable(tensor.name));
    tensor.shape = read_shape();
    const size_t type_offset = at_;
    read_type(tensor);
    const int64_t bytes = checked_bytes(tensor, type_offset);
    tensor.range_offset = at_;
    const auto begin = number<uint64_t>(" offset");
    if (begin % header_.alignment != 0) {
      fail(" offset", tensor.range_offset, fmt::format("a multiple of {}, the alignment", header_.alignment),
           std::to_string(begin));
    }
    if (begin > file_.size() || static_cast<uint64_t>(bytes) > file_.size() - begin) past_end(tensor, begin, bytes);
    tensor.begin = static_cast<int64_t>(begin);
    tensor.end = tensor.begin + bytes;
    return tensor;
  }

  [[noreturn]] void past_end(const TensorRange& tensor, uint64_t begin, int64_t bytes) const {
    fail(" offset", tensor.range_offset,
         fmt::format("{} bytes that end with the file, at byte {}", bytes, file_.size()),
         fmt::format("an offset of {} in the data, which leads past it", begin), kCutShort);
  }

  /// Dimensions stand innermost first in the file.
  Shape read_shape() {
    const size_t rank_offset = at_;
    const auto rank = number<uint32_t>(" rank");
    if (rank == 0 || rank > kMaxGgufRank) {
      fail(" rank", rank_offset, fmt::format("1 to {} dimensions", kMaxGgufRank), std::to_string(rank));
    }
    std::array<int64_t, kMaxGgufRank> dims{};
    int64_t elems = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      const size_t offset = at_;
      const std::string part = fmt::format(" dimension {}", i);
      const auto dim = number<uint64_t>(part);
      if (dim == 0 || dim > INT64_MAX) fail(part, offset, "1 to 2^63-1", std::to_string(dim));
      dims[rank - 1 - i] = static_cast<int64_t>(dim);
      if (__builtin_mul_overflow(elems, static_cast<int64_t>(dim), &elems)) {
        fail(part, offset, "fewer than 2^63 elements", std::to_string(dim));
      }
    }
    return Shape(std::span<const int64_t>(dims.data(), rank));
  }

  void read_type(TensorRange& tensor) {
    const size_t offset = at_;
    const auto type = number<uint32_t>(" type");
    tensor.packed = (type & kPackedType) != 0;
    if (const auto format = format_from_gguf(type & ~kPackedType)) {
      tensor.format = *format;
      if (tensor.packed) check_packed(tensor, offset);
      return;
    }
    const std::string_view removed = removed_type(type);
    if (!removed.empty()) {
      fail(" type", offset, "a type of the format", fmt::format("{} ({}), a removed type", type, removed),
           "Convert the model again.");
    }
    fail(" type", offset, "a type such as 0 (f32) or 12 (q4_k)",
         fmt::format("type {}, which is not known to this build", type));
  }

  void check_packed(const TensorRange& tensor, size_t type_offset) const {
    const Shape& shape = tensor.shape;
    if (!can_pack(tensor.format)) {
      fail(" type", type_offset, "a format whose rows can be packed", std::string(format_name(tensor.format)));
    }
    if (shape.rank() < 2 || shape[shape.rank() - 2] % kPackedRows != 0) {
      fail(" type", type_offset, fmt::format("matrices of {} rows or a multiple, as they are packed", kPackedRows),
           shape.str());
    }
  }

  int64_t checked_bytes(const TensorRange& tensor, size_t type_offset) const {
    const FormatInfo& info = format_info(tensor.format);
    if (tensor.shape.back() % info.block_elems != 0) {
      fail(" type", type_offset,
           fmt::format("rows of whole blocks: a multiple of {} {} elements", info.block_elems, info.name),
           tensor.shape.str());
    }
    int64_t bytes = 0;
    if (__builtin_mul_overflow(tensor.shape.num_elems() / info.block_elems, int64_t{info.block_bytes}, &bytes)) {
      fail(" type", type_offset, "fewer than 2^63 bytes", fmt::format("{} of {}", tensor.shape.str(), info.name));
    }
    return bytes;
  }

  void check_unique() {
    const auto& tensors = header_.tensors;
    for (size_t i = 1; i < tensors.size(); ++i) {
      if (tensors[i].name != tensors[i - 1].name) continue;
      where_ = fmt::format("tensor \"{}\"", printable(tensors[i].name));
      fail("", tensors[i].name_offset, "each name once",
           fmt::format("it again (first at byte {})", tensors[i - 1].name_offset));
    }
  }

  // ---- data ----

  /// Bytes to the next multiple of the alignment.
  size_t padding(size_t end) const { return (header_.alignment - end % header_.alignment) % header_.alignment; }

  void check_zeros(size_t begin, size_t end) {
    const size_t bad = file_.substr(0, end).find_first_not_of('\0', begin);
    if (bad == std::string_view::npos) return;
    where_ = "padding";
    fail("", bad, "zeros", fmt::format("byte 0x{:02x}", static_cast<uint8_t>(file_[bad])));
  }

  std::vector<const TensorRange*> in_data_order() const {
    std::vector<const TensorRange*> order;
    order.reserve(header_.tensors.size());
    for (const TensorRange& tensor : header_.tensors) order.push_back(&tensor);
    std::sort(order.begin(), order.end(),
              [](auto* a, auto* b) { return std::tie(a->begin, a->end) < std::tie(b->begin, b->end); });
    return order;
  }

  /// The tensors, wherever they stand in the table, follow each other in the data, each padded to the alignment.
  void check_data() {
    const size_t table_end = at_;
    const size_t data_begin = std::min(table_end + padding(table_end), file_.size());
    check_zeros(table_end, data_begin);
    header_.data_begin = static_cast<int64_t>(data_begin);
    const auto data_bytes = static_cast<int64_t>(file_.size() - data_begin);
    int64_t end = 0;
    const TensorRange* previous = nullptr;
    for (const TensorRange* tensor : in_data_order()) {
      where_ = fmt::format("tensor \"{}\"", printable(tensor->name));
      const auto expected = end + static_cast<int64_t>(padding(static_cast<size_t>(end)));
      if (tensor->begin != expected) {
        const std::string before = previous == nullptr ? "the start of the data"
                                                       : fmt::format("after tensor \"{}\"", printable(previous->name));
        fail(" offset", tensor->range_offset, fmt::format("{}, {}", expected, before),
             fmt::format("{} ({})", tensor->begin, tensor->begin < expected ? "an overlap" : "a hole"));
      }
      if (tensor->end > data_bytes)
        past_end(*tensor, static_cast<uint64_t>(tensor->begin), tensor->end - tensor->begin);
      end = tensor->end;
      previous = tensor;
    }
    check_tail(previous == nullptr ? table_end : data_begin + static_cast<size_t>(end));
  }

  void check_tail(size_t end) {
    where_ = "data";
    if (file_.size() - end > padding(end)) {
      fail("", end, fmt::format("no more than {} bytes of padding, as no tensor is left", padding(end)),
           fmt::format("{} more bytes", file_.size() - end));
    }
    check_zeros(end, file_.size());
  }

  uint64_t num_tensors_ = 0;
  uint64_t num_keys_ = 0;
  uint64_t num_values_ = 0;
  GgufHeader header_;
};

}  // namespace

GgufHeader parse_gguf_header(std::string_view file_bytes, const std::string& source) {
  return HeaderParser(file_bytes, source).parse();
}

}  // namespace moxie
