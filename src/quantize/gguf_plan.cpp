#include "quantize/gguf_plan.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/utf8.h"
#include "format/block.h"
#include "format/codec.h"
#include "model/binder.h"
#include "model/gguf_metadata.h"
#include "model/gguf_tensors.h"
#include "model/model_source.h"
#include "model/pack.h"

namespace moxie {
namespace {

constexpr std::string_view kFileType = "general.file_type", kQuantizationVersion = "general.quantization_version";

double bits_of(FormatId format) {
  const FormatInfo& info = format_info(format);
  return 8.0 * info.block_bytes / info.block_elems;
}

/// Chooses formats, and remembers which overrides were of use.
class Chooser {
 public:
  Chooser(const GgufPlanOptions& options, MixFacts facts)
      : options_(options), facts_(std::move(facts)), used_(options.overrides.size()) {}

  FormatId choose(const std::string& name, const Shape& shape, FormatId stored, FormatId if_fixed) {
    if (!may_be_quantized(name, shape)) return if_fixed;
    if (!computable(stored)) return stored;
    for (size_t i = 0; i < options_.overrides.size(); ++i) {
      const auto& [pattern, format] = options_.overrides[i];
      if (!fits_glob(pattern, name)) continue;
      used_[i] = true;
      const int block = format_info(format).block_elems;
      if (shape.back() % block == 0) return format;
      throw make_error(ErrorCode::usage, "{}={}: {} has rows of {}, which are not whole blocks of {}", pattern,
                       format_name(format), name, shape.back(), block);
    }
    if (!options_.mix) return stored;
    const FormatId wanted = mix_format(*options_.mix, facts_, name, shape);
    const FormatId chosen = fitting_format(wanted, shape.back());
    const bool keeps = is_block_format(chosen) && is_block_format(stored) && bits_of(stored) <= bits_of(chosen);
    num_unfit_ += chosen != wanted && !keeps;
    num_kept_ += keeps && stored != chosen;
    return keeps ? stored : chosen;
  }

  void finish(GgufPlan& plan) const {
    for (size_t i = 0; i < used_.size(); ++i) {
      if (used_[i]) continue;
      throw make_error(ErrorCode::usage,
                       "{}: no tensor that may be quantized has such a name. Names are those of GGUF, as in "
                       "'blk.*.ffn_down_exps'; quote patterns.",
                       options_.overrides[i].pattern);
    }
    if (num_unfit_ > 0) {
      plan.notes.push_back(
          fmt::format("{} tensors have rows that are not whole blocks of what {} gives them: they are in others, "
                      "which have more bits",
                      num_unfit_, options_.mix->name));
    }
    if (num_kept_ > 0) {
      plan.notes.push_back(fmt::format("{} tensors keep their blocks, which have no more bits than {} has", num_kept_,
                                       options_.mix->name));
    }
  }

