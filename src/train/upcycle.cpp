#include "train/upcycle.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/fnv1a.h"
#include "base/new_directory.h"
#include "base/rng.h"
#include "format/codec.h"
#include "model/model.h"
#include "plan/accounting.h"
#include "spec/config.h"
#include "store/checkpoint_write.h"
#include "text/text_files.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = size_t{4} << 20;
constexpr double kRouterStd = 0.02;

/// A tensor to write: a mapped one, or one to be made, plus normal noise.
struct Output {
  std::string name;
  View view;       // no data: zeros of this format and shape
  double std = 0;  // of what is added
};

// ---- values ----

float load(FormatId format, const void* row, int64_t i) {
  if (format == FormatId::f32) return static_cast<const float*>(row)[i];
  const uint16_t bits = static_cast<const uint16_t*>(row)[i];
  return format == FormatId::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}

void store(FormatId format, void* row, int64_t i, float value) {
  if (format == FormatId::f32) {
    static_cast<float*>(row)[i] = value;
  } else {
    static_cast<uint16_t*>(row)[i] = format == FormatId::bf16 ? f32_to_bf16(value) : f32_to_f16(value);
  }
}

const void* row_of(const View& view, int64_t row) {
  return static_cast<const char*>(view.data) + row * view.row_bytes;
}

double standard_deviation(const View& view) {
  double sum = 0, squares = 0;
  for (int64_t row = 0; row < view.num_rows(); ++row) {
    for (int64_t i = 0; i < view.shape.back(); ++i) {
      const double value = load(view.format, row_of(view, row), i);
      sum += value;
      squares += value * value;
    }
  }
  const double n = static_cast<double>(std::max<int64_t>(1, view.shape.num_elems()));
  return std::sqrt(std::max(0.0, squares / n - (sum / n) * (sum / n)));
}

/// How it is written: as it stands in the file, or made on the way.
MadeTensor made(const Output& output, uint64_t seed) {
  if (!output.view.empty() && output.std == 0) return made_of(output.name, output.view);
  const View& view = output.view;
  const Rng random(seed, fnv1a(output.name));
  const auto make_rows = [&output, &view, random](int64_t begin, int64_t end, char* out) {
    const int64_t columns = view.shape.back();
    for (int64_t row = begin; row < end; ++row, out += row_bytes(view.format, columns)) {
      for (int64_t i = 0; i < columns; ++i) {
        double value = view.empty() ? 0 : load(view.format, row_of(view, row), i);
        if (output.std > 0) value += output.std * random.normal(static_cast<uint64_t>(row * columns + i));
        store(view.format, out, i, static_cast<float>(value));
      }
    }
  };
  return {output.name, view.format, view.shape, make_rows};
}

View new_tensor(FormatId format, Shape shape) {
  return dense_view(nullptr, format, shape);
}

// ---- tensors ----

void add_router_and_shared(const ModelSpec& spec, const MoeSpec& ffn, const std::string& block, FormatId format,
                           std::vector<Output>& outputs) {
  const int64_t hidden = spec.hidden_size, width = ffn.shared_intermediate_size;
  outputs.push_back({block + spec.names.router, new_tensor(format, {ffn.num_experts, hidden}), kRouterStd});
  if (ffn.shared == SharedExpert::none) return;
  const std::string shared = block + spec.names.shared;
  outputs.push_back({shared + "gate_proj.weight", new_tensor(format, {width, hidden}), kRouterStd});
  outputs.push_back({shared + "up_proj.weight", new_tensor(format, {width, hidden}), kRouterStd});
  outputs.push_back({shared + "down_proj.weight", new_tensor(format, {hidden, width}), 0});
  outputs.push_back({block + spec.names.shared_gate, new_tensor(format, {1, hidden}), 0});
}

