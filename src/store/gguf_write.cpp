// The GGUF writer: metadata, table, then rows, streamed into a file that appears whole or not at all.
#include <algorithm>
#include <bit>
#include <unordered_set>

#include "base/utf8.h"
#include "store/gguf.h"
#include "store/gguf_types.h"
#include "store/view_stream.h"

namespace moxie {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they stand in the file");

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void put_text(std::string& out, std::string_view text) {
  put<uint64_t>(out, text.size());
  out += text;
}

bool is_utf8(std::string_view text) {
  return utf8_error_offset(text) == std::string_view::npos;
}

int64_t padding(int64_t end) {
  return (kGgufAlignment - end % kGgufAlignment) % kGgufAlignment;
}

/// The table of tensors; throws for those that the format cannot hold.
class Table {
 public:
  Table(const std::filesystem::path& path, std::span<const NamedView> tensors) : path_(path) {
    int64_t begin = 0;
    for (const NamedView& tensor : tensors) {
      add(tensor, begin);
      const int64_t end = begin + tensor.view.num_bytes();
      begin = end + padding(end);
    }
  }

  const std::string& bytes() const { return bytes_; }

 private:
  void add(const NamedView& tensor, int64_t begin) {
    const View& view = tensor.view;
    const auto require = [&](bool is_met, std::string expected, std::string got) {
      if (is_met) return;
      throw invalid({fmt::format("{}: tensor \"{}\"", path_.string(), printable(tensor.name)), std::move(expected),
                     std::move(got), "GGUF cannot hold it."});
    };
    require(!tensor.name.empty() && tensor.name.size() <= kMaxGgufNameBytes,
            fmt::format("a name of 1 to {} bytes", kMaxGgufNameBytes), std::to_string(tensor.name.size()));
    require(is_utf8(tensor.name) && tensor.name.find('\0') == std::string::npos, "a name of UTF-8 without NUL",
            "other bytes");
    require(names_.insert(tensor.name).second, "each name once", "it again");
    const FormatInfo& info = format_info(view.format);
    require(info.gguf >= 0, "a format with a GGUF type", std::string(info.name));
    const std::span<const int64_t> dims = view.shape.dims();
    require(!dims.empty() && dims.size() <= kMaxGgufRank && std::find(dims.begin(), dims.end(), 0) == dims.end(),
            fmt::format("1 to {} dimensions of at least 1", kMaxGgufRank), view.shape.str());
    put_text(bytes_, tensor.name);
    put<uint32_t>(bytes_, static_cast<uint32_t>(dims.size()));
    for (size_t i = dims.size(); i-- > 0;) put<uint64_t>(bytes_, static_cast<uint64_t>(dims[i]));
    put<uint32_t>(bytes_, static_cast<uint32_t>(info.gguf));
    put<uint64_t>(bytes_, static_cast<uint64_t>(begin));
  }

  const std::filesystem::path& path_;
  std::string bytes_;
  std::unordered_set<std::string_view> names_;
};

}  // namespace

void GgufMetadata::add_key(std::string_view key, uint32_t type) {
  MOXIE_CHECK(!key.empty() && key.size() <= kMaxGgufKeyBytes && key != kAlignmentKey);
  MOXIE_CHECK(is_utf8(key) && key.find('\0') == std::string_view::npos);
  MOXIE_CHECK(keys_.emplace(key).second);
  put_text(bytes_, key);
  put<uint32_t>(bytes_, type);
  ++count_;
}

template <typename T>
GgufMetadata& GgufMetadata::set(std::string_view key, std::type_identity_t<T> value) {
  add_key(key, kGgufType<T>);
  put<T>(bytes_, value);
  return *this;
}

GgufMetadata& GgufMetadata::set_string(std::string_view key, std::string_view text) {
  MOXIE_CHECK(is_utf8(text));
  add_key(key, kGgufString);
  put_text(bytes_, text);
  return *this;
}

template <typename T>
GgufMetadata& GgufMetadata::set_array(std::string_view key, std::span<const T> values) {
  add_key(key, kGgufArray);
  put<uint32_t>(bytes_, kGgufType<T>);
  put<uint64_t>(bytes_, values.size());
  for (const T value : values) put<T>(bytes_, value);
  return *this;
}

GgufMetadata& GgufMetadata::set_strings(std::string_view key, std::span<const std::string> texts) {
  add_key(key, kGgufArray);
  put<uint32_t>(bytes_, kGgufString);
  put<uint64_t>(bytes_, texts.size());
  for (const std::string& text : texts) {
    MOXIE_CHECK(is_utf8(text));
    put_text(bytes_, text);
  }
  return *this;
}

#define MOXIE_GGUF_TYPE(T)                                                                \
  template GgufMetadata& GgufMetadata::set<T>(std::string_view, std::type_identity_t<T>); \
  template GgufMetadata& GgufMetadata::set_array<T>(std::string_view, std::span<const T>);
MOXIE_GGUF_TYPE(bool)
MOXIE_GGUF_TYPE(uint8_t)
MOXIE_GGUF_TYPE(int8_t)
MOXIE_GGUF_TYPE(uint16_t)
MOXIE_GGUF_TYPE(int16_t)
MOXIE_GGUF_TYPE(uint32_t)
MOXIE_GGUF_TYPE(int32_t)
MOXIE_GGUF_TYPE(uint64_t)
MOXIE_GGUF_TYPE(int64_t)
MOXIE_GGUF_TYPE(float)
MOXIE_GGUF_TYPE(double)
#undef MOXIE_GGUF_TYPE

void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata, std::span<const NamedView> tensors) {
  const Table table(path, tensors);
  std::string head = "GGUF";
  put<uint32_t>(head, 3);
  put<uint64_t>(head, tensors.size());
  put<uint64_t>(head, metadata.count_);

  AtomicFile file(path);
  ViewStream out(file);
  const std::string zeros(kGgufAlignment, '\0');
  const auto pad = [&](int64_t end) {
    out.write(std::string_view(zeros).substr(0, static_cast<size_t>(padding(end))));
  };
  out.write(head);
  out.write(metadata.bytes_);
  out.write(table.bytes());
  pad(static_cast<int64_t>(head.size() + metadata.bytes_.size() + table.bytes().size()));
  for (const NamedView& tensor : tensors) {
    out.write(tensor.view);
    pad(tensor.view.num_bytes());
  }
  out.flush();
  file.commit();
}

}  // namespace moxie
