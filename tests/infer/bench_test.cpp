// What a bench counts and adds up: parts of steps, experts visited, bytes. Not how fast anything is.
#include "infer/bench.h"

#include <chrono>
#include <set>

#include "infer/measure.h"
#include "infer/support.h"

namespace moxie::test {
namespace {

int64_t nanoseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start).count();
}

TEST(StepProfile, parts_of_an_moe_model_add_up_to_its_steps) {
  Engine engine(moe_7m(), {.threads = 2});
  StepProfile profile;
  engine.set_profile(&profile);
  const auto start = std::chrono::steady_clock::now();
  Sequence sequence(engine, text_ids("drama", 0, 40));
  engine.prefill(sequence);
  const int64_t wall = nanoseconds_since(start);
  EXPECT_EQ(profile.num_steps(), 1);
  int64_t sum = 0;
  for (int i = 0; i < kNumStepWorks; ++i) {
    const int64_t part = profile.nanoseconds(static_cast<StepWork>(i));
    EXPECT_GT(part, 0) << kStepWorkNames[static_cast<size_t>(i)];
    sum += part;
  }
  EXPECT_EQ(sum, profile.total_nanoseconds());
  EXPECT_LE(sum, wall);
  engine.set_profile(nullptr);
  sequence.append(1);
  engine.prefill(sequence);
  EXPECT_EQ(profile.num_steps(), 1);
  EXPECT_EQ(profile.total_nanoseconds(), sum);
}

TEST(StepProfile, leaves_the_bits_alone) {
  Engine plain(moe_7m(), {.threads = 1}), timed(moe_7m(), {.threads = 1});
  StepProfile profile;
  timed.set_profile(&profile);
  Sequence a(plain, text_ids("code", 0, 30)), b(timed, text_ids("code", 0, 30));
  EXPECT_EQ(copied(plain.prefill(a)), copied(timed.prefill(b)));
}

TEST(StepProfile, a_dense_model_has_no_router) {
  const Model model = Model::load(bundled("stories260K"));
  Engine engine(model, {.threads = 1});
  StepProfile profile;
  engine.set_profile(&profile);
  Sequence sequence(engine, {1, 2, 3});
  engine.prefill(sequence);
  EXPECT_EQ(profile.nanoseconds(StepWork::router), 0);
  EXPECT_EQ(profile.nanoseconds(StepWork::permute), 0);
  EXPECT_GT(profile.nanoseconds(StepWork::experts), 0);
}

// Counts the plain way what ExpertVisits counts.
class Recount : public RoutingSink {
 public:
  void record(int64_t, const Routing& routing) override {
    std::multiset<int32_t> ids(routing.topk_ids, routing.topk_ids + routing.num_tokens * routing.top_k);
    for (const int32_t id : std::set<int32_t>(ids.begin(), ids.end())) {
      ++visits;
      rows += static_cast<int64_t>(ids.count(id));
    }
  }
  int64_t visits = 0, rows = 0;
};

TEST(ExpertVisits, counts_each_expert_of_a_step_once) {
  Engine engine(moe_7m(), {.threads = 1});
  ExpertVisits visits(moe_7m(), engine.kernels());
  Recount recount;
  for (RoutingSink* sink : {static_cast<RoutingSink*>(&visits), static_cast<RoutingSink*>(&recount)}) {
    engine.set_routing_sink(sink);
    Sequence sequence(engine, text_ids("maths", 0, 20));
    engine.prefill(sequence);
    sequence.append(65);
    engine.prefill(sequence);
  }
  EXPECT_EQ(visits.num_visits(), recount.visits);
  EXPECT_EQ(visits.num_layer_steps(), 2 * 4);
  EXPECT_DOUBLE_EQ(visits.rows_per_visit() * static_cast<double>(recount.visits), static_cast<double>(recount.rows));
  EXPECT_GT(visits.tile_occupancy(), 0);
  EXPECT_LE(visits.tile_occupancy(), 1);
  const int64_t expert = visits.bytes().experts[0][0];
  EXPECT_EQ(visits.expert_bytes(), visits.num_visits() * expert);  // all of moe-7m's are alike
}

