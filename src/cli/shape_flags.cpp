#include "cli/shape_flags.h"

#include <fmt/ranges.h>

#include "spec/config.h"
#include "spec/shapes.h"

namespace moxie::cli {
namespace {

namespace fs = std::filesystem;

ModelSpec spec_of(const std::string& shape) {
  if (const auto config = find_shape(shape)) return parse_config(*config, shape);
  std::error_code ignored;
  if (fs::exists(shape, ignored)) return load_config(shape);
  throw make_error(ErrorCode::usage, "--shape {}: expected a config.json, or one of {}", printable(shape),
                   fmt::join(shape_names(), ", "));
}

}  // namespace

void ShapeFlags::declare(CLI::App& verb) {
  verb.add_option("--shape", shape, fmt::format("A config.json, or one of {}", fmt::join(shape_names(), ", ")));
  verb.add_option("--format", format, fmt::format("Formats of the tensors: {}", fmt::join(mix_names(), ", ")))
      ->needs("--shape")
      ->capture_default_str();
  verb.add_option("--to", to, "gguf (default), or moxie: the same with packed rows, for moxie alone")
      ->check(CLI::IsMember({"gguf", "moxie"}))
      ->needs("--shape");
  verb.add_option("--routing", routing,
                  "How tokens should spread over experts: uniform, zipf:S, or a routing trace of a model with these "
                  "experts (default: as random routers spread them)")
      ->needs("--shape");
  verb.add_option("--seed", seed, "Seed of the weights")->needs("--shape")->capture_default_str();
}

std::string ShapeFlags::file_name() const {
  const bool named = find_shape(shape).has_value();
  const fs::path path = fs::absolute(shape).lexically_normal();
  const std::string stem = path.filename() == "config.json" ? path.parent_path().filename() : path.stem();
  return fmt::format("{}-{}.{}", named ? shape : stem, format, to.empty() ? "gguf" : to);
}

RandomModel ShapeFlags::write(const fs::path& path, int threads) const {
  const auto mix = find_mix(format);
  if (!mix) {
    throw make_error(ErrorCode::usage, "--format {}: expected one of {}", printable(format),
                     fmt::join(mix_names(), ", "));
  }
  const bool pack = to.empty() ? path.extension() == ".moxie" : to == "moxie";
  RandomModel model =
      random_model(spec_of(shape), shape, {.mix = *mix, .seed = seed, .routing = routing, .pack = pack});
  Progress progress;
  write_random_model(model, path, threads, [&](std::string_view doing, double share) { progress.show(doing, share); });
  return model;
}

}  // namespace moxie::cli
