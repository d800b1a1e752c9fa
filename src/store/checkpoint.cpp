// Checkpoints: finding the files of one, and joining the shards an index names.
#include <algorithm>
#include <set>

#include "base/json.h"
#include "store/gguf.h"
#include "store/safetensors.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxIndexBytes = 100'000'000;
constexpr size_t kMaxListed = 8;
constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kPickleReason =
    "A pickle can run code when it is read, so moxie never reads one; convert it to safetensors.";

bool is_pickle_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt" ||
         extension == ".pkl";
}

/// "a, b, c and 5 more".
std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMaxListed); ++i) {
    text += (i > 0 ? ", " : "") + printable(names[i], 200);
  }
  if (names.size() > kMaxListed) text += fmt::format(" and {} more", names.size() - kMaxListed);
  return text;
}

[[noreturn]] void no_weights(const fs::path& directory) {
  std::vector<std::string> pickles;
  std::vector<std::string> others;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (is_pickle_name(entry.path())) pickles.push_back(name);
    if (entry.path().extension() == ".safetensors" || has_gguf_name(entry.path())) others.push_back(name);
  }
  std::sort(pickles.begin(), pickles.end());
  std::sort(others.begin(), others.end());
  std::string got = "neither";
  std::string hint;
  if (!others.empty()) {
    got = "only " + list(others);
    hint = "Name the file itself to load one .safetensors file.";
  } else if (!pickles.empty()) {
    got = "only " + list(pickles);
    hint = kPickleReason;
  }
  throw invalid({directory.string(), fmt::format("{} or {}", kSingleName, kIndexName), got, hint});
}

}  // namespace

ShardIndex parse_shard_index(std::string_view text, const std::string& source) {
  const json::Value root = json::parse(text, {.source = source});
  const auto fail = [&](std::string_view field, size_t offset, std::string expected, std::string got) {
    throw invalid({fmt::format("{}: {} at byte {}", source, field, offset), std::move(expected), std::move(got)});
  };
  const json::Value* map = root.find("weight_map");
  if (map == nullptr || !map->is_object()) {
    fail("weight_map", map == nullptr ? root.offset() : map->offset(), "an object",
         map == nullptr ? "no such field" : std::string(json::type_name(map->type())));
  }
  ShardIndex index;
  for (const auto& [name, shard, key_offset] : map->members()) {
    const std::string field = fmt::format("weight_map \"{}\"", printable(name));
    if (!shard.is_string()) fail(field, shard.offset(), "a string", std::string(json::type_name(shard.type())));
    const std::string& file = shard.as_string();
    // The name is joined to the directory: anything that could lead out of it is refused.
    const bool is_plain = file.find_first_of(std::string_view("/\\:\0", 4)) == std::string::npos;
    if (!is_plain || !file.ends_with(".safetensors") || file.front() == '.') {
      fail(field, shard.offset(), "the plain name of a .safetensors file in the same directory",
           fmt::format("\"{}\"", printable(file)));
    }
    index.shards[file].push_back(name);
  }
  if (index.shards.empty()) fail("weight_map", map->offset(), "at least one tensor", "none");
  for (auto& [shard, names] : index.shards) std::sort(names.begin(), names.end());
  const json::Value* metadata = root.find("metadata");
  const json::Value* total = metadata == nullptr ? nullptr : metadata->find("total_size");
  if (total != nullptr && total->as_int()) index.total_size = *total->as_int();
  return index;
}

Checkpoint Checkpoint::open(const fs::path& path) {
  std::error_code ignored;
  const bool is_directory = fs::is_directory(path, ignored);
  if (!is_directory && is_pickle_name(path)) {
    throw invalid({path.string(), "a .safetensors file", "a pickle by its name", std::string(kPickleReason)});
  }
  if (!is_directory && path.string().ends_with(".index.json")) return open_sharded(path);
  fs::path file = path;
  if (is_directory) {
    // symlink_status: a dangling or looping link named model.safetensors is to be reported, not passed over.
    file = path / kSingleName;
    if (!fs::exists(fs::symlink_status(file, ignored))) {
      const fs::path index = path / kIndexName;
      if (!fs::exists(fs::symlink_status(index, ignored))) no_weights(path);
      return open_sharded(index);
    }
  }
  Checkpoint checkpoint;
  checkpoint.add(SafetensorsFile::open(file));
  return checkpoint;
}

