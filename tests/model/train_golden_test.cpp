// Training against what huggingface/transformers and PyTorch computed: loss, the gradient of every parameter, and the
// losses of ten steps of AdamW.
#include <gtest/gtest.h>

#include "model/train_runner.h"

namespace moxie {
namespace {

using test::Batch;
using test::data_dir;
using test::Trainer;

constexpr double kTolerance = 1e-3;  // relative, of gradients; absolute, of losses

class TrainGolden : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path dir() const { return data_dir(std::string("golden/") + GetParam()); }
  // transformers' balance loss of gpt-oss takes a softmax of scores that are softmaxed already; held here are loss and
  // gradients of its cross-entropy, by tools/make_gpt_oss_gradients.py.
  bool without_balance() const { return std::filesystem::exists(dir() / "cross_entropy.json"); }
  json::Value golden() const {
    return test::parse_json(dir() / (without_balance() ? "cross_entropy.json" : "golden.json"));
  }
  std::filesystem::path gradients() const {
    return dir() / (without_balance() ? "cross_entropy_grads.safetensors" : "grads.safetensors");
  }

  // With the balance loss where the peer had it.
  TrainOptions options(const json::Value& train) const {
    TrainOptions result;
    result.aux.form = AuxForm::none;
    if (!train.find("output_router_logits")->as_bool()) return result;
    const json::Value config = test::parse_json(dir() / "config.json");
    result.aux.form = AuxForm::transformers;
    result.aux.coef = static_cast<float>(config.find("router_aux_loss_coef")->as_double());
    return result;
  }
};

double norm_of(const View& view) {
  double squares = 0;
  for (int64_t i = 0; i < view.shape.num_elems(); ++i) squares += std::pow(static_cast<double>(view.f32()[i]), 2);
  return std::sqrt(squares);
}

double distance(const View& a, const View& b) {
  double squares = 0;
  for (int64_t i = 0; i < a.shape.num_elems(); ++i) {
    squares += std::pow(static_cast<double>(a.f32()[i]) - static_cast<double>(b.f32()[i]), 2);
  }
  return std::sqrt(squares);
}

TEST_P(TrainGolden, loss_and_gradient_norms_match) {
  const json::Value all = golden();
  const json::Value& train = *all.find("train");
  for (const KernelSet* set : test::two_sets()) {
    SCOPED_TRACE(set->name);
    Trainer trainer(load_config(dir()), *set);
    trainer.parameters.load(dir());
    const TrainOptions with = options(train);
    const TrainResult result = trainer.run(test::golden_batch(dir()), with);
    EXPECT_NEAR(Trainer::loss(result, with), train.find("loss")->as_double(), 1e-4);
    if (with.aux.form != AuxForm::none) {
      EXPECT_NEAR(result.aux, train.find("aux_loss")->as_double(), 1e-4);
    }
    std::vector<Tensor> owners;
    size_t compared = 0;
    for (const NamedView& tensor : trainer.parameters.export_tensors(trainer.gradients.get(), owners)) {
      const json::Value* expected = train.find("grad_norms")->find(tensor.name);
      const double norm = norm_of(tensor.view);
      if (expected == nullptr) {
        EXPECT_TRUE(tensor.name.ends_with("e_score_correction_bias")) << tensor.name;
        EXPECT_EQ(norm, 0) << tensor.name;
        continue;
      }
      ++compared;
      EXPECT_NEAR(norm, expected->as_double(), kTolerance * expected->as_double() + 1e-7) << tensor.name;
    }
    EXPECT_EQ(compared, train.find("grad_norms")->members().size());
  }
}

TEST_P(TrainGolden, gradients_match_element_by_element) {
  if (!std::filesystem::exists(gradients())) return;  // the peer kept them for three families
  const json::Value all = golden();
  const Checkpoint expected = Checkpoint::open(gradients());
  for (const KernelSet* set : test::two_sets()) {
    SCOPED_TRACE(set->name);
    Trainer trainer(load_config(dir()), *set);
    trainer.parameters.load(dir());
    trainer.run(test::golden_batch(dir()), options(*all.find("train")));
    std::vector<Tensor> owners;
    size_t compared = 0;
    for (const NamedView& tensor : trainer.parameters.export_tensors(trainer.gradients.get(), owners)) {
      const Tensor* theirs = expected.find(tensor.name);
      if (theirs == nullptr) continue;
      ++compared;
      EXPECT_LE(distance(tensor.view, theirs->view), kTolerance * norm_of(theirs->view) + 1e-7) << tensor.name;
    }
    EXPECT_EQ(compared, expected.entries().size());
  }
}

// Step s reads 2 rows of 48 bytes, row i from byte 40000 + 2500 s + 1000 i of tiny shakespeare.
Batch text_batch(int64_t step) {
  const std::string text = read_file(data_dir("text/tinyshakespeare.txt"), 2 << 20);
  std::vector<int32_t> tokens;
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t i = 0; i < 48; ++i) {
      tokens.push_back(static_cast<unsigned char>(text[static_cast<size_t>(40000 + 2500 * step + 1000 * row + i)]));
    }
  }
  return {tokens, 2};
}

TEST_P(TrainGolden, ten_steps_of_adamw_match) {
  const json::Value all = golden();
  const json::Value& train = *all.find("train");
  const json::Value& settings = *train.find("adamw");
  const KernelSet& set = choose_kernel_set();
  Trainer trainer(load_config(dir()), set);
  trainer.parameters.load(dir());
  const std::shared_ptr<float> m = trainer.parameters.new_block(), v = trainer.parameters.new_block();
  const TrainOptions with = options(train);
  const auto number = [&](const char* key) { return static_cast<float>(settings.find(key)->as_double()); };
  const float beta1 = 0.9f, beta2 = 0.95f;
  int64_t step = 0;
  for (const json::Value& expected : settings.find("losses")->items()) {
    const TrainResult result = trainer.run(text_batch(step), with);
    EXPECT_NEAR(Trainer::loss(result, with), expected.as_double(), kTolerance) << "step " << step;
    const double norm = trainer.gradient_norm();
    EXPECT_NEAR(norm / train.find("grad_norm_before_clip")->items()[static_cast<size_t>(step)].as_double(), 1, 2e-3)
        << "step " << step;
    ++step;
    for (const Parameter& parameter : trainer.parameters.list()) {
      if (parameter.kind == ParameterKind::selection_bias) continue;
      const int64_t at = parameter.offset;
      set.adamw({.weight = trainer.parameters.values() + at,
                 .grad = trainer.gradients.get() + at,
                 .m = m.get() + at,
                 .v = v.get() + at,
                 .n = parameter.shape.num_elems(),
                 .lr = number("lr"),
                 .beta1 = beta1,
                 .beta2 = beta2,
                 .eps = number("eps"),
                 .weight_decay = number("weight_decay"),
                 .grad_scale = static_cast<float>(std::min(1.0, 1 / (norm + 1e-6))),
                 .bias1 = 1 - std::pow(beta1, static_cast<float>(step)),
                 .bias2 = 1 - std::pow(beta2, static_cast<float>(step))});
    }
  }
  EXPECT_EQ(step, 10);
}

INSTANTIATE_TEST_SUITE_P(Families, TrainGolden,
                         testing::Values("mixtral", "mixtral-swa", "qwen2_moe", "qwen3_moe", "olmoe", "granitemoe",
                                         "deepseek_v2", "deepseek_v2-group", "deepseek_v3", "gpt_oss", "glm4_moe",
                                         "llama", "llama3-rope", "mistral", "qwen2", "qwen3"),
                         [](const auto& family) {
                           std::string name = family.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace moxie
