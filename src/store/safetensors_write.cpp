// The safetensors writer: header, then rows, streamed into a file that appears whole or not at all.
#include <algorithm>
#include <cstring>

#include "base/json.h"
#include "base/utf8.h"
#include "store/safetensors.h"

namespace moxie {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;  // made in one go

int alignment(const MadeTensor& tensor) {
  const FormatInfo& info = format_info(tensor.format);
  return info.block_elems == 1 ? info.block_bytes : 1;
}

std::string header_text(std::span<const MadeTensor* const> order, const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      text += (text.back() == '{' ? "" : ",") + json::quote(key) + ":" + json::quote(value);
    }
    text += "}";
  }
  int64_t begin = 0;
  for (const MadeTensor* tensor : order) {
    const int64_t end = begin + tensor->num_bytes();
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", text.size() > 1 ? "," : "",
                        json::quote(tensor->name), format_info(tensor->format).safetensors,
                        fmt::join(tensor->shape.dims(), ","), begin, end);
    begin = end;
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

/// Collects short pieces, so that a small tensor or row does not cost a system call.
class Buffered {
 public:
  explicit Buffered(AtomicFile& file) : file_(file) {}

  void write(std::string_view bytes) {
    if (static_cast<int64_t>(buffer_.size() + bytes.size()) > kPieceBytes) flush();
    buffer_ += bytes;
  }

  void write(const MadeTensor& tensor) {
    const int64_t row = row_bytes(tensor.format, tensor.shape.back());
    const int64_t num_rows = row == 0 ? 0 : tensor.num_bytes() / row;
    const int64_t piece = row == 0 ? 1 : std::max<int64_t>(kPieceBytes / row, 1);
    for (int64_t begin = 0; begin < num_rows; begin += piece) {
      const int64_t end = std::min(begin + piece, num_rows), bytes = (end - begin) * row;
      if (static_cast<int64_t>(buffer_.size()) + bytes > kPieceBytes) flush();
      const size_t at = buffer_.size();
      buffer_.resize(at + static_cast<size_t>(bytes));
      tensor.make_rows(begin, end, buffer_.data() + at);
    }
  }

  void flush() {
    file_.write(buffer_);
    buffer_.clear();
  }

 private:
  AtomicFile& file_;
  std::string buffer_;
};

}  // namespace

MadeTensor made_of(const std::string& name, const View& view) {
  return {name, view.format, view.shape, [view](int64_t begin, int64_t end, char* out) {
            const auto row = static_cast<size_t>(row_bytes(view.format, view.shape.back()));
            for (int64_t i = begin; i < end; ++i, out += row) {
              std::memcpy(out, static_cast<const char*>(view.data) + i * view.row_bytes, row);
            }
          }};
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedView> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<MadeTensor> made;
  for (const auto& [name, view] : tensors) made.push_back(made_of(name, view));
  stream_safetensors(path, made, metadata);
}

void stream_safetensors(const std::filesystem::path& path, std::span<const MadeTensor> tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<const MadeTensor*> order;
  for (const MadeTensor& tensor : tensors) {
    MOXIE_CHECK(!format_info(tensor.format).safetensors.empty() && tensor.name != "__metadata__");
    MOXIE_CHECK(utf8_error_offset(tensor.name) == std::string_view::npos);
    order.push_back(&tensor);
  }
  // Falling alignment keeps every tensor aligned without gaps, which the format does not allow.
  std::sort(order.begin(), order.end(), [](const MadeTensor* a, const MadeTensor* b) {
    return alignment(*a) != alignment(*b) ? alignment(*a) > alignment(*b) : a->name < b->name;
  });
  const std::string text = header_text(order, metadata);
  AtomicFile file(path);
  Buffered out(file);
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 0xff);
  out.write(length);
  out.write(text);
  for (const MadeTensor* tensor : order) out.write(*tensor);
  out.flush();
  file.commit();
}

}  // namespace moxie