TEST(WeightBytes, add_up_to_the_checkpoint) {
  const WeightBytes bytes(moe_7m());
  int64_t sum = bytes.every_step + bytes.head;
  for (const auto& layer : bytes.experts) {
    EXPECT_EQ(layer.size(), 16u);
    for (const int64_t expert : layer) sum += expert;
  }
  sum += bytes.embedding_row * moe_7m().spec().vocab_size;
  // norms are bf16 in the file and f32 in memory
  int64_t norms = 0;
  for (const std::vector<float>& each : moe_7m().weights().vectors) norms += static_cast<int64_t>(each.size());
  const bool tied = moe_7m().spec().tie_word_embeddings;
  EXPECT_EQ(sum - 2 * norms - (tied ? bytes.head : 0), moe_7m().checkpoint().total_bytes());
}

TEST(Bench, one_token_reads_the_experts_it_chose_and_all_else) {
  const BenchOptions options{
      .tests = {{.decode = true, .tokens = 3, .batch = 1}, {.tokens = 9}}, .threads = {1}, .repeats = 2};
  const BenchResult result = run_bench(moe_7m(), options);
  ASSERT_EQ(result.rows.size(), 2u);
  const BenchRow& row = result.rows[0];
  const WeightBytes bytes(moe_7m());
  const auto always = static_cast<double>(bytes.every_step + bytes.head + bytes.embedding_row);
  EXPECT_NEAR(row.weight_bytes, always + 4.0 * 2 * static_cast<double>(bytes.experts[0][0]), 1);
  EXPECT_EQ(row.visits_per_layer, 2);
  EXPECT_EQ(row.rows_per_visit, 1);
  EXPECT_EQ(row.rates.size(), 2u);
  EXPECT_EQ(row.step_seconds.size(), 6u);
  EXPECT_EQ(row.profile.num_steps(), 4);  // three, and one that sizes the scratch
  EXPECT_TRUE(result.rows[1].step_seconds.empty());
  EXPECT_TRUE(result.peer_version.empty());
}

TEST(Bench, percentile_is_a_value_that_was_measured) {
  std::vector<double> values;
  for (int i = 200; i > 0; --i) values.push_back(i);
  EXPECT_EQ(percentile_99(values), 198);
  EXPECT_EQ(percentile_99({7}), 7);
}

BenchOptions beside(const std::string& command) {
  return {.tests = {{.tokens = 4}}, .threads = {1}, .repeats = 2, .peer = command};
}

TEST(Bench, takes_turns_with_a_peer) {
  const std::string test = R"([{"n_prompt": 4, "n_gen": 0, "n_threads": 1, "avg_ts": 2.5}])";
  const BenchResult result = run_bench(moe_7m(), beside("echo '" + test + "' #"));
  ASSERT_EQ(result.rows[0].peer_rates, (std::vector<double>{2.5, 2.5}));
  EXPECT_EQ(result.rows[0].ratios()[1], result.rows[0].rates[1] / 2.5);
}

TEST(Bench, a_peer_that_fails_is_quoted) {
  const auto fails = refusal_of([] { run_bench(moe_7m(), beside("echo it is broken >&2; exit 7")); });
  ASSERT_TRUE(fails);
  EXPECT_EQ(fails->code, ErrorCode::runtime);
  EXPECT_TRUE(contains(fails->text, "it is broken") && contains(fails->text, "code 7")) << fails->text;
  const auto silent = refusal_of([] { run_bench(moe_7m(), beside("echo loading >&2; true")); });
  EXPECT_TRUE(silent && contains(silent->text, "loading")) << (silent ? silent->text : "");
  const std::string other = R"([{"n_prompt": 5, "n_gen": 0, "n_threads": 1, "avg_ts": 2.5}])";
  const auto apart = refusal_of([&] { run_bench(moe_7m(), beside("echo '" + other + "' #")); });
  EXPECT_TRUE(apart && contains(apart->text, "5 prompt tokens")) << (apart ? apart->text : "");
}

}  // namespace
}  // namespace moxie::test