 private:
  const GgufPlanOptions& options_;
  MixFacts facts_;
  std::vector<bool> used_;
  int num_kept_ = 0, num_unfit_ = 0;
};

// What general.file_type says of a file without a mix: the format of most of its numbers.
std::optional<uint32_t> guessed_file_type(const std::vector<PlannedTensor>& tensors) {
  std::map<FormatId, int64_t> elems;
  for (const PlannedTensor& tensor : tensors) elems[tensor.format] += tensor.shape.num_elems();
  if (elems.empty()) return std::nullopt;
  const FormatId most = std::max_element(elems.begin(), elems.end(), [](const auto& a, const auto& b) {
                          return a.second < b.second;
                        })->first;
  const std::optional<Mix> mix = find_mix(most == FormatId::mxfp4_block ? "mxfp4" : format_name(most));
  return mix ? std::optional(mix->file_type) : std::nullopt;
}

// Both keys, but for those that are there.
void put_file_type(const GgufPlanOptions& options, GgufPlan& plan) {
  const auto type = options.mix ? std::optional(options.mix->file_type) : guessed_file_type(plan.tensors);
  if (type && !plan.metadata.has(kFileType)) plan.metadata.set<uint32_t>(kFileType, *type);
  if (!plan.metadata.has(kQuantizationVersion)) plan.metadata.set<uint32_t>(kQuantizationVersion, 2);
}

// ---- from a directory ----

struct Bound {
  Checkpoint checkpoint;
  ModelWeights weights;
};

void put_tokenizer(const std::filesystem::path& directory, const ModelSource& source, const ModelSpec& spec,
                   const GgufPlanOptions& options, GgufPlan& plan) {
  std::error_code ignored;
  const bool has_one = std::filesystem::exists(directory / "tokenizer.json", ignored) ||
                       std::filesystem::exists(directory / "tokenizer.model", ignored);
  if (!has_one) {
    plan.notes.emplace_back("there is no tokenizer: the file takes and gives token ids only");
    return;
  }
  text::GgufVocabulary vocabulary = text::gguf_vocabulary(directory, spec.vocab_size, options.pre);
  const auto has_id = [&](std::string_view key) {
    return std::any_of(vocabulary.ids.begin(), vocabulary.ids.end(), [&](const auto& id) { return id.first == key; });
  };
  // A config may name what the tokenizer leaves out; a second end of an answer is the end of a turn.
  std::vector<int64_t> ends = source.generation_config().eos_token_id;
  if (ends.empty()) ends = spec.eos_token_ids;
  std::erase_if(ends, [&](int64_t id) { return id < 0 || id >= spec.vocab_size; });
  if (!has_id("bos_token_id") && spec.bos_token_id) {
    vocabulary.ids.emplace_back("bos_token_id", static_cast<int32_t>(*spec.bos_token_id));
  }
  if (!has_id("eos_token_id") && !ends.empty()) {
    vocabulary.ids.emplace_back("eos_token_id", static_cast<int32_t>(ends[0]));
  }
  for (const int64_t id : ends) {
    const bool is_eos = std::any_of(vocabulary.ids.begin(), vocabulary.ids.end(), [&](const auto& each) {
      return each.first == "eos_token_id" && each.second == id;
    });
    if (!is_eos && !has_id("eot_token_id")) vocabulary.ids.emplace_back("eot_token_id", static_cast<int32_t>(id));
  }
  put_vocabulary(vocabulary, plan.metadata);
  plan.notes.insert(plan.notes.end(), vocabulary.notes.begin(), vocabulary.notes.end());
}

GgufPlan plan_of_directory(const ModelSource& source, const GgufPlanOptions& options) {
  const std::filesystem::path& path = source.path();
  const ModelSpec spec = source.spec();
  const GgufExport made = gguf_export(spec, path.string());
  auto bound = std::make_shared<Bound>(Bound{source.checkpoint(spec), {}});
  bound->weights = bind_weights(spec, bound->checkpoint);
  GgufPlan plan{.notes = made.notes};
  Chooser chooser(options, mix_facts(spec, made.architecture));
  for (GgufRows& tensor : gguf_tensors(spec, made, &bound->weights)) {
    const FormatId format = chooser.choose(tensor.name, tensor.shape, tensor.rows.stored_format(), FormatId::f32);
    plan.tensors.push_back({std::move(tensor.name), tensor.shape, std::move(tensor.rows), format});
  }
  chooser.finish(plan);
  if (spec.quant_method == "fp8" && !options.mix) {
    plan.notes.emplace_back(
        "GGUF has no FP8: those matrices become f32, their very numbers; bf16 and q8_0 are smaller");
  }
  put_architecture(made, plan.metadata);
  plan.metadata.set_string("general.type", "model");
  const std::filesystem::path name = std::filesystem::absolute(path).lexically_normal();
  const std::string last = (name.has_filename() ? name : name.parent_path()).filename().string();
  if (utf8_error_offset(last) == std::string_view::npos) plan.metadata.set_string("general.name", last);
  put_file_type(options, plan);
  put_tokenizer(path, source, spec, options, plan);
  plan.source = std::move(bound);
  return plan;
}

// ---- from another file ----

GgufPlan plan_of_file(const ModelSource& source, const GgufPlanOptions& options) {
  const ModelSpec spec = source.spec();  // refuses architectures whose tensors we know nothing of
  auto file = std::make_shared<const GgufFile>(GgufFile::open(source.path()));
  GgufPlan plan;
  const json::Value* architecture = file->metadata().find("general.architecture");
  Chooser chooser(options, mix_facts(spec, architecture->as_string()));
  std::vector<const TensorEntry*> entries;
  for (const TensorEntry& entry : file->entries()) entries.push_back(&entry);
  std::stable_sort(entries.begin(), entries.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return std::pair(std::string_view(a->file), a->tensor.view.data) <
           std::pair(std::string_view(b->file), b->tensor.view.data);
  });
  for (const TensorEntry* entry : entries) {
    const View& view = entry->tensor.view;
    const FormatId format = chooser.choose(entry->name, view.shape, view.format, view.format);
    plan.tensors.push_back({entry->name, view.shape, RowSource(view), format});
  }
  chooser.finish(plan);
  for (size_t i = 0; i < file->metadata().members().size(); ++i) {
    const json::Member& member = file->metadata().members()[i];
    const bool of_parts = member.key.starts_with("split.") || member.key == "general.alignment";
    if (member.key == kFileType && options.mix) {
      plan.metadata.set<uint32_t>(kFileType, options.mix->file_type);
    } else if (!of_parts) {
      plan.metadata.copy(*file, i);
    }
  }
  put_file_type(options, plan);
  plan.source = std::move(file);
  return plan;
}

void make_rows(const PlannedTensor& tensor, int64_t begin, int64_t end, char* to) {
  constexpr int64_t kElemsAtOnce = 1 << 16;  // decoded before they are encoded: they stay in the cache
  if (tensor.rows.stands_as(tensor.format)) return tensor.rows.copy(tensor.format, begin, end, to);
  const int64_t columns = tensor.shape.back(), step = std::max<int64_t>(kElemsAtOnce / columns, 1);
  std::vector<float> rows(static_cast<size_t>(std::min(step, end - begin) * columns));
  for (int64_t i = begin; i < end; i += step) {
    const int64_t last = std::min(i + step, end);
    tensor.rows.decode(i, last, rows.data());
    encode_rows(tensor.format, rows.data(), last - i, columns, to);
    to += row_bytes(tensor.format, columns) * (last - i);
  }
}

}  // namespace

