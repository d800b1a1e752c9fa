// GGUF files opened: one, or the parts of a split set, joined.
#include "store/gguf.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "store/gguf_types.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSplitNo = "split.no";
constexpr std::string_view kSplitCount = "split.count";
constexpr std::string_view kSplitTensors = "split.tensors.count";
constexpr uint64_t kMostParts = 65535;
constexpr size_t kMaxListed = 8;

/// One file of a set, or a whole one.
struct Part {
  std::shared_ptr<const MappedFile> map;
  GgufHeader header;
  std::string source;
};

Part open_part(const fs::path& path) {
  Part part{MappedFile::open(path), {}, path.string()};
  part.header = parse_gguf_header(part.map->bytes(), part.source);
  return part;
}

[[noreturn]] void fail(const Part& part, std::string_view key, std::string expected, std::string got,
                       std::string hint = "") {
  const json::Value* value = part.header.metadata.find(key);
  throw invalid(
      {fmt::format("{}: metadata \"{}\" at byte {}", part.source, key, value == nullptr ? 0 : value->offset()),
       std::move(expected), std::move(got), std::move(hint)});
}

/// A count of the metadata, or empty if the key is absent.
std::optional<uint64_t> read_count(const Part& part, std::string_view key, uint64_t limit) {
  const json::Value* value = part.header.metadata.find(key);
  if (value == nullptr) return std::nullopt;
  const auto count = value->as_uint();
  if (count && *count <= limit) return count;
  fail(part, key, fmt::format("an integer from 0 to {}", limit),
       value->is_integer() || value->is_string() ? value->dump() : std::string(json::type_name(value->type())));
}

std::string part_name(std::string_view prefix, uint64_t part, uint64_t count) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, part + 1, count);
}

/// How many parts the set of `first` has; 0 and 1: it is no set. Tools that merge a set leave a count of 0 behind.
uint64_t num_parts(const Part& first) {
  const uint64_t count = read_count(first, kSplitCount, kMostParts).value_or(0);
  const uint64_t no = read_count(first, kSplitNo, kMostParts).value_or(0);
  if (count > 0 && no >= count) {
    fail(first, kSplitNo, fmt::format("less than {}, the split.count", count), std::to_string(no));
  }
  return count;
}

/// The paths of a set's parts, from the path of its first.
std::vector<fs::path> part_paths(const Part& first, const fs::path& path, uint64_t count) {
  const std::string name = path.filename().string();
  const std::string suffix = part_name("", 0, count);
  const uint64_t no = read_count(first, kSplitNo, kMostParts).value_or(0);
  if (no != 0) {
    fail(first, kSplitNo, "0, the first part of its set", std::to_string(no),
         fmt::format("Name the part ...{} instead.", suffix));
  }
  if (!name.ends_with(suffix)) {
    fail(first, kSplitCount, fmt::format("a name that ends in {}, to find the other parts", suffix), printable(name));
  }
  const std::string_view prefix = std::string_view(name).substr(0, name.size() - suffix.size());
  std::vector<fs::path> paths = {path};
  std::vector<std::string> missing;
  for (uint64_t i = 1; i < count; ++i) {
    paths.push_back(path.parent_path() / part_name(prefix, i, count));
    // symlink_status: a dangling link is to be reported for what it is.
    std::error_code ignored;
    if (!fs::exists(fs::symlink_status(paths.back(), ignored))) missing.push_back(paths.back().filename().string());
  }
  if (missing.empty()) return paths;
  std::string list = missing[0];
  for (size_t i = 1; i < std::min(missing.size(), kMaxListed); ++i) list += ", " + missing[i];
  if (missing.size() > kMaxListed) list += fmt::format(" and {} more", missing.size() - kMaxListed);
  fail(first, kSplitCount, fmt::format("{} parts", count), fmt::format("{} missing: {}", missing.size(), list),
       "Download them into the directory.");
}

/// Part `no` of a set says of itself what the first part says of it.
void check_part(const Part& part, const Part& first, uint64_t no, uint64_t count) {
  const auto expect = [&](std::string_view key, uint64_t limit, uint64_t expected) {
    const auto value = read_count(part, key, limit);
    if (value == expected) return;
    fail(part, key, fmt::format("{}, as part {} of the set of {}", expected, no + 1, first.source),
         value ? std::to_string(*value) : "no such key", "The parts are not of one set.");
  };
  expect(kSplitNo, kMostParts, no);
  expect(kSplitCount, kMostParts, count);
  const auto tensors = read_count(first, kSplitTensors, INT64_MAX);
  if (tensors) expect(kSplitTensors, INT64_MAX, *tensors);
}

void add_entries(Part& part, std::vector<TensorEntry>& entries) {
  const char* data = part.map->bytes().data() + part.header.data_begin;
  for (TensorRange& range : part.header.tensors) {
    // Offsets are multiples of the alignment, at least 8: every element lies aligned for its format.
    Tensor tensor{dense_view(data + range.begin, range.format, range.shape), part.map};
    tensor.view.packed = range.packed;
    entries.push_back({std::move(range.name), std::move(tensor), part.source});
  }
}

/// Sorts what several parts brought together.
void join(std::vector<TensorEntry>& entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].name != entries[i - 1].name) continue;
    throw invalid({fmt::format("{}: tensor \"{}\"", entries[i].file, printable(entries[i].name)),
                   "each name in one part", "it again (first in " + entries[i - 1].file + ")"});
  }
}

}  // namespace

bool has_gguf_name(const fs::path& file) {
  return file.extension() == ".gguf" || file.extension() == ".moxie";
}

GgufFile GgufFile::open(const fs::path& path) {
  Part first = open_part(path);
  GgufFile file;
  file.maps_.push_back(first.map);
  const uint64_t count = num_parts(first);
  if (count <= 1) {
    add_entries(first, file.entries_);
  } else {
    const std::vector<fs::path> paths = part_paths(first, path, count);
    add_entries(first, file.entries_);
    for (uint64_t i = 1; i < count; ++i) {
      Part part = open_part(paths[i]);
      check_part(part, first, i, count);
      add_entries(part, file.entries_);
      file.maps_.push_back(part.map);
    }
    join(file.entries_);
    const auto tensors = read_count(first, kSplitTensors, INT64_MAX);
    if (tensors && *tensors != file.entries_.size()) {
      fail(first, kSplitTensors, fmt::format("{}, the tensors of all parts", file.entries_.size()),
           std::to_string(*tensors), "The parts are not of one set.");
    }
  }
  file.metadata_ = std::move(first.header.metadata);
  file.metadata_end_ = first.header.metadata_end;
  return file;
}

std::string_view GgufFile::metadata_bytes(size_t index) const {
  const json::Object& members = metadata_.members();
  const size_t begin = members[index].key_offset + sizeof(uint64_t) + members[index].key.size();
  const size_t end = index + 1 < members.size() ? members[index + 1].key_offset : metadata_end_;
  return maps_.front()->bytes().substr(begin, end - begin);
}

}  // namespace moxie
