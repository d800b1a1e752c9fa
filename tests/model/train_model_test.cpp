// The model in training against itself: inference, finite differences, threads, dense twins, precisions.
#include "model/train_model.h"

#include <gtest/gtest.h>

#include "model/runner.h"
#include "model/train_runner.h"

namespace moxie {
namespace {

using test::Batch;
using test::data_dir;
using test::Trainer;

std::filesystem::path golden(const std::string& name) {
  return data_dir("golden/" + name);
}

// Rows of a small text that depends on `seed`.
Batch some_batch(int64_t rows, int64_t length, uint64_t seed = 1) {
  test::Random random(seed);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < rows * length; ++i) tokens.push_back(static_cast<int32_t>(random.below(251)));
  return {tokens, rows};
}

TrainOptions plain_options() {
  TrainOptions options;
  options.aux.form = AuxForm::none;
  return options;
}

TEST(TrainModel, logits_are_those_of_inference) {
  for (const char* name : {"mixtral", "mixtral-swa", "qwen2_moe", "qwen3_moe", "olmoe", "phimoe", "granitemoe",
                           "deepseek_v2", "deepseek_v2-group", "deepseek_v3", "gpt_oss", "glm4_moe", "llama",
                           "llama3-rope", "mistral", "qwen2", "qwen3", "olmoe-clip", "phimoe-longrope"}) {
    SCOPED_TRACE(name);
    for (const KernelSet* set : test::two_sets()) {
      Trainer trainer(load_config(golden(name)), *set);
      trainer.parameters.load(golden(name));
      const Batch batch = some_batch(2, 48);
      const float* got = trainer.model.logits(batch.view(), plain_options());

      const Model model = Model::load(golden(name));
      Runner runner(model, 2, *set);
      const std::vector<int32_t> pages[2] = {runner.pages(1), runner.pages(1)};
      std::vector<StepSequence> sequences;
      for (size_t b = 0; b < 2; ++b) {
        sequences.push_back({.tokens = std::span<const int32_t>(batch.tokens).subspan(b * 48, 48),
                             .pages = pages[b],
                             .num_logits = 48});
      }
      const std::vector<float> expected = runner.step(sequences, {});
      for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(got[i], expected[i], 1e-4) << i;
    }
  }
}

bool everything(const Parameter& parameter) {
  return parameter.kind != ParameterKind::selection_bias;
}
bool what_routers_pull(const Parameter& parameter) {
  return parameter.kind == ParameterKind::router || parameter.kind == ParameterKind::embedding;
}

// The slope of the loss along each parameter's gradient is that gradient's norm. Steps are small; should a token change
// its experts all the same, that spoils one side, and the other one counts. Gradients too small for differences of an
// f32 loss are left out.
void expect_slopes(Trainer& trainer, const Batch& batch, const TrainOptions& options,
                   bool (*wanted)(const Parameter&) = everything) {
  constexpr double kRise = 2e-4, kNoise = 1e-6, kSmallest = 5e-3;
  const double here = Trainer::loss(trainer.run(batch, options), options);
  const std::vector<float> gradient = trainer.gradient_copy();
  int64_t checked = 0;
  for (const Parameter& parameter : trainer.parameters.list()) {
    if (!wanted(parameter)) continue;
    const int64_t n = parameter.shape.num_elems();
    float* values = trainer.parameters.values() + parameter.offset;
    const float* g = gradient.data() + parameter.offset;
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += std::pow(static_cast<double>(g[i]), 2);
    const double norm = std::sqrt(squares);
    if (norm < kSmallest) continue;
    const std::vector<float> kept(values, values + n);
    double off = INFINITY;
    for (const double rise : {-kRise, kRise}) {
      const double along = rise / squares;
      for (int64_t i = 0; i < n; ++i) {
        values[i] =
            static_cast<float>(static_cast<double>(kept[static_cast<size_t>(i)]) + along * static_cast<double>(g[i]));
      }
      off = std::min(off, std::fabs(Trainer::loss(trainer.run(batch, options), options) - here - rise));
    }
    std::copy(kept.begin(), kept.end(), values);
    EXPECT_LE(off, 0.02 * kRise + kNoise) << parameter.name << " norm " << norm;
    ++checked;
  }
  EXPECT_GE(checked, 3);
}

TEST(TrainModel, slopes_are_gradients_in_families_without_goldens) {
  for (const char* name : {"phimoe", "phimoe-longrope", "olmoe-clip"}) {
    SCOPED_TRACE(name);
    Trainer trainer(load_config(golden(name)));
    trainer.parameters.load(golden(name));
    expect_slopes(trainer, some_batch(1, 8), plain_options());  // few tokens: Phi-MoE's router has many thresholds
  }
}

TEST(TrainModel, slopes_are_gradients_under_dropout) {
  Trainer trainer(load_config(golden("granitemoe")));
  trainer.parameters.load(golden("granitemoe"));
  TrainOptions options = plain_options();
  options.dropout = 0.2f;
  options.seed = 5;
  options.step = 3;
  const Batch batch = some_batch(2, 24);
  expect_slopes(trainer, batch, options);
  const double first = trainer.run(batch, options).loss_sum;
  options.step = 4;
  EXPECT_NE(trainer.run(batch, options).loss_sum, first);
  options.dropout = 0;
  const double without = trainer.run(batch, options).loss_sum;
  EXPECT_EQ(trainer.evaluate(batch, options).loss_sum, without);
  options.dropout = 0.5f;
  EXPECT_EQ(trainer.evaluate(batch, options).loss_sum, without);
}

TEST(TrainModel, slopes_are_gradients_of_learned_noise_and_of_jitter) {
  for (const RouterNoise noise : {RouterNoise::gaussian, RouterNoise::jitter}) {
    Trainer trainer(load_config(golden("mixtral")), choose_kernel_set(), 2, true);
    trainer.parameters.load(golden("mixtral"));
    for (const Parameter& parameter : trainer.parameters.list()) {
      if (!parameter.training_only) continue;
      for (int64_t i = 0; i < parameter.shape.num_elems(); ++i) {
        trainer.parameters.values()[parameter.offset + i] = 0.02f * static_cast<float>(i % 7 - 3);
      }
    }
    TrainOptions options = plain_options();
    options.router.noise = noise;
    expect_slopes(trainer, some_batch(2, 24), options);
  }
}

TEST(TrainModel, slopes_are_gradients_of_every_balance_loss) {
  for (const AuxForm form : {AuxForm::switch_top1, AuxForm::deepseek, AuxForm::megablocks, AuxForm::transformers}) {
    for (const AuxScope scope : {AuxScope::sequence, AuxScope::micro_batch, AuxScope::global_batch}) {
      SCOPED_TRACE(fmt::format("form {} scope {}", static_cast<int>(form), static_cast<int>(scope)));
      Trainer trainer(load_config(golden("deepseek_v3")));
      trainer.parameters.load(golden("deepseek_v3"));
      TrainOptions options = plain_options();
      options.aux = {.form = form, .scope = scope, .coef = 0.5f, .z_coef = 0.01f};
      expect_slopes(trainer, some_batch(2, 16), options, what_routers_pull);
    }
  }
}

TEST(TrainModel, gradients_have_the_same_bits_on_any_number_of_threads) {
  for (const char* name : {"gpt_oss", "deepseek_v3", "granitemoe", "phimoe", "olmoe-clip"}) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      for (const KernelSet* set : test::two_sets()) {
        SCOPED_TRACE(fmt::format("{} {} {}", name, precision == Precision::f32 ? "f32" : "bf16", set->name));
        std::vector<float> first;
        double first_loss = 0;
        for (const int threads : {1, 2, 3}) {
          Trainer trainer(load_config(golden(name)), *set, threads);
          trainer.parameters.load(golden(name));
          TrainOptions options;
          options.precision = precision;
          options.dropout = 0.1f;
          options.aux.coef = 0.01f;
          options.aux.z_coef = 0.001f;
          const TrainResult result = trainer.run(some_batch(3, 40), options);
          if (first.empty()) {
            first = trainer.gradient_copy();
            first_loss = result.loss_sum;
          }
          EXPECT_EQ(result.loss_sum, first_loss);
          EXPECT_EQ(0, std::memcmp(first.data(), trainer.gradients.get(), first.size() * sizeof(float))) << threads;
        }
      }
    }
  }
}

