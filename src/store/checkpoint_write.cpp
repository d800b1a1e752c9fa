#include "store/checkpoint_write.h"

#include <algorithm>

#include "base/json.h"

namespace moxie {
namespace {

/// Cuts tensors into runs of at most `shard_bytes`: the first of each, and the end.
std::vector<size_t> shard_begins(std::span<const MadeTensor> tensors, int64_t shard_bytes) {
  std::vector<size_t> begins = {0};
  int64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t more = tensors[i].num_bytes();
    if (bytes > 0 && more > shard_bytes - bytes) {
      begins.push_back(i);
      bytes = 0;
    }
    bytes += more;
  }
  begins.push_back(tensors.size());
  return begins;
}

}  // namespace

int64_t write_checkpoint(const std::filesystem::path& directory, std::span<const MadeTensor> tensors,
                         int64_t shard_bytes, const std::function<void(double)>& progress) {
  const std::vector<size_t> begins = shard_begins(tensors, shard_bytes);
  const size_t shards = begins.size() - 1;
  int64_t total = 0, done = 0;
  for (const MadeTensor& tensor : tensors) total += tensor.num_bytes();
  json::Value weight_map{json::Object{}};
  for (size_t s = 0; s < shards; ++s) {
    const std::string name =
        shards == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards);
    std::vector<MadeTensor> run(tensors.begin() + static_cast<ptrdiff_t>(begins[s]),
                                tensors.begin() + static_cast<ptrdiff_t>(begins[s + 1]));
    for (MadeTensor& tensor : run) {
      weight_map.set(tensor.name, name);
      tensor.make_rows = [&, make = std::move(tensor.make_rows), row = row_bytes(tensor.format, tensor.shape.back())](
                             int64_t begin, int64_t end, char* out) {
        make(begin, end, out);
        done += (end - begin) * row;
        progress(static_cast<double>(done) / static_cast<double>(total));
      };
    }
    stream_safetensors(directory / name, run, {{"format", "pt"}});
  }
  if (shards > 1) {
    json::Value metadata, index;
    metadata.set("total_size", total);
    index.set("metadata", std::move(metadata)).set("weight_map", std::move(weight_map));
    AtomicFile file(directory / "model.safetensors.index.json");
    file.write(index.dump(2) + "\n");
    file.commit();
  }
  return static_cast<int64_t>(shards);
}

}  // namespace moxie
