// A trained model as a Hugging Face model directory: what `moxie run` and transformers load. Not a checkpoint of a run.
#pragma once

#include "train/data.h"

namespace moxie {

/// What stands in a model directory beside the weights.
struct ModelFiles {
  json::Value config;                            // config.json without a dtype
  std::vector<TrainData::ExportFile> tokenizer;  // as TrainData::tokenizer_files
};

/// Files of a model directory but model.safetensors, with their contents. `format`: of the weights, f32 or bf16.
std::vector<TrainData::ExportFile> model_texts(const ModelFiles& files, FormatId format);

/// Writes them and model.safetensors into a directory that exists. bf16 rounds to nearest even; selection biases stay
/// f32 in either. Throws Error{runtime}. Memory: for bf16 a copy of the weights.
void write_model(const std::filesystem::path& directory, const Parameters& parameters, const ModelFiles& files,
                 FormatId format);

/// Makes `target` what the complete directory `made` beside it is, and removes what was there: at no moment is there
/// neither. Throws Error{runtime}.
void replace_directory(const std::filesystem::path& made, const std::filesystem::path& target);

/// The model directory at `target`, whole or not at all: written beside it first. Throws Error{runtime}.
void export_model(const std::filesystem::path& target, const Parameters& parameters, const ModelFiles& files,
                  FormatId format);

}  // namespace moxie
