// The block of parameters: loads every layout, exports what loads again, lies where stacked tensors can be views.
#include "model/parameters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "model/copies.h"
#include "spec/config.h"

namespace moxie {
namespace {

using test::data_dir;

const char* const kModels[] = {"golden/mixtral",
                               "golden/qwen2_moe",
                               "golden/qwen3_moe",
                               "golden/olmoe",
                               "golden/phimoe",
                               "golden/granitemoe",
                               "golden/deepseek_v2",
                               "golden/deepseek_v2-group",
                               "golden/deepseek_v3",
                               "golden/gpt_oss",
                               "golden/glm4_moe",
                               "golden/llama",
                               "golden/mistral",
                               "golden/qwen2",
                               "golden/qwen3",
                               "golden-layouts/qwen3_moe-packed",
                               "golden-layouts/mixtral-bf16",
                               "golden-layouts/gpt_oss-mxfp4"};

void load(Parameters& parameters, const std::string& name) {
  parameters.load(data_dir(name));
}

TEST(Parameters, export_has_the_names_shapes_and_values_of_the_checkpoint) {
  for (const char* name : kModels) {
    if (std::string(name).starts_with("golden-layouts")) continue;  // they name their experts another way
    SCOPED_TRACE(name);
    Parameters parameters(load_config(data_dir(name)));
    load(parameters, name);
    std::vector<Tensor> owners;
    const std::vector<NamedView> tensors = parameters.export_tensors(parameters.values(), owners);
    const Checkpoint checkpoint = Checkpoint::open(data_dir(name));
    // some writers store a tied head twice
    const bool twice = parameters.spec().tie_word_embeddings && checkpoint.find("lm_head.weight") != nullptr;
    EXPECT_EQ(tensors.size() + (twice ? 1 : 0), checkpoint.entries().size());
    for (const NamedView& tensor : tensors) {
      const Tensor* expected = checkpoint.find(tensor.name);
      ASSERT_NE(expected, nullptr) << tensor.name;
      ASSERT_EQ(expected->view.shape, tensor.view.shape) << tensor.name;
      EXPECT_EQ(0, std::memcmp(expected->view.data, tensor.view.data, static_cast<size_t>(tensor.view.num_bytes())))
          << tensor.name;
    }
  }
}

TEST(Parameters, what_was_exported_loads_to_the_same_values) {
  for (const char* name : kModels) {
    SCOPED_TRACE(name);
    Parameters first(load_config(data_dir(name)));
    load(first, name);
    std::vector<Tensor> owners;
    TemporaryDirectory directory;
    directory.put("config.json", read_file(data_dir(name) / "config.json", 1 << 20));
    write_safetensors(directory / "model.safetensors", first.export_tensors(first.values(), owners));
    Parameters second(load_config(directory.path()));
    second.load(directory.path());
    ASSERT_EQ(first.size(), second.size());
    EXPECT_EQ(0, std::memcmp(first.values(), second.values(), static_cast<size_t>(first.size()) * sizeof(float)));
  }
}

TEST(Parameters, stacked_experts_are_views_where_sizes_allow) {
  Parameters parameters(load_config(data_dir("golden/granitemoe")));
  std::vector<Tensor> owners;
  parameters.export_tensors(parameters.values(), owners);
  EXPECT_TRUE(owners.empty());
}

TEST(Parameters, begin_at_cache_lines_and_do_not_overlap) {
  Parameters parameters(load_config(data_dir("golden/gpt_oss")), true);
  int64_t end = 0, count = 0;
  for (const Parameter& parameter : parameters.list()) {
    EXPECT_EQ(parameter.offset % 16, 0) << parameter.name;
    EXPECT_GE(parameter.offset, end) << parameter.name;
    end = parameter.offset + parameter.shape.num_elems();
    count += parameter.shape.num_elems();
  }
  EXPECT_LE(end, parameters.size());
  EXPECT_EQ(count, parameters.num_parameters());
}

TEST(Parameters, learned_noise_is_not_exported) {
  const ModelSpec spec = load_config(data_dir("golden/mixtral"));
  Parameters plain(spec), noisy(spec, true);
  EXPECT_EQ(noisy.list().size(), plain.list().size() + 3);
  EXPECT_FALSE(noisy.weights().layers[0].ffn.router_noise.empty());
  std::vector<Tensor> owners;
  EXPECT_EQ(noisy.export_tensors(noisy.values(), owners).size(), plain.export_tensors(plain.values(), owners).size());
  noisy.load(data_dir("golden/mixtral"));
}

TEST(Parameters, a_tied_head_is_the_embedding) {
  Parameters parameters(load_config(data_dir("golden/qwen3")));
  EXPECT_EQ(parameters.weights().lm_head.data, parameters.weights().embedding.data);
}

TEST(Parameters, refuse_another_architecture) {
  Parameters parameters(load_config(data_dir("golden/mixtral")));
  try {
    parameters.load(data_dir("golden/mixtral-swa"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    EXPECT_NE(error.text().find("differ in"), std::string::npos) << error.text();
  }
}

TEST(Parameters, start_depends_on_seed_and_name_alone) {
  const ModelSpec spec = load_config(data_dir("golden/mixtral"));
  Parameters a(spec), b(spec, true), c(spec);
  initialise(a, 7);
  initialise(b, 7);
  initialise(c, 8);
  EXPECT_NE(0, std::memcmp(a.values(), c.values(), static_cast<size_t>(a.size()) * sizeof(float)));
  size_t at = 0;
  for (const Parameter& parameter : b.list()) {
    if (parameter.training_only) continue;
    const Parameter& same = a.list()[at++];
    ASSERT_EQ(same.name, parameter.name);
    EXPECT_EQ(0, std::memcmp(a.values() + same.offset, b.values() + parameter.offset,
                             static_cast<size_t>(same.shape.num_elems()) * sizeof(float)));
  }
}

TEST(Parameters, start_has_the_deviations_asked_for) {
  const ModelSpec spec = load_config(data_dir("golden/gpt_oss"));
  Parameters parameters(spec);
  initialise(parameters, 1, 0.02f, 0.5f);
  const auto branch = 0.02 / std::sqrt(2.0 * static_cast<double>(spec.num_layers));
  for (const Parameter& parameter : parameters.list()) {
    const float* values = parameters.values() + parameter.offset;
    const int64_t n = parameter.shape.num_elems();
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    const double deviation = std::sqrt(squares / static_cast<double>(n));
    double expected = 0.02;
    if (parameter.kind == ParameterKind::vector) expected = parameter.name.ends_with("norm.weight") ? 1 : 0;
    if (parameter.kind == ParameterKind::router) expected = 0.5;
    if (parameter.name.ends_with("o_proj.weight") || parameter.name.ends_with("down_proj.weight")) expected = branch;
    EXPECT_NEAR(deviation, expected, 0.15 * expected) << parameter.name;
  }
}

}  // namespace
}  // namespace moxie
