#include "cli/shape_flags.h"

#include <fmt/ranges.h>

#include "base/machine.h"
#include "cli/stop.h"
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
  return fmt::format("{}-{}.gguf", named ? shape : stem, format);
}

RandomModel ShapeFlags::make() const {
  const auto mix = find_mix(format);
  if (!mix) {
    throw make_error(ErrorCode::usage, "--format {}: expected one of {}", printable(format),
                     fmt::join(mix_names(), ", "));
  }
  return random_model(spec_of(shape), shape, {.mix = *mix, .seed = seed, .routing = routing});
}

void write_random_model(const RandomModel& model, const fs::path& path, int threads) {
  const int64_t all = model.num_bytes();
  std::error_code unknown;
  const fs::space_info space = fs::space(fs::absolute(path).parent_path(), unknown);
  if (!unknown && space.available < static_cast<uintmax_t>(all)) {
    throw make_error(ErrorCode::does_not_fit, "{}: the model takes {} MB, and the disk has {} MB left", path.string(),
                     all / 1'000'000, space.available / 1'000'000);
  }
  ThreadPool pool(threads > 0 ? threads : usable_threads());
  Progress progress(fmt::format("write {}", path.filename().string()));
  int64_t before = 0, last = 0;
  std::string_view current;
  write_gguf(path, model.metadata, model.tensors, pool, [&](const MadeTensor& tensor, int64_t tensor_bytes) {
    throw_if_stopped();
    if (tensor.name != current) before += std::exchange(last, 0);
    current = tensor.name;
    last = tensor_bytes;
    progress.show(static_cast<double>(before + tensor_bytes) / static_cast<double>(all));
  });
}

}  // namespace moxie::cli
