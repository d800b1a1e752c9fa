// The safetensors writer: header, then rows, streamed into a file that appears whole or not at all.
#include <algorithm>
#include <cstring>

#include "base/json.h"
#include "base/utf8.h"
#include "store/safetensors.h"
#include "store/view_stream.h"

namespace moxie {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;  // made in one go

/// What both kinds of tensors have in common.
struct Written {
  std::string name;
  FormatId format;
  Shape shape;
  std::function<void(ViewStream& out)> write;

  int64_t num_bytes() const { return row_bytes(format, shape.num_elems()); }
  int alignment() const {
    const FormatInfo& info = format_info(format);
    return info.block_elems == 1 ? info.block_bytes : 1;
  }
};

std::string header_text(const std::vector<Written>& order, const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      text += (text.back() == '{' ? "" : ",") + json::quote(key) + ":" + json::quote(value);
    }
    text += "}";
  }
  int64_t begin = 0;
  for (const Written& tensor : order) {
    const int64_t end = begin + tensor.num_bytes();
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", text.size() > 1 ? "," : "",
                        json::quote(tensor.name), format_info(tensor.format).safetensors,
                        fmt::join(tensor.shape.dims(), ","), begin, end);
    begin = end;
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

void write_file(const std::filesystem::path& path, std::vector<Written> order,
                const std::map<std::string, std::string>& metadata) {
  for (const Written& tensor : order) {
    MOXIE_CHECK(!format_info(tensor.format).safetensors.empty() && tensor.name != "__metadata__");
    MOXIE_CHECK(utf8_error_offset(tensor.name) == std::string_view::npos);
  }
  // Falling alignment keeps every tensor aligned without gaps, which the format does not allow.
  std::sort(order.begin(), order.end(), [](const Written& a, const Written& b) {
    return a.alignment() != b.alignment() ? a.alignment() > b.alignment() : a.name < b.name;
  });
  const std::string text = header_text(order, metadata);
  AtomicFile file(path);
  ViewStream out(file);
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 0xff);
  out.write(length);
  out.write(text);
  for (const Written& tensor : order) tensor.write(out);
  out.flush();
  file.commit();
}

void make(const MadeTensor& tensor, ViewStream& out) {
  const int64_t row = row_bytes(tensor.format, tensor.shape.back());
  const int64_t num_rows = row == 0 ? 0 : tensor.num_bytes() / row;
  const int64_t piece = row == 0 ? 1 : std::max<int64_t>(kPieceBytes / row, 1);
  std::string bytes;
  for (int64_t begin = 0; begin < num_rows; begin += piece) {
    const int64_t end = std::min(begin + piece, num_rows);
    bytes.resize(static_cast<size_t>((end - begin) * row));
    tensor.make_rows(begin, end, bytes.data());
    out.write(bytes);
  }
}

}  // namespace

MadeTensor made_of(const std::string& name, const View& view) {
  return {name, view.format, view.shape, [view](int64_t begin, int64_t end, char* out) {
            const int64_t dense = row_bytes(view.format, view.shape.back());
            for (int64_t row = begin; row < end; ++row, out += dense) {
              std::memcpy(out, static_cast<const char*>(view.data) + row * view.row_bytes, static_cast<size_t>(dense));
            }
          }};
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedView> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<Written> order;
  order.reserve(tensors.size());
  for (const auto& [name, view] : tensors) {
    order.push_back({name, view.format, view.shape, [&view = view](ViewStream& out) { out.write(view); }});
  }
  write_file(path, std::move(order), metadata);
}

void stream_safetensors(const std::filesystem::path& path, std::span<const MadeTensor> tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<Written> order;
  order.reserve(tensors.size());
  for (const MadeTensor& tensor : tensors) {
    order.push_back({tensor.name, tensor.format, tensor.shape, [&](ViewStream& out) { make(tensor, out); }});
  }
  write_file(path, std::move(order), metadata);
}

}  // namespace moxie