TEST(TrainModel, one_routed_expert_is_a_dense_block) {
  ModelSpec routed = load_config(golden("mixtral"));
  for (LayerSpec& layer : routed.layers) layer.ffn.num_experts = layer.ffn.top_k = 1;
  ModelSpec dense = routed;
  for (LayerSpec& layer : dense.layers) {
    layer.ffn.routed = false;
    layer.ffn.norm_topk_prob = false;
  }
  for (const KernelSet* set : test::two_sets()) {
    Trainer a(routed, *set), b(dense, *set);
    initialise(a.parameters, 3, 0.1f, 0.1f);
    // pairs of the same tensor: expert 0 of the one is the block of the other
    std::vector<std::pair<const Parameter*, const Parameter*>> pairs;
    for (const Parameter& to : b.parameters.list()) {
      std::string name = to.name;
      for (const auto& [theirs, ours] : {std::pair("mlp.gate_proj", "block_sparse_moe.experts.0.w1"),
                                         std::pair("mlp.up_proj", "block_sparse_moe.experts.0.w3"),
                                         std::pair("mlp.down_proj", "block_sparse_moe.experts.0.w2")}) {
        if (const size_t at = name.find(theirs); at != std::string::npos) {
          name.replace(at, std::string_view(theirs).size(), ours);
        }
      }
      const auto all = a.parameters.list();
      const auto from = std::find_if(all.begin(), all.end(), [&](const Parameter& p) { return p.name == name; });
      ASSERT_NE(from, all.end()) << name;
      pairs.emplace_back(&*from, &to);
      std::copy_n(a.parameters.values() + from->offset, to.shape.num_elems(), b.parameters.values() + to.offset);
    }
    const Batch batch = some_batch(2, 48);
    EXPECT_EQ(a.run(batch, plain_options()).loss_sum, b.run(batch, plain_options()).loss_sum);
    for (const auto& [ours, theirs] : pairs) {
      for (int64_t i = 0; i < ours->shape.num_elems(); ++i) {
        ASSERT_NEAR(a.gradients.get()[ours->offset + i], b.gradients.get()[theirs->offset + i], 1e-6) << ours->name;
      }
    }
  }
}

