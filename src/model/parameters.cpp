#include "model/parameters.h"

#include <sys/mman.h>

#include <cmath>
#include <cstring>

#include "base/fnv1a.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "model/parameter_slots.h"
#include "spec/config.h"

namespace moxie {
namespace {

constexpr int64_t kAlignment = 16;  // floats: a cache line

// Where the next parameter begins after one of that shape.
int64_t end_of(const Parameter& parameter) {
  int64_t size = 1;
  bool overflow = false;
  for (const int64_t dim : parameter.shape.dims()) overflow |= __builtin_mul_overflow(size, dim, &size);
  overflow |= __builtin_add_overflow(parameter.offset, size, &size);
  if (overflow || size > (int64_t{1} << 60)) {
    throw make_error(ErrorCode::does_not_fit, "the parameters up to {} are more than any machine holds",
                     parameter.name);
  }
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

// What two configs of one architecture must agree on, by the name of the part they differ in; empty: nothing.
std::string difference(const ModelSpec& a, const ModelSpec& b) {
  if (a.hidden_size != b.hidden_size) return "hidden_size";
  if (a.num_layers != b.num_layers) return "num_hidden_layers";
  if (a.vocab_size != b.vocab_size) return "vocab_size";
  if (a.norm != b.norm || a.norm_eps != b.norm_eps) return "the norms";
  if (a.tie_word_embeddings != b.tie_word_embeddings) return "tie_word_embeddings";
  if (a.lm_head_bias != b.lm_head_bias) return "lm_head_bias";
  if (a.embedding_multiplier != b.embedding_multiplier || a.residual_multiplier != b.residual_multiplier ||
      a.logits_scaling != b.logits_scaling) {
    return "the multipliers";
  }
  if (!(a.attention == b.attention)) return "the attention";
  if (!(a.rope == b.rope)) return "the rotary embedding";
  for (size_t layer = 0; layer < a.layers.size(); ++layer) {
    if (a.layers[layer].window != b.layers[layer].window) return fmt::format("the window of layer {}", layer);
    if (!(a.layers[layer].ffn == b.layers[layer].ffn)) return fmt::format("the feed-forward block of layer {}", layer);
  }
  return "";
}

void copy_matrix(const View& from, const View& to) {
  const KernelSet& kernels = *find_kernel_set("ref");
  auto* out = static_cast<float*>(const_cast<void*>(to.data));
  const int64_t columns = from.shape.back();
  for (int64_t row = 0; row < from.num_rows(); ++row) {
    decode_row(kernels, from, row, out + row * columns);
  }
}

}  // namespace

Parameters::Parameters(const ModelSpec& spec, bool router_noise) : spec_(spec) {
  const std::vector<ParameterSlot> slots = parameter_slots(spec_, router_noise, weights_);
  list_.reserve(slots.size());
  for (const ParameterSlot& slot : slots) {
    Parameter& parameter = list_.emplace_back(slot.parameter);
    parameter.offset = size_;
    size_ = end_of(parameter);
  }
  values_ = new_block();
  for (size_t i = 0; i < slots.size(); ++i) {
    const float* at = values_.get() + list_[i].offset;
    if (slots[i].matrix != nullptr) {
      *slots[i].matrix = dense_view(at, FormatId::f32, list_[i].shape);
    } else {
      *slots[i].vector = at;
    }
  }
  if (spec_.tie_word_embeddings) weights_.lm_head = weights_.embedding;
}

int64_t Parameters::num_parameters() const {
  int64_t count = 0;
  for (const Parameter& parameter : list_) count += parameter.shape.num_elems();
  return count;
}

std::shared_ptr<float> Parameters::new_block() const {
  const size_t bytes = static_cast<size_t>(size_) * sizeof(float);
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw make_error(ErrorCode::does_not_fit, "no memory for {} bytes of parameters", bytes);
  }
  return {static_cast<float*>(memory), [bytes](float* block) { ::munmap(block, bytes); }};
}

void Parameters::load(const std::filesystem::path& directory) {
  const ModelSpec other = load_config(directory);
  const std::string part = difference(spec_, other);
  if (!part.empty()) {
    throw invalid({.where = directory.string() + "/config.json",
                   .expected = "the architecture that is trained",
                   .got = "another one: they differ in " + part});
  }
  const Checkpoint checkpoint = Checkpoint::open(directory);
  ModelWeights bound = bind_weights(other, checkpoint);
  // Without the learned noise of routers, which no checkpoint holds; otherwise both walks give the same list.
  const std::vector<ParameterSlot> from = parameter_slots(other, false, bound);
  const std::vector<ParameterSlot> to = parameter_slots(spec_, false, weights_);
  MOXIE_CHECK(from.size() == to.size());
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i].matrix != nullptr) {
      copy_matrix(*from[i].matrix, *to[i].matrix);
    } else {
      std::memcpy(const_cast<float*>(*to[i].vector), *from[i].vector,
                  static_cast<size_t>(to[i].parameter.shape.num_elems()) * sizeof(float));
    }
  }
}

void initialise(Parameters& parameters, uint64_t seed, float std, float router_std) {
  const ModelSpec& spec = parameters.spec();
  ModelWeights unused;
  const bool noise = parameters.list().size() != parameter_slots(spec, false, unused).size();
  const std::vector<ParameterSlot> slots = parameter_slots(spec, noise, unused);
  const auto branch = 1 / std::sqrt(2 * static_cast<float>(spec.num_layers));
  for (size_t i = 0; i < slots.size(); ++i) {
    const Parameter& parameter = parameters.list()[i];
    float* values = parameters.values() + parameter.offset;
    const int64_t size = parameter.shape.num_elems();
    if (slots[i].vector != nullptr) {  // the vectors called weights are those of norms
      std::fill_n(values, size, parameter.name.ends_with(".weight") ? 1.0f : 0.0f);
      continue;
    }
    float scale = parameter.kind == ParameterKind::router ? router_std : std;
    if (slots[i].ends_branch) scale *= branch;
    if (parameter.training_only) scale = 0;
    const Rng rng(seed, fnv1a(parameter.name));
    for (int64_t j = 0; j < size; ++j) values[j] = scale * rng.normal(static_cast<uint64_t>(j));
  }
}

}  // namespace moxie
