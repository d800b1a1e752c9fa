// What a GGUF file will hold: metadata, and for each tensor its rows and its format. Writes nothing.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/row_source.h"
#include "quantize/mix.h"
#include "spec/model_spec.h"
#include "store/gguf.h"

namespace moxie {

/// A format that the user chose for the tensors whose names fit a pattern (fits_glob).
struct FormatOverride {
  std::string pattern;
  FormatId format;
};

struct GgufPlanOptions {
  std::optional<Mix> mix;                 // none: every tensor keeps the format it has
  std::vector<FormatOverride> overrides;  // the first that fits counts; for tensors that may be quantized
  std::string pre;                        // as gguf_vocabulary takes it
  bool pack = false;                      // rows packed where they can be (format/packed.h): a file for moxie alone
};

struct PlannedTensor {
  std::string name;
  Shape shape;
  RowSource rows;
  FormatId format = FormatId::f32;
  bool packed = false;

  int64_t num_rows() const { return shape.num_elems() / shape.back(); }
  int64_t num_bytes() const { return row_bytes(format, shape.num_elems()); }
  /// The stacked experts of one matrix; 1 for all else.
  int64_t num_experts() const { return shape.rank() == 3 && name.find("_exps.") != std::string::npos ? shape[0] : 1; }
  /// Whether the file holds the source's very numbers.
  bool exact() const { return format == FormatId::f32 || rows.stored_format() == format; }
};

struct GgufPlan {
  GgufMetadata metadata;
  std::vector<PlannedTensor> tensors;
  std::vector<std::string> notes;      // what the user should know
  std::shared_ptr<const void> source;  // keeps alive what the rows point to

  int64_t num_bytes() const;
  int64_t num_elems() const;
};

/// Of a Hugging Face directory or a GGUF file. A tensor that stands in blocks already keeps them where the mix would
/// give it blocks of as many bits or more: nothing could be gained. Throws Error{invalid} as the readers of the source
/// do, as gguf_export and gguf_vocabulary; Error{usage} for an override that fits no tensor, or whose blocks do not fit
/// the rows of one.
GgufPlan plan_gguf(const std::filesystem::path& model, const GgufPlanOptions& options);

/// What a mix has to know of a model that becomes a file of that architecture.
MixFacts mix_facts(const ModelSpec& spec, std::string architecture);

/// The tensors as write_gguf takes them: rows copied where they stand in the format, else decoded and encoded. They
/// point into the plan.
std::vector<MadeTensor> to_write(const std::vector<PlannedTensor>& tensors);

/// f32 rows of `columns` into a format that GGUF files hold.
void encode_rows(FormatId format, const float* x, int64_t num_rows, int64_t columns, char* out);

}  // namespace moxie
