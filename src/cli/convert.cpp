// moxie convert: a model becomes a GGUF file in the formats of a mix, or a Hugging Face directory, checked against its
// source.
#include "quantize/convert.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>

#include "cli/model_flags.h"
#include "cli/stop.h"
#include "quantize/hf_export.h"

namespace moxie::cli {
namespace {

struct ConvertFlags {
  std::string model, out, to, format, pre;
  std::vector<std::string> tensor_formats;
  ConvertOptions options;
  bool no_check = false, as_json = false;
};

std::optional<Mix> read_mix(const std::string& name) {
  if (name.empty() || name == "same") return std::nullopt;
  if (const auto mix = find_mix(name)) return mix;
  throw make_error(ErrorCode::usage, "--format {}: expected same (each tensor as it is), or one of {}", name,
                   fmt::join(mix_names(), ", "));
}

// "blk.*.ffn_down_exps.weight=q6_k"; a pattern may leave out ".weight".
FormatOverride read_override(const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) {
    throw make_error(ErrorCode::usage, "--tensor-format {}: expected PATTERN=FORMAT", text);
  }
  const std::string name = text.substr(equals + 1);
  const std::optional<FormatId> format = find_writable_format(name);
  if (!format) {
    throw make_error(ErrorCode::usage, "--tensor-format {}: no format \"{}\"; expected one of {}", text, name,
                     fmt::join(writable_format_names(), ", "));
  }
  std::string pattern = text.substr(0, equals);
  if (!pattern.ends_with("weight") && !pattern.ends_with('*')) pattern += ".weight";
  return {std::move(pattern), *format};
}

double bits_a_weight(int64_t bytes, int64_t elems) {
  return elems == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elems);
}

json::Value as_json(const ConvertFlags& flags, const ConvertReport& report) {
  json::Value out, formats{json::Array{}}, worst{json::Array{}}, notes{json::Array{}};
  for (const auto& [format, use] : report.formats) {
    json::Value row;
    row.set("format", format_name(format)).set("tensors", use.tensors).set("elements", use.elems);
    row.set("bytes", use.bytes).set("matrices", use.matrices);
    formats.push(row.set("mean_error", use.mean_error).set("worst_error", use.worst_error));
  }
  for (const WorstExpert& each : report.worst) {
    json::Value row;
    row.set("tensor", each.tensor).set("expert", each.expert < 0 ? json::Value() : json::Value(each.expert));
    worst.push(row.set("format", format_name(each.format)).set("error", each.error));
  }
  for (const std::string& note : report.notes) notes.push(note);
  out.set("schema_version", 1).set("out", flags.out).set("format", flags.format.empty() ? "same" : flags.format);
  out.set("bytes", report.bytes).set("elements", report.elems).set("tensors", report.tensors);
  out.set("bits_per_weight", bits_a_weight(report.bytes, report.elems));
  out.set("formats", std::move(formats)).set("worst", std::move(worst));
  json::Value logits;
  if (report.logits) {
    logits.set("tokens", report.logits->tokens).set("identical", report.logits->identical);
    logits.set("largest_difference", report.logits->largest).set("mean_kl", report.logits->mean_divergence);
    logits.set("same_best", report.logits->same_best);
  }
  out.set("logits", std::move(logits)).set("notes", std::move(notes));
  return out.set("seconds", report.seconds);
}