TEST(TrainModel, micro_batches_add_up_to_the_batch) {
  const Batch whole = some_batch(4, 32);
  const auto part = [&](size_t begin) {
    const auto from = whole.tokens.begin() + static_cast<std::ptrdiff_t>(begin * 32);
    return Batch{{from, from + 64}, 2};
  };
  Trainer trainer(load_config(golden("qwen2_moe")));
  trainer.parameters.load(golden("qwen2_moe"));
  TrainOptions options = plain_options();
  const TrainResult all = trainer.run(whole, options);
  const std::vector<float> expected = trainer.gradient_copy();
  trainer.reset_stats();
  options.num_micro_batches = 2;
  options.loss_scale = 1 / static_cast<double>(all.num_targets);
  double loss = 0;
  for (options.micro_batch = 0; options.micro_batch < 2; ++options.micro_batch) {
    const Batch batch = part(static_cast<size_t>(2 * options.micro_batch));
    loss += trainer.model.forward_backward(batch.view(), options, trainer.gradients.get(), trainer.stats).loss_sum;
  }
  EXPECT_NEAR(loss, all.loss_sum, 1e-3);
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(trainer.gradients.get()[i], expected[i], 1e-5);
}

TEST(TrainModel, bf16_products_stay_close_to_f32) {
  for (const char* name : {"mixtral", "deepseek_v3", "gpt_oss", "glm4_moe", "llama", "granitemoe"}) {
    SCOPED_TRACE(name);
    Trainer trainer(load_config(golden(name)));
    trainer.parameters.load(golden(name));
    const Batch batch = test::golden_batch(golden(name));
    TrainOptions options = plain_options();
    const double exact = Trainer::loss(trainer.run(batch, options), options), norm = trainer.gradient_norm();
    options.precision = Precision::bf16;
    EXPECT_NEAR(Trainer::loss(trainer.run(batch, options), options), exact, 2e-2);
    EXPECT_NEAR(trainer.gradient_norm() / norm, 1, 5e-2);
  }
}

