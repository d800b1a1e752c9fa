#include "store/view_stream.h"

namespace moxie {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

}  // namespace

void ViewStream::write(std::string_view bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes) {
    file_.write(bytes);
  } else {
    buffer_ += bytes;
  }
}

void ViewStream::write(const View& view) {
  const auto* data = static_cast<const char*>(view.data);
  const int64_t dense = row_bytes(view.format, view.shape.back());
  if (view.row_bytes == dense) return write(std::string_view(data, static_cast<size_t>(view.num_bytes())));
  for (int64_t row = 0; row < view.num_rows(); ++row) {
    write(std::string_view(data + row * view.row_bytes, static_cast<size_t>(dense)));
  }
}

void ViewStream::flush() {
  file_.write(buffer_);
  buffer_.clear();
}

}  // namespace moxie