void print_report(const ConvertFlags& flags, const ConvertReport& report) {
  fmt::print("{}  {:.1f} MB  {} tensors  {:.2f} M weights  {:.2f} bits a weight  {:.1f} s\n\n", flags.out,
             static_cast<double>(report.bytes) / 1e6, report.tensors, static_cast<double>(report.elems) / 1e6,
             bits_a_weight(report.bytes, report.elems), report.seconds);
  fmt::print("{:<12} {:>8} {:>10} {:>10}  {:>10} {:>10}\n", "format", "tensors", "M weights", "MB", "mean error",
             "worst");
  for (const auto& [format, use] : report.formats) {
    fmt::print("{:<12} {:>8} {:>10.2f} {:>10.2f}  {:>10.5f} {:>10.5f}\n", format_name(format), use.tensors,
               static_cast<double>(use.elems) / 1e6, static_cast<double>(use.bytes) / 1e6, use.mean_error,
               use.worst_error);
  }
  if (!report.worst.empty()) fmt::print("\nfurthest from the source (root of squared differences over squares):\n");
  for (const WorstExpert& each : report.worst) {
    fmt::print("{:.5f}  {:<8} {}{}\n", each.error, format_name(each.format), each.tensor,
               each.expert < 0 ? "" : fmt::format("  expert {}", each.expert));
  }
  if (const auto& logits = report.logits) {
    fmt::print("\nlogits of {} tokens: {}\n", logits->tokens,
               logits->identical ? std::string("the same bits")
                                 : fmt::format("KL {:.2g} nats a token, largest difference {:.2g}, same best {}",
                                               logits->mean_divergence, logits->largest, logits->same_best));
  }
}

// ---- a Hugging Face directory ----

FormatId read_hf_format(const ConvertFlags& flags) {
  const auto refuse = [](bool given, std::string_view flag) {
    if (given) throw make_error(ErrorCode::usage, "{}: only a GGUF file is written so (--to gguf or moxie)", flag);
  };
  refuse(!flags.tensor_formats.empty(), "--tensor-format");
  refuse(!flags.pre.empty(), "--pre");
  refuse(flags.options.overwrite, "--force");
  refuse(flags.no_check, "--no-check");
  if (flags.format.empty()) return FormatId::bf16;
  for (const FormatId format : {FormatId::bf16, FormatId::f16, FormatId::f32}) {
    if (flags.format == format_name(format)) return format;
  }
  throw make_error(ErrorCode::usage, "--format {}: expected bf16, f16 or f32 for {}, a Hugging Face directory",
                   flags.format, flags.out);
}

json::Value as_json(const ConvertFlags& flags, FormatId format, const HfExportResult& result, double seconds) {
  json::Value out, experts{json::Array{}}, notes{json::Array{}};
  const auto sum = [](uint32_t crc) { return fmt::format("{:08x}", crc); };
  for (const ExpertCheck& each : result.experts) {
    json::Value row;
    row.set("layer", each.layer).set("expert", each.expert);
    experts.push(row.set("source_crc32c", sum(each.source)).set("written_crc32c", sum(each.written)));
  }
  for (const std::string& note : result.notices) notes.push(note);
  out.set("schema_version", 1).set("out", flags.out).set("family", result.family).set("format", format_name(format));
  out.set("bytes", result.bytes).set("elements", result.num_parameters).set("tensors", result.num_tensors);
  out.set("files", result.files).set("experts", std::move(experts)).set("notes", std::move(notes));
  return out.set("seconds", seconds);
}

void print_report(const ConvertFlags& flags, FormatId format, const HfExportResult& result, double seconds) {
  fmt::print("{}  {}  {}  {:.1f} MB  {} tensors in {} {}  {:.2f} M weights  {:.1f} s\n", flags.out, result.family,
             format_name(format), static_cast<double>(result.bytes) / 1e6, result.num_tensors, result.files,
             result.files == 1 ? "file" : "files", static_cast<double>(result.num_parameters) / 1e6, seconds);
  if (result.experts.empty()) return;
  const auto equal = std::count_if(result.experts.begin(), result.experts.end(),
                                   [](const ExpertCheck& each) { return each.source == each.written; });
  fmt::print("checksums of {} experts: {} equal\n", result.experts.size(), equal);
}

