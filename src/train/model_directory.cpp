#include "train/model_directory.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/file.h"
#include "base/new_directory.h"
#include "format/codec.h"

namespace moxie {
namespace {

// A dense f32 view rounded to bf16.
View rounded(const View& view, std::vector<Tensor>& owners) {
  const auto count = static_cast<size_t>(view.shape.num_elems());
  auto data = std::make_shared<std::vector<uint16_t>>(count);
  const float* from = view.f32();
  for (size_t i = 0; i < count; ++i) (*data)[i] = f32_to_bf16(from[i]);
  owners.push_back({dense_view(data->data(), FormatId::bf16, view.shape), data});
  return owners.back().view;
}

bool is_selection_bias(const Parameters& parameters, const std::string& name) {
  for (const Parameter& parameter : parameters.list()) {
    if (parameter.kind == ParameterKind::selection_bias && parameter.name == name) return true;
  }
  return false;
}

}  // namespace

std::vector<TrainData::ExportFile> model_texts(const ModelFiles& files, FormatId format) {
  json::Value config, generation;
  for (const json::Member& member : files.config.members()) {
    if (member.key != "torch_dtype" && member.key != "dtype") config.set(member.key, member.value);
  }
  config.set("torch_dtype", format == FormatId::bf16 ? "bfloat16" : "float32");
  generation.set("do_sample", true).set("temperature", 0.8).set("top_p", 0.95);
  std::vector<TrainData::ExportFile> texts = files.tokenizer;
  texts.push_back({"config.json", config.dump(2) + "\n"});
  texts.push_back({"generation_config.json", generation.dump(2) + "\n"});
  return texts;
}

void write_model(const std::filesystem::path& directory, const Parameters& parameters, const ModelFiles& files,
                 FormatId format) {
  for (const TrainData::ExportFile& text : model_texts(files, format)) {
    AtomicFile file(directory / text.name);
    file.write(text.text);
    file.commit();
  }
  std::vector<Tensor> owners;
  std::vector<NamedView> tensors = parameters.export_tensors(parameters.values(), owners);
  if (format == FormatId::bf16) {
    for (NamedView& tensor : tensors) {
      if (!is_selection_bias(parameters, tensor.name)) tensor.view = rounded(tensor.view, owners);
    }
  }
  write_safetensors(directory / "model.safetensors", tensors, {{"format", "pt"}});
}

void replace_directory(const std::filesystem::path& made, const std::filesystem::path& target) {
  const auto done = [&](int result) {
    if (result == 0) return true;
    // Any other reason is the disk's, and the old directory has to stay.
    constexpr int kReasons[] = {EEXIST, ENOTEMPTY, ENOTDIR, EINVAL, ENOSYS};
    if (std::find(std::begin(kReasons), std::end(kReasons), errno) != std::end(kReasons)) return false;
    throw make_error(ErrorCode::runtime, "{}: rename failed: {}", target.string(), std::strerror(errno));
  };
  if (!done(::rename(made.c_str(), target.c_str()))) {
    // Something is there. Where the file system cannot exchange two names, the old one has to go first.
    if (done(::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE))) {
      std::filesystem::remove_all(made);
    } else {
      std::filesystem::remove_all(target);
      if (!done(::rename(made.c_str(), target.c_str()))) {
        throw make_error(ErrorCode::runtime, "{}: something stands in its place", target.string());
      }
    }
  }
  sync_directory(target.parent_path());
}

void export_model(const std::filesystem::path& target, const Parameters& parameters, const ModelFiles& files,
                  FormatId format) {
  std::filesystem::path made = target;
  made += ".tmp";
  try {
    std::filesystem::remove_all(made);
    std::filesystem::create_directories(made);
    write_model(made, parameters, files, format);
    sync_directory(made);
    replace_directory(made, target);
  } catch (const std::filesystem::filesystem_error& error) {
    throw make_error(ErrorCode::runtime, "{}: {}", target.string(), error.what());
  }
}

}  // namespace moxie
