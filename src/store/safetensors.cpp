#include "store/safetensors.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/json.h"
#include "store/foreign_kind.h"

namespace moxie {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kLengthBytes = 8;
// A JSON tree takes some ten times its text; a large header is parsed in pieces of about this size.
constexpr size_t kPieceBytes = 1 << 20;
constexpr auto kNone = std::string_view::npos;

std::string in_quotes(std::string_view name) {
  return fmt::format("\"{}\"", printable(name));
}

std::string number_text(const json::Value& value) {
  if (value.as_int()) return std::to_string(*value.as_int());
  if (value.as_uint()) return std::to_string(*value.as_uint());
  return value.is_number() ? fmt::format("{}", value.as_double()) : std::string(json::type_name(value.type()));
}

/// Reads a file's header; the message of every fault begins with `source`.
class HeaderParser {
 public:
  HeaderParser(std::string_view file, const std::string& source) : file_(file), source_(source) {}

  SafetensorsHeader parse() {
    const std::string_view text = header_text();
    const std::vector<size_t> pieces = split(text);
    for (size_t i = 0; i + 1 < pieces.size(); ++i) {
      parse_piece(text.substr(pieces[i], pieces[i + 1] - pieces[i]), pieces[i], i + 2 == pieces.size());
    }
    std::sort(header_.tensors.begin(), header_.tensors.end(), [](const auto& a, const auto& b) {
      return std::tie(a.name, a.name_offset) < std::tie(b.name, b.name_offset);
    });
    check_unique();
    check_tiling();
    return std::move(header_);
  }

 private:
  [[noreturn]] void fail(std::string_view field, size_t offset, std::string expected, std::string got,
                         std::string hint = "") const {
    throw invalid({fmt::format("{}: {} at byte {}", source_, field, offset), std::move(expected), std::move(got),
                   std::move(hint)});
  }

  std::string_view header_text() {
    if (file_.size() < kLengthBytes) {
      fail("header length", 0, "8 bytes", fmt::format("a file of {}", file_.size()), "It is empty or was cut short.");
    }
    uint64_t length = 0;
    for (size_t i = 0; i < kLengthBytes; ++i) length |= uint64_t{static_cast<uint8_t>(file_[i])} << (8 * i);
    if (length < 2) fail("header length", 0, "at least 2", std::to_string(length));
    if (length > kMaxHeaderBytes) {
      fail("header length", 0, fmt::format("at most {}", kMaxHeaderBytes), std::to_string(length));
    }
    if (length > file_.size() - kLengthBytes) {
      fail("header length", 0,
           fmt::format("at most {} (the file ends at byte {})", file_.size() - kLengthBytes, file_.size()),
           std::to_string(length), "The file was cut short; download it again.");
    }
    const std::string_view text = file_.substr(kLengthBytes, length);
    if (text[0] != '{')
      fail("header", kLengthBytes, "'{'", fmt::format("byte 0x{:02x}", static_cast<uint8_t>(text[0])));
    header_.data_begin = static_cast<int64_t>(kLengthBytes + length);
    data_bytes_ = static_cast<int64_t>(file_.size()) - header_.data_begin;
    return text;
  }

  /// Where the pieces of the root object begin (at its brace or at a comma between members), and its end. Only spaces
  /// may follow the root. Each piece is JSON again once its ends are made braces, so that the text is well formed
  /// exactly if every piece is.
  std::vector<size_t> split(std::string_view text) const {
    std::vector<size_t> pieces = {0};
    int64_t depth = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const char c = text[i];
      if (c == '"') {
        for (++i; i < text.size() && text[i] != '"'; ++i) i += text[i] == '\\';
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if ((c == '}' || c == ']') && --depth == 0) {
        const size_t rest = text.find_first_not_of(' ', i + 1);
        if (rest != kNone) {
          fail("header", kLengthBytes + rest, "nothing but spaces after the closing brace",
               fmt::format("byte 0x{:02x}", static_cast<uint8_t>(text[rest])));
        }
        pieces.push_back(i + 1);
        return pieces;
      } else if (c == ',' && depth == 1 && i - pieces.back() >= kPieceBytes) {
        pieces.push_back(i);
      }
    }
    pieces.push_back(text.size());  // never closed: the JSON parser says where
    return pieces;
  }

  void parse_piece(std::string_view text, size_t begin, bool is_last) {
    std::string piece(text);
    piece[0] = '{';
    if (!is_last) piece += '}';
    const size_t offset = kLengthBytes + begin;
    const json::Value root = json::parse(piece, {.source = source_ + ": header", .base_offset = offset});
    if ((begin > 0 || !is_last) && root.members().empty()) fail("header", offset, "a member after ','", "'}'");
    for (const json::Member& member : root.members()) {
      if (member.key == "__metadata__") {
        read_metadata(member);
      } else {
        header_.tensors.push_back(read_tensor(member));
      }
    }
  }

