// The GGUF writer: metadata, table, then rows, streamed into a file that appears whole or not at all.
#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>
#include <unordered_set>

#include "base/utf8.h"
#include "format/packed.h"
#include "store/gguf.h"
#include "store/gguf_types.h"

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

int64_t padding(int64_t end, int64_t alignment) {
  return (alignment - end % alignment) % alignment;
}

uint32_t alignment_of(std::span<const MadeTensor> tensors) {
  const bool packed = std::any_of(tensors.begin(), tensors.end(), [](const MadeTensor& each) { return each.packed; });
  return packed ? kPackedAlignment : kGgufAlignment;
}

/// The table of tensors; throws for those that the format cannot hold.
class Table {
 public:
  Table(const std::filesystem::path& path, std::span<const MadeTensor> tensors, int64_t alignment) : path_(path) {
    int64_t begin = 0;
    for (const MadeTensor& tensor : tensors) {
      add(tensor, begin);
      const int64_t end = begin + row_bytes(tensor.format, tensor.shape.num_elems());
      begin = end + padding(end, alignment);
    }
  }

  const std::string& bytes() const { return bytes_; }

 private:
  void add(const MadeTensor& tensor, int64_t begin) {
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
    const FormatInfo& info = format_info(tensor.format);
    require(info.gguf >= 0, "a format with a GGUF type", std::string(info.name));
    const std::span<const int64_t> dims = tensor.shape.dims();
    require(!dims.empty() && dims.size() <= kMaxGgufRank && std::find(dims.begin(), dims.end(), 0) == dims.end(),
            fmt::format("1 to {} dimensions of at least 1", kMaxGgufRank), tensor.shape.str());
    require(tensor.shape.back() % info.block_elems == 0, fmt::format("rows of whole blocks of {}", info.block_elems),
            tensor.shape.str());
    put_text(bytes_, tensor.name);
    put<uint32_t>(bytes_, static_cast<uint32_t>(dims.size()));
    for (size_t i = dims.size(); i-- > 0;) put<uint64_t>(bytes_, static_cast<uint64_t>(dims[i]));
    MOXIE_CHECK(!tensor.packed ||
                (can_pack(tensor.format) && dims.size() > 1 && dims[dims.size() - 2] % kPackedRows == 0));
    put<uint32_t>(bytes_, static_cast<uint32_t>(info.gguf) + (tensor.packed ? kPackedType : 0));
    put<uint64_t>(bytes_, static_cast<uint64_t>(begin));
  }

  const std::filesystem::path& path_;
  std::string bytes_;
  std::unordered_set<std::string_view> names_;
};

constexpr int64_t kPieceBytes = 1 << 20;  // made by one thread in one go
constexpr int64_t kPiecesAThread = 4;     // made before they are written, so that threads wait for each other seldom

}  // namespace

/// Writes the parts of a file one after the other.
class GgufWriter {
 public:
  GgufWriter(AtomicFile& file, ThreadPool& pool, const std::function<void(double)>& progress)
      : file_(file), pool_(pool), progress_(progress) {}

  void write(const GgufMetadata& metadata, std::span<const MadeTensor> tensors) {
    alignment_ = alignment_of(tensors);
    const Table table(file_.path(), tensors, alignment_);
    const bool says_alignment = alignment_ != kGgufAlignment;
    std::string head = "GGUF";
    put<uint32_t>(head, 3);
    put<uint64_t>(head, tensors.size());
    put<uint64_t>(head, metadata.count_ + says_alignment);
    if (says_alignment) {
      put_text(head, kAlignmentKey);
      put<uint32_t>(head, kGgufType<uint32_t>);
      put<uint32_t>(head, alignment_);
    }
    head += metadata.bytes_;
    head += table.bytes();
    file_.write(head);
    pad(static_cast<int64_t>(head.size()));
    for (const MadeTensor& tensor : tensors) all_bytes_ += tensor.num_bytes();
    for (const MadeTensor& tensor : tensors) write(tensor);
  }

 private:
  void pad(int64_t end) {
    constexpr char zeros[kPackedAlignment] = {};
    file_.write(zeros, static_cast<size_t>(padding(end, alignment_)));
  }

  void write(const MadeTensor& tensor) {
    const int64_t row = row_bytes(tensor.format, tensor.shape.back());
    const int64_t num_rows = tensor.shape.num_elems() / tensor.shape.back();
    const int64_t least = tensor.packed ? kPackedRows : 1;
    const int64_t piece = std::max<int64_t>(kPieceBytes / row / least, 1) * least;
    const int64_t batch = piece * kPiecesAThread * pool_.size();
    for (int64_t begin = 0; begin < num_rows; begin += batch) {
      const int64_t end = std::min(begin + batch, num_rows);
      made_.resize(static_cast<size_t>((end - begin) * row));
      make(tensor, begin, end, piece, row);
      file_.write(made_.data(), made_.size());
      done_bytes_ += (end - begin) * row;
      if (progress_) progress_(static_cast<double>(done_bytes_) / static_cast<double>(all_bytes_));
    }
    pad(num_rows * row);
  }

  // Of several faults the first one in the file is thrown, whoever came to it first.
  void make(const MadeTensor& tensor, int64_t begin, int64_t end, int64_t piece, int64_t row) {
    const int64_t num_pieces = (end - begin + piece - 1) / piece;
    faults_.assign(static_cast<size_t>(num_pieces), nullptr);
    pool_.run(num_pieces, [&](int64_t i, int) {
      const int64_t from = begin + i * piece, to = std::min(from + piece, end);
      try {
        tensor.make_rows(from, to, made_.data() + (from - begin) * row);
      } catch (...) {
        faults_[static_cast<size_t>(i)] = std::current_exception();
      }
    });
    for (const std::exception_ptr& fault : faults_) {
      if (fault) std::rethrow_exception(fault);
    }
  }

  AtomicFile& file_;
  ThreadPool& pool_;
  const std::function<void(double)>& progress_;
  uint32_t alignment_ = kGgufAlignment;
  int64_t all_bytes_ = 0, done_bytes_ = 0;
  std::vector<char> made_;
  std::vector<std::exception_ptr> faults_;
};

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

GgufMetadata& GgufMetadata::copy(const GgufFile& file, size_t index) {
  const std::string_view bytes = file.metadata_bytes(index);
  uint32_t type = 0;
  std::memcpy(&type, bytes.data(), sizeof type);
  add_key(file.metadata().members()[index].key, type);
  bytes_ += bytes.substr(sizeof type);
  return *this;
}

void write_gguf(AtomicFile& file, const GgufMetadata& metadata, std::span<const MadeTensor> tensors, ThreadPool& pool,
                const std::function<void(double)>& progress) {
  GgufWriter(file, pool, progress).write(metadata, tensors);
}

void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata, std::span<const MadeTensor> tensors,
                ThreadPool& pool, const std::function<void(double)>& progress) {
  AtomicFile file(path);
  write_gguf(file, metadata, tensors, pool, progress);
  file.commit();
}

void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata, std::span<const NamedView> tensors) {
  std::vector<MadeTensor> made;
  for (const NamedView& tensor : tensors) made.push_back(made_of(tensor.name, tensor.view));
  ThreadPool alone(1);
  write_gguf(path, metadata, made, alone);
}

}  // namespace moxie