/// Every tensor of the new checkpoint, sorted by name.
std::vector<Output> plan_outputs(const Checkpoint& checkpoint, const ModelSpec& dense, const ModelSpec& sparse,
                                 double noise) {
  std::vector<Output> outputs;
  std::map<std::string, std::string> experts;  // of a dense matrix: the names its copies get
  for (int64_t l = 0; l < dense.num_layers; ++l) {
    const MoeSpec& ffn = sparse.layers[static_cast<size_t>(l)].ffn;
    if (ffn.is_dense()) continue;
    const std::string from = fmt::format(fmt::runtime(dense.names.layer), l) + dense.names.ffn;
    const std::string block = fmt::format(fmt::runtime(sparse.names.layer), l) + sparse.names.ffn;
    experts[from + dense.names.dense_gate] = block + sparse.names.expert_gate;
    experts[from + dense.names.dense_up] = block + sparse.names.expert_up;
    experts[from + dense.names.dense_down] = block + sparse.names.expert_down;
    const Tensor* gate = checkpoint.find(from + dense.names.dense_gate);
    MOXIE_CHECK(gate != nullptr);  // Model::load has bound it
    add_router_and_shared(sparse, ffn, block, gate->view.format, outputs);
  }
  const int64_t num_experts = [&] {
    for (const LayerSpec& layer : sparse.layers) {
      if (!layer.ffn.is_dense()) return layer.ffn.num_experts;
    }
    return int64_t{0};
  }();
  for (const TensorEntry& entry : checkpoint.entries()) {
    const View& view = entry.tensor.view;
    const auto found = experts.find(entry.name);
    if (found == experts.end()) {
      outputs.push_back({entry.name, view, 0});
      continue;
    }
    const double std = noise > 0 ? noise * standard_deviation(view) : 0;
    for (int64_t e = 0; e < num_experts; ++e) {
      outputs.push_back({fmt::format(fmt::runtime(found->second), e), view, std});
    }
  }
  std::sort(outputs.begin(), outputs.end(), [](const Output& a, const Output& b) { return a.name < b.name; });
  return outputs;
}

// ---- the checkpoint ----

UpcycleResult describe(const ModelSpec& dense, const ModelSpec& sparse, const UpcycleOptions& options) {
  UpcycleResult result;
  result.family = sparse.family;
  for (const LayerSpec& layer : sparse.layers) result.moe_layers += layer.ffn.is_dense() ? 0 : 1;
  result.dense_parameters = count_parameters(dense).total();
  result.total_parameters = count_parameters(sparse).total();
  result.active_parameters = active_parameters(sparse).full;
  if (options.shape.top_k == 1) {
    result.notices.emplace_back(
        "top-1 with gates that sum to 1: the gate is always 1, so the router gets no gradient from the task, only from "
        "the balance loss; top-2 avoids it");
  }
  if (options.noise > 0) result.notices.emplace_back("with noise the model starts near the dense loss, not at it");
  for (const LayerSpec& layer : sparse.layers) {
    if (layer.ffn.shared == SharedExpert::none) continue;
    result.notices.push_back(fmt::format("{} demands a shared expert: {} wide, its output starts at zero",
                                         sparse.family, layer.ffn.shared_intermediate_size));
    break;
  }
  return result;
}

}  // namespace

UpcycleResult upcycle(const fs::path& dense_path, const fs::path& out, const UpcycleOptions& options,
                      const std::function<void(double)>& progress) {
  MOXIE_CHECK(options.shard_bytes > 0);
  if (!std::isfinite(options.noise) || options.noise < 0) {
    throw make_error(ErrorCode::usage, "upcycle: expected a noise of 0 or more, got {}", options.noise);
  }
  NewDirectory directory(out);
  const std::string source = (dense_path / "config.json").string();
  const std::string text = read_file(source, kMaxConfigBytes);
  const ModelSpec dense = parse_config(text, source);
  const json::Value config = upcycled_config(json::parse(text, {.source = source}), dense, options.shape, source);
  const ModelSpec sparse = parse_config(config.dump(2), source);

  const Model model = Model::load(dense_path);  // every tensor is there and has the shape that config.json says
  const std::vector<Output> outputs = plan_outputs(model.checkpoint(), dense, sparse, options.noise);
  UpcycleResult result = describe(dense, sparse, options);
  for (const Output& output : outputs) result.bytes += output.view.num_bytes();
  check_room(out, result.bytes);

  std::vector<MadeTensor> tensors;
  for (const Output& output : outputs) tensors.push_back(made(output, options.seed));
  result.files = write_checkpoint(directory.path(), tensors, options.shard_bytes, progress);
  copy_text_files(dense_path, directory.path());
  AtomicFile file(directory.path() / "config.json");
  file.write(config.dump(2) + "\n");
  file.commit();
  Model::load(directory.path());  // it reads back
  directory.commit();
  return result;
}

}  // namespace moxie
