// The safetensors writer: header, then rows, streamed into a file that appears whole or not at all.
#include <algorithm>

#include "base/json.h"
#include "base/utf8.h"
#include "store/safetensors.h"

namespace moxie {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

/// Collects short rows so that a strided view does not cost a system call a row.
class Buffered {
 public:
  explicit Buffered(AtomicFile& file) : file_(file) {}

  void write(const void* data, size_t size) {
    if (buffer_.size() + size > kBufferBytes) flush();
    if (size >= kBufferBytes) {
      file_.write(data, size);
    } else if (size > 0) {
      buffer_.append(static_cast<const char*>(data), size);
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

std::string header_text(const std::vector<const NamedView*>& order,
                        const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      text += (text.back() == '{' ? "" : ",") + json::quote(key) + ":" + json::quote(value);
    }
    text += "}";
  }
  int64_t begin = 0;
  for (const NamedView* tensor : order) {
    const View& view = tensor->view;
    const int64_t end = begin + view.num_bytes();
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", text.size() > 1 ? "," : "",
                        json::quote(tensor->name), format_info(view.format).safetensors,
                        fmt::join(view.shape.dims(), ","), begin, end);
    begin = end;
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const NamedView> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedView*> order;
  for (const NamedView& tensor : tensors) {
    MOXIE_CHECK(!format_info(tensor.view.format).safetensors.empty() && tensor.name != "__metadata__");
    MOXIE_CHECK(utf8_error_offset(tensor.name) == std::string_view::npos);
    order.push_back(&tensor);
  }
  // Falling alignment keeps every tensor aligned without gaps, which the format does not allow.
  const auto alignment = [](const NamedView* tensor) {
    const FormatInfo& info = format_info(tensor->view.format);
    return info.block_elems == 1 ? info.block_bytes : 1;
  };
  std::sort(order.begin(), order.end(), [&](const NamedView* a, const NamedView* b) {
    return alignment(a) != alignment(b) ? alignment(a) > alignment(b) : a->name < b->name;
  });

  const std::string text = header_text(order, metadata);
  AtomicFile file(path);
  Buffered out(file);
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 0xff);
  out.write(length.data(), length.size());
  out.write(text.data(), text.size());
  for (const NamedView* tensor : order) {
    const View& view = tensor->view;
    const int64_t dense = row_bytes(view.format, view.shape.back());
    if (view.row_bytes == dense) {
      out.write(view.data, static_cast<size_t>(view.num_bytes()));
      continue;
    }
    for (int64_t row = 0; row < view.num_rows(); ++row) {
      out.write(static_cast<const char*>(view.data) + row * view.row_bytes, static_cast<size_t>(dense));
    }
  }
  out.flush();
  file.commit();
}

}  // namespace moxie