void run_to_hf(const ConvertFlags& flags) {
  const FormatId format = read_hf_format(flags);
  const auto start = std::chrono::steady_clock::now();
  HfExportResult result;
  {
    Progress progress;
    result = export_hf(ModelSource::open(find_model(flags.model)), flags.out, {.format = format},
                       [&](std::string_view doing, double share) { progress.show(doing, share); });
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const std::string& note : result.notices) say("note   " + note);
  if (flags.as_json) return print_json(as_json(flags, format, result, seconds));
  print_report(flags, format, result, seconds);
}

// ---- a GGUF file ----

void run_to_gguf(ConvertFlags& flags) {
  flags.options.plan.mix = read_mix(flags.format);
  flags.options.plan.pre = flags.pre;
  for (const std::string& each : flags.tensor_formats) flags.options.plan.overrides.push_back(read_override(each));
  flags.options.check_logits = !flags.no_check;
  ConvertReport report;
  {
    Progress progress;
    report = convert_to_gguf(find_model(flags.model), flags.out, flags.options,
                             [&](std::string_view doing, double share) { progress.show(doing, share); });
  }
  for (const std::string& note : report.notes) say("note   " + note);
  if (flags.as_json) return print_json(as_json(flags, report));
  print_report(flags, report);
}

// Names of files that nobody means as directories.
void refuse_ending(const std::string& out) {
  for (const std::string_view ending : {".bin", ".safetensors", ".pt", ".pth", ".ggml", ".onnx"}) {
    if (!out.ends_with(ending)) continue;
    throw make_error(ErrorCode::usage,
                     "{}: expected a name that ends in .gguf or .moxie, or a directory; --to takes any", out);
  }
}

void run_convert(ConvertFlags& flags) {
  catch_stop();
  if (flags.to.empty()) refuse_ending(flags.out);
  const std::string to = !flags.to.empty()               ? flags.to
                         : flags.out.ends_with(".gguf")  ? "gguf"
                         : flags.out.ends_with(".moxie") ? "moxie"
                                                         : "hf";
  if (to == "hf") return run_to_hf(flags);
  flags.options.plan.pack = to == "moxie";
  run_to_gguf(flags);
}

}  // namespace

void add_convert(CLI::App& app) {
  CLI::App* verb = app.add_subcommand(
      "convert",
      "Write a model as a GGUF file, in fewer bits if asked to, or as a Hugging Face directory, and check it");
  auto flags = std::make_shared<ConvertFlags>();
  verb->add_option("model", flags->model, "Model directory, .gguf file, or org/name in the Hugging Face cache")
      ->required();
  verb->add_option("out", flags->out, "File or directory to write")->required();
  verb->add_option("--to", flags->to,
                   "gguf; moxie: the same with packed rows, for moxie alone; hf: a directory. Without it, as OUT ends "
                   "in .gguf or "
                   ".moxie, else hf")
      ->check(CLI::IsMember({"gguf", "moxie", "hf"}));
  verb->add_option("--format", flags->format,
                   fmt::format("Formats of the tensors. gguf: same (as they are), {}; hf: bf16 (default), f16, f32",
                               fmt::join(mix_names(), ", ")));
  verb->add_option(
          "--tensor-format", flags->tensor_formats,
          "PATTERN=FORMAT for tensors whose names fit ('blk.*.ffn_down_exps=q6_k'); the first that fits counts")
      ->allow_extra_args(false);
  verb->add_option("--pre", flags->pre, "tokenizer.ggml.pre to write; without it, the one that splits alike");
  verb->add_option("-t,--threads", flags->options.threads, "Threads (default: what the machine gives)")
      ->envname("MOXIE_THREADS")
      ->check(CLI::Range(1, 1024));
  verb->add_flag("--force", flags->options.overwrite, "Write over a file that exists");
  verb->add_flag("--no-check", flags->no_check, "Do not run both models to compare their logits");
  verb->add_flag("--json", flags->as_json, "Print one JSON object");
  verb->callback([flags] { run_convert(*flags); });
}

}  // namespace moxie::cli
