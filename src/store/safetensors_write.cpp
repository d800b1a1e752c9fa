// The safetensors writer: header, then rows, streamed into a file that appears whole or not at all.
#include <algorithm>

#include "base/json.h"
#include "base/utf8.h"
#include "store/safetensors.h"
#include "store/view_stream.h"

namespace moxie {
namespace {

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
  ViewStream out(file);
  std::string length;
  for (int i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 0xff);
  out.write(length);
  out.write(text);
  for (const NamedView* tensor : order) out.write(tensor->view);
  out.flush();
  file.commit();
}

}  // namespace moxie