MixFacts mix_facts(const ModelSpec& spec, std::string architecture) {
  MixFacts facts{.architecture = std::move(architecture),
                 .num_layers = spec.num_layers,
                 .heads_per_kv = spec.attention.num_heads,
                 .tied = spec.tie_word_embeddings};
  if (spec.attention.kind == AttentionKind::gqa) facts.heads_per_kv /= spec.attention.num_kv_heads;
  for (const LayerSpec& layer : spec.layers) {
    if (layer.ffn.routed) facts.num_experts = layer.ffn.num_experts;
  }
  return facts;
}

int64_t GgufPlan::num_bytes() const {
  int64_t bytes = 0;
  for (const PlannedTensor& tensor : tensors) bytes += tensor.num_bytes();
  return bytes;
}

int64_t GgufPlan::num_elems() const {
  int64_t elems = 0;
  for (const PlannedTensor& tensor : tensors) elems += tensor.shape.num_elems();
  return elems;
}

GgufPlan plan_gguf(const std::filesystem::path& model, const GgufPlanOptions& options) {
  const ModelSource source = ModelSource::open(model);
  GgufPlan plan = source.is_gguf() ? plan_of_file(source, options) : plan_of_directory(source, options);
  for (PlannedTensor& tensor : plan.tensors) {
    tensor.packed = options.pack && can_be_packed(tensor.name, tensor.shape, tensor.format);
  }
  return plan;
}

void encode_rows(FormatId format, const float* x, int64_t num_rows, int64_t columns, char* out) {
  const int64_t elems = num_rows * columns;
  if (is_block_format(format)) return encode_blocks(format, x, elems, nullptr, out);
  if (format == FormatId::f32) return void(std::memcpy(out, x, static_cast<size_t>(elems) * sizeof(float)));
  MOXIE_CHECK(format == FormatId::f16 || format == FormatId::bf16);
  for (int64_t i = 0; i < elems; ++i) {
    const uint16_t bits = format == FormatId::f16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
    std::memcpy(out + 2 * i, &bits, sizeof bits);
  }
}

std::vector<MadeTensor> to_write(const std::vector<PlannedTensor>& tensors) {
  std::vector<MadeTensor> out;
  for (const PlannedTensor& tensor : tensors) {
    const auto make = [&tensor](int64_t begin, int64_t end, char* to) { make_rows(tensor, begin, end, to); };
    const MadeTensor made{tensor.name, tensor.format, tensor.shape, make};
    out.push_back(tensor.packed ? packed(made) : made);
  }
  return out;
}

}  // namespace moxie