  void read_metadata(const json::Member& member) {
    if (has_metadata_) fail("__metadata__", member.key_offset, "each key once", "it again");
    has_metadata_ = true;
    if (!member.value.is_object()) {
      fail("__metadata__", member.value.offset(), "an object", std::string(json::type_name(member.value.type())));
    }
    for (const json::Member& item : member.value.members()) {
      if (!item.value.is_string()) {
        fail("__metadata__ " + in_quotes(item.key), item.value.offset(), "a string",
             std::string(json::type_name(item.value.type())));
      }
      header_.metadata.emplace(item.key, item.value.as_string());
    }
  }

  TensorRange read_tensor(const json::Member& member) const {
    const std::string name = "tensor " + in_quotes(member.key);
    if (!member.value.is_object()) {
      fail(name, member.value.offset(), "an object", std::string(json::type_name(member.value.type())));
    }
    const json::Value* dtype = nullptr;
    const json::Value* shape = nullptr;
    const json::Value* range = nullptr;
    for (const json::Member& field : member.value.members()) {
      if (field.key == "dtype") {
        dtype = &field.value;
      } else if (field.key == "shape") {
        shape = &field.value;
      } else if (field.key == "data_offsets") {
        range = &field.value;
      } else {
        fail(name, field.key_offset, "dtype, shape and data_offsets only", in_quotes(field.key));
      }
    }
    const auto require = [&](const json::Value* field, std::string_view field_name) {
      if (field == nullptr) fail(name, member.value.offset(), std::string(field_name), "no such field");
    };
    require(dtype, "dtype");
    require(shape, "shape");
    require(range, "data_offsets");
    TensorRange tensor{.name = member.key, .name_offset = member.key_offset, .range_offset = range->offset()};
    tensor.format = read_format(name, *dtype);
    tensor.shape = read_shape(name, *shape);
    read_range(name, *range, tensor);
    const int64_t bytes = checked_bytes(name, *shape, tensor);
    if (bytes != tensor.end - tensor.begin) {
      fail(name + " data_offsets", range->offset(),
           fmt::format("{} bytes ({} {})", bytes, format_info(tensor.format).safetensors, tensor.shape.str()),
           fmt::format("{} bytes", tensor.end - tensor.begin));
    }
    return tensor;
  }

  FormatId read_format(const std::string& name, const json::Value& value) const {
    if (!value.is_string()) {
      fail(name + " dtype", value.offset(), "a string", std::string(json::type_name(value.type())));
    }
    const auto format = format_from_safetensors(value.as_string());
    if (!format) fail(name + " dtype", value.offset(), "a dtype such as F32 or BF16", in_quotes(value.as_string()));
    return *format;
  }

  int64_t read_size(const std::string& name, const json::Value& value) const {
    const auto size = value.as_int();
    if (!size || *size < 0) fail(name, value.offset(), "an integer from 0 to 2^63-1", number_text(value));
    return *size;
  }

  const json::Array& read_array(const std::string& name, const json::Value& value) const {
    if (!value.is_array()) fail(name, value.offset(), "an array", std::string(json::type_name(value.type())));
    return value.items();
  }

  Shape read_shape(const std::string& name, const json::Value& value) const {
    const json::Array& items = read_array(name + " shape", value);
    if (items.size() > Shape::kMaxRank) {
      fail(name + " shape", value.offset(), fmt::format("at most {} dimensions", Shape::kMaxRank),
           std::to_string(items.size()));
    }
    std::array<int64_t, Shape::kMaxRank> dims{};
    for (size_t i = 0; i < items.size(); ++i) dims[i] = read_size(name + " shape", items[i]);
    return Shape(std::span<const int64_t>(dims.data(), items.size()));
  }

  void read_range(const std::string& name, const json::Value& value, TensorRange& tensor) const {
    const std::string field = name + " data_offsets";
    const json::Array& items = read_array(field, value);
    if (items.size() != 2) fail(field, value.offset(), "[begin, end]", fmt::format("{} items", items.size()));
    tensor.begin = read_size(field, items[0]);
    tensor.end = read_size(field, items[1]);
    if (tensor.begin > tensor.end) {
      fail(field, value.offset(), "begin <= end", fmt::format("[{}, {}]", tensor.begin, tensor.end));
    }
    if (tensor.end > data_bytes_) {
      fail(field, items[1].offset(), fmt::format("at most {}, the bytes of data", data_bytes_),
           std::to_string(tensor.end), "The file was cut short; download it again.");
    }
  }

