// moxie upcycle: a dense checkpoint becomes a Mixture-of-Experts one that starts at the dense loss.
#include "train/upcycle.h"

#include "cli/model_flags.h"

namespace moxie::cli {
namespace {

struct UpcycleFlags {
  std::string dense, out;
  UpcycleOptions options;
  bool as_json = false;
};

void run_upcycle(const UpcycleFlags& flags) {
  UpcycleResult result;
  {
    Progress progress;
    const std::filesystem::path dense = find_model(flags.dense);
    if (!std::filesystem::is_directory(dense)) {
      throw invalid({.where = dense.string(), .expected = "a model directory, to copy from", .got = "a GGUF file"});
    }
    result = upcycle(dense, flags.out, flags.options, [&](double share) { progress.show("write", share); });
  }
  for (const std::string& notice : result.notices) say("note   " + notice);
  if (flags.as_json) {
    json::Value out, notices{json::Array{}};
    for (const std::string& notice : result.notices) notices.push(notice);
    out.set("schema_version", 1).set("out", flags.out).set("family", result.family);
    out.set("moe_layers", result.moe_layers).set("experts", flags.options.shape.experts);
    out.set("top_k", flags.options.shape.top_k).set("dense_parameters", result.dense_parameters);
    out.set("total_parameters", result.total_parameters).set("active_parameters", result.active_parameters);
    print_json(out.set("bytes", result.bytes).set("files", result.files).set("notices", std::move(notices)));
    return;
  }
  fmt::print(
      "{}  {}: {} MoE layers x {} experts, top-{}; {:.2f} M parameters ({:.2f} M active) from {:.2f} M; {:.1f} MB "
      "in {} file{}\n",
      flags.out, result.family, result.moe_layers, flags.options.shape.experts, flags.options.shape.top_k,
      static_cast<double>(result.total_parameters) / 1e6, static_cast<double>(result.active_parameters) / 1e6,
      static_cast<double>(result.dense_parameters) / 1e6, static_cast<double>(result.bytes) / 1e6, result.files,
      result.files == 1 ? "" : "s");
}

}  // namespace

void add_upcycle(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("upcycle", "Turn a dense model into an MoE that starts at the dense loss");
  auto flags = std::make_shared<UpcycleFlags>();
  UpcycleConfig& shape = flags->options.shape;
  verb->add_option("model", flags->dense, "Dense model directory, or org/name in the Hugging Face cache")->required();
  verb->add_option("--out", flags->out, "Directory to make; it must not exist")->required();
  verb->add_option("--experts", shape.experts, "Experts a layer")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str();
  verb->add_option("--top-k", shape.top_k, "Experts a token visits")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str();
  verb->add_option("--every", shape.every, "Of every so many layers the last gets experts (qwen families)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 16))
      ->capture_default_str();
  verb->add_option("--noise", flags->options.noise, "Noise on each expert, as a share of its tensor's deviation")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  verb->add_option("--seed", flags->options.seed, "Seed of the routers and the noise")->capture_default_str();
  verb->add_flag("--json", flags->as_json, "Print one JSON object");
  verb->callback([flags] { run_upcycle(*flags); });
}

}  // namespace moxie::cli