TEST(TrainModel, targets_of_minus_one_cost_nothing) {
  Trainer trainer(load_config(golden("mixtral")));
  trainer.parameters.load(golden("mixtral"));
  Batch batch = some_batch(2, 32);
  std::fill(batch.targets.begin(), batch.targets.end(), -1);
  const TrainResult result = trainer.run(batch, plain_options());
  EXPECT_EQ(result.num_targets, 0);
  EXPECT_EQ(result.loss_sum, 0);
  EXPECT_EQ(trainer.gradient_norm(), 0);
}

TEST(TrainModel, capacity_drops_and_says_so) {
  Trainer trainer(load_config(golden("mixtral")));
  trainer.parameters.load(golden("mixtral"));
  TrainOptions options = plain_options();
  options.router.capacity_factor = 1;
  const Batch batch = some_batch(2, 24);
  const TrainResult result = trainer.run(batch, options);
  EXPECT_GT(result.dropped, 0);
  int64_t dropped = 0;
  for (const MoeStats& stats : trainer.stats) dropped += stats.dropped;
  EXPECT_EQ(dropped, result.dropped);
  expect_slopes(trainer, batch, options);
}

TEST(TrainModel, other_choices_of_experts_have_gradients_too) {
  for (const RouterChoice choice : {RouterChoice::expert, RouterChoice::hash}) {
    Trainer trainer(load_config(golden("mixtral")));
    trainer.parameters.load(golden("mixtral"));
    TrainOptions options = plain_options();
    options.router.choice = choice;
    expect_slopes(trainer, some_batch(2, 24), options);
  }
}

TEST(TrainModel, names_the_first_parameter_that_is_not_finite) {
  Trainer trainer(load_config(golden("mixtral")));
  EXPECT_EQ(trainer.model.first_not_finite(trainer.gradients.get()), "");
  const Parameter& parameter = trainer.parameters.list()[7];
  trainer.gradients.get()[parameter.offset + 3] = NAN;
  EXPECT_EQ(trainer.model.first_not_finite(trainer.gradients.get()), parameter.name);
}

TEST(TrainModel, refuses_ids_outside_the_vocabulary) {
  Trainer trainer(load_config(golden("mixtral")));
  Batch batch = some_batch(1, 8);
  batch.tokens[3] = 256;
  EXPECT_THROW(trainer.run(batch, plain_options()), Error);
  batch.tokens[3] = -5;
  EXPECT_THROW(trainer.run(batch, plain_options()), Error);
  batch.tokens[3] = 5;
  batch.targets[2] = 256;
  EXPECT_THROW(trainer.run(batch, plain_options()), Error);
}

TEST(TrainModel, refuses_what_cannot_be_trained) {
  ModelSpec spec = load_config(golden("qwen3"));
  spec.attention.clip_qkv = 1;
  const Parameters parameters(spec);
  ThreadPool pool(1);
  EXPECT_THROW(TrainModel(parameters, test::ref(), pool), Error);
}

}  // namespace
}  // namespace moxie