  /// Bytes of shape x dtype. Dimensions of 0 do not hide an overflow of the others: strides are computed from them.
  int64_t checked_bytes(const std::string& name, const json::Value& shape, const TensorRange& tensor) const {
    const FormatInfo& info = format_info(tensor.format);
    int64_t elems = info.block_bytes;  // in units of 1/block_elems bytes
    for (const int64_t dim : tensor.shape.dims()) {
      if (dim != 0 && __builtin_mul_overflow(elems, dim, &elems)) {
        fail(name + " shape", shape.offset(), "fewer than 2^63 bytes", tensor.shape.str());
      }
    }
    if (tensor.shape.back() % info.block_elems != 0) {
      fail(name + " shape", shape.offset(),
           fmt::format("rows of whole bytes: a multiple of {} {} elements", info.block_elems, info.safetensors),
           tensor.shape.str());
    }
    return tensor.shape.num_elems() / info.block_elems * info.block_bytes;
  }

  void check_unique() const {
    const auto& tensors = header_.tensors;
    for (size_t i = 1; i < tensors.size(); ++i) {
      if (tensors[i].name != tensors[i - 1].name) continue;
      fail("tensor " + in_quotes(tensors[i].name), tensors[i].name_offset, "each name once",
           fmt::format("it again (first at byte {})", tensors[i - 1].name_offset));
    }
  }

  void check_tiling() const {
    std::vector<const TensorRange*> order;
    order.reserve(header_.tensors.size());
    for (const TensorRange& tensor : header_.tensors) order.push_back(&tensor);
    std::sort(order.begin(), order.end(),
              [](auto* a, auto* b) { return std::tie(a->begin, a->end) < std::tie(b->begin, b->end); });
    int64_t end = 0;
    const TensorRange* previous = nullptr;
    for (const TensorRange* tensor : order) {
      if (tensor->begin != end) {
        const std::string before =
            previous == nullptr ? "the start of the data" : "the end of tensor " + in_quotes(previous->name);
        fail("tensor " + in_quotes(tensor->name) + " data_offsets", tensor->range_offset,
             fmt::format("to begin at {}, {}", end, before),
             fmt::format("{} ({})", tensor->begin, tensor->begin < end ? "an overlap" : "a hole"));
      }
      end = tensor->end;
      previous = tensor;
    }
    if (end != data_bytes_) {
      fail("data", static_cast<size_t>(header_.data_begin + end), "the end of the file, as no tensor is left",
           fmt::format("{} more bytes", data_bytes_ - end));
    }
  }

  std::string_view file_;
  const std::string& source_;
  int64_t data_bytes_ = 0;
  bool has_metadata_ = false;
  SafetensorsHeader header_;
};

/// The tensor of one range of a map; a private copy if its address does not suit its format.
Tensor tensor_at(const std::shared_ptr<const MappedFile>& map, int64_t data_begin, const TensorRange& range) {
  const char* data = map->bytes().data() + data_begin + range.begin;
  const size_t bytes = static_cast<size_t>(range.end - range.begin);
  const FormatInfo& info = format_info(range.format);
  const auto alignment = static_cast<size_t>(info.block_elems == 1 ? info.block_bytes : 1);
  if (reinterpret_cast<uintptr_t>(data) % alignment == 0 || bytes == 0) {
    return {dense_view(data, range.format, range.shape), map};
  }
  std::shared_ptr<void> copy(std::malloc(bytes), &std::free);
  if (copy == nullptr) throw make_error(ErrorCode::does_not_fit, "no memory for a tensor of {} bytes", bytes);
  std::memcpy(copy.get(), data, bytes);
  return {dense_view(copy.get(), range.format, range.shape), copy};
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view file_bytes, const std::string& source) {
  return HeaderParser(file_bytes, source).parse();
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file;
  file.map_ = MappedFile::open(path);
  const std::string_view bytes = file.map_->bytes();
  const std::string_view kind = foreign_kind(bytes);
  if (!kind.empty() && !bytes.substr(std::min(kLengthBytes, bytes.size())).starts_with('{')) {
    throw invalid({.where = path.string(), .expected = "a safetensors file", .got = std::string(kind)});
  }
  SafetensorsHeader header = parse_safetensors_header(file.map_->bytes(), path.string());
  file.metadata_ = std::move(header.metadata);
  file.entries_.reserve(header.tensors.size());
  for (TensorRange& range : header.tensors) {
    Tensor tensor = tensor_at(file.map_, header.data_begin, range);
    file.entries_.push_back({std::move(range.name), std::move(tensor), path.string()});
  }
  return file;
}

}  // namespace moxie