Checkpoint Checkpoint::from_entries(std::vector<std::shared_ptr<const MappedFile>> maps,
                                    std::vector<TensorEntry> entries) {
  Checkpoint checkpoint;
  checkpoint.maps_ = std::move(maps);
  checkpoint.entries_ = std::move(entries);
  const auto& all = checkpoint.entries_;
  std::stable_sort(checkpoint.entries_.begin(), checkpoint.entries_.end(),
                   [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  for (size_t i = 1; i < all.size(); ++i) {
    if (all[i].name != all[i - 1].name) continue;
    throw invalid({fmt::format("{}: tensor \"{}\"", all[i].file, printable(all[i].name)), "each name once",
                   "it again (first in " + all[i - 1].file + ")"});
  }
  return checkpoint;
}

void Checkpoint::add(SafetensorsFile file) {
  maps_.push_back(std::move(file.map_));
  metadata_.merge(file.metadata_);
  std::move(file.entries_.begin(), file.entries_.end(), std::back_inserter(entries_));
}

Checkpoint Checkpoint::open_sharded(const fs::path& index_path) {
  const ShardIndex index = parse_shard_index(read_file(index_path, kMaxIndexBytes), index_path.string());
  const fs::path directory = index_path.parent_path();
  std::vector<std::string> missing;
  for (const auto& [shard, names] : index.shards) {
    std::error_code ignored;
    if (!fs::exists(fs::symlink_status(directory / shard, ignored))) missing.push_back(shard);
  }
  if (!missing.empty()) {
    throw invalid({index_path.string(), fmt::format("{} shards", index.shards.size()),
                   fmt::format("{} missing: {}", missing.size(), list(missing)), "Download them into the directory."});
  }

  Checkpoint checkpoint;
  std::vector<std::string> absent, extra;
  for (const auto& [shard, names] : index.shards) {
    SafetensorsFile file = SafetensorsFile::open(directory / shard);
    std::vector<std::string> held;
    held.reserve(file.entries().size());
    for (const TensorEntry& entry : file.entries()) held.push_back(entry.name);
    std::set_difference(names.begin(), names.end(), held.begin(), held.end(), std::back_inserter(absent));
    std::vector<std::string> unnamed;
    std::set_difference(held.begin(), held.end(), names.begin(), names.end(), std::back_inserter(unnamed));
    for (const std::string& name : unnamed) extra.push_back(fmt::format("{} in {}", name, shard));
    if (!absent.empty()) {
      throw invalid({(directory / shard).string(), "the tensors " + std::string(kIndexName) + " places here",
                     "none named " + list(absent), "Index and shards are not of one revision."});
    }
    checkpoint.add(std::move(file));
  }
  if (!extra.empty()) {
    throw invalid({index_path.string(), "every tensor of the shards in weight_map, in its shard",
                   "others beside: " + list(extra), "Index and shards are not of one revision."});
  }
  std::sort(checkpoint.entries_.begin(), checkpoint.entries_.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.name < b.name; });
  if (index.total_size && *index.total_size != checkpoint.total_bytes()) {
    throw invalid({index_path.string() + ": metadata total_size",
                   fmt::format("{}, the bytes of all tensors", checkpoint.total_bytes()),
                   std::to_string(*index.total_size), "Index and shards are not of one revision."});
  }
  return checkpoint;
}

const Tensor* Checkpoint::find(std::string_view name) const {
  const auto entry = std::lower_bound(entries_.begin(), entries_.end(), name,
                                      [](const TensorEntry& a, std::string_view b) { return a.name < b; });
  return entry != entries_.end() && entry->name == name ? &entry->tensor : nullptr;
}

int64_t Checkpoint::total_bytes() const {
  int64_t total = 0;
  for (const TensorEntry& entry : entries_) total += entry.tensor.view.num_bytes();
  return total;
}

void Checkpoint::check_unchanged() const {
  for (const auto& map : maps_) map->check_unchanged();
}

}  // namespace moxie
