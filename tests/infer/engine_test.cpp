// The engine: pages come back, a full cache changes nothing, and the same bits whichever way tokens were put into
// steps.
#include "infer/engine.h"

#include "infer/support.h"

namespace moxie::test {
namespace {

constexpr int64_t kPage = kKeyBlock;

std::vector<float> prefilled(Engine& engine, const std::vector<int32_t>& ids) {
  Sequence sequence(engine, ids);
  return copied(engine.prefill(sequence));
}

TEST(Engine, pages_come_back_when_a_sequence_dies) {
  Engine engine(moe_7m(), {.threads = 1, .cache_tokens = 4 * kPage});
  EXPECT_EQ(engine.room_for(kPage), 4);
  {
    Sequence sequence(engine, text_ids("drama", 0, kPage + 1));
    EXPECT_EQ(engine.room_for(kPage), 4);  // pages are taken by steps alone
    engine.prefill(sequence);
    EXPECT_EQ(engine.room_for(kPage), 2);
    const Sequence moved(std::move(sequence));
    EXPECT_EQ(engine.room_for(kPage), 2);
  }
  EXPECT_EQ(engine.room_for(kPage), 4);
}

TEST(Engine, truncation_gives_back_the_pages_behind_the_cut) {
  Engine engine(moe_7m(), {.threads = 1, .cache_tokens = 4 * kPage});
  Sequence sequence(engine, text_ids("drama", 0, 3 * kPage));
  engine.prefill(sequence);
  EXPECT_EQ(engine.room_for(kPage), 1);
  sequence.truncate(kPage + 1);
  EXPECT_EQ(engine.room_for(kPage), 2);
  EXPECT_EQ(sequence.num_tokens(), kPage + 1);
  sequence.truncate(kPage);
  EXPECT_EQ(engine.room_for(kPage), 3);
}

TEST(Engine, a_full_cache_is_an_error_that_changes_nothing) {
  Engine engine(moe_7m(), {.threads = 1, .cache_tokens = 2 * kPage});
  Sequence first(engine, text_ids("drama", 0, kPage)), second(engine, text_ids("wiki", 0, kPage + 1));
  engine.prefill(first);
  first.append(65);
  const auto refusal = refusal_of([&] {
    const StepPart parts[] = {{&first, 1, 1}, {&second, kPage + 1, 1}};
    engine.step(parts);
  });
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->code, ErrorCode::does_not_fit);
  EXPECT_TRUE(contains(refusal->text, "3 pages") && contains(refusal->text, "1 of 2 free")) << refusal->text;
  EXPECT_EQ(first.num_pending(), 1);
  EXPECT_EQ(second.num_cached(), 0);
  EXPECT_EQ(engine.room_for(kPage), 1);

  const std::vector<float> after = copied(engine.prefill(first));  // what fits goes on as if nothing had happened
  first.truncate(0);
  std::vector<int32_t> ids = text_ids("drama", 0, kPage);
  ids.push_back(65);
  EXPECT_EQ(after, prefilled(engine, ids));
}

TEST(Engine, ids_outside_the_vocabulary_are_refused) {
  Engine engine(moe_7m(), {.threads = 1});
  for (const int32_t id : {-1, 256}) {
    const auto refusal = refusal_of([&] { Sequence(engine, {65, id}); });
    ASSERT_TRUE(refusal.has_value());
    EXPECT_EQ(refusal->code, ErrorCode::invalid);
    EXPECT_TRUE(contains(refusal->text, std::to_string(id)) && contains(refusal->text, "255")) << refusal->text;
  }
}

TEST(Engine, statistics_count_every_routed_token_of_every_layer_until_reset) {
  for (const bool every_row : {false, true}) {
    Engine engine(moe_7m(), {.threads = 2});
    engine.route_every_row(every_row);
    prefilled(engine, text_ids("drama", 0, 40));
    prefilled(engine, text_ids("wiki", 0, 2));
    const size_t last = engine.stats().size() - 1;
    for (size_t i = 0; i <= last; ++i) {
      const MoeStats& layer = engine.stats()[i];
      const int64_t expected = i < last || every_row ? 42 : 2;  // the last layer routes what gives logits
      int64_t assigned = 0;
      for (const int64_t n : layer.tokens_per_expert) assigned += n;
      EXPECT_EQ(layer.num_tokens, expected);
      EXPECT_EQ(assigned, 2 * expected);
    }
    engine.reset_stats();
    for (const MoeStats& layer : engine.stats()) EXPECT_EQ(layer.num_tokens, 0);
  }
}

// The same-bits law, for every kernel set of this machine.
class EngineBits : public testing::TestWithParam<std::string> {
 protected:
  EngineOptions options(int threads, int64_t step_tokens = 512) const {
    return {.threads = threads,
            .cache_tokens = 8 * kPage,
            .step_tokens = step_tokens,
            .kernels = find_kernel_set(GetParam())};
  }
};

TEST_P(EngineBits, a_prefill_cut_into_chunks_gives_the_bits_of_a_whole_one) {
  const std::vector<int32_t> ids = text_ids("novel", 0, 150);
  Engine whole(moe_7m(), options(1));
  const std::vector<float> expected = prefilled(whole, ids);
  for (const int64_t chunk : {1, 7, 64, 149}) {
    Engine engine(moe_7m(), options(2, chunk));
    EXPECT_EQ(prefilled(engine, ids), expected) << "chunks of " << chunk;
  }
}

TEST_P(EngineBits, a_sequence_cut_short_and_continued_gives_the_bits_of_a_fresh_one) {
  Engine engine(moe_7m(), options(1));
  const std::vector<int32_t> ids = text_ids("novel", 0, 130), other = text_ids("code", 0, 30);
  Sequence sequence(engine, ids);
  engine.prefill(sequence);
  sequence.truncate(70);
  sequence.append(other);
  const std::vector<float> continued = copied(engine.prefill(sequence));
  std::vector<int32_t> joined(ids.begin(), ids.begin() + 70);
  joined.insert(joined.end(), other.begin(), other.end());
  EXPECT_EQ(continued, prefilled(engine, joined));
}

TEST_P(EngineBits, prefill_and_decode_in_one_step_give_the_bits_of_separate_steps) {
  const std::vector<int32_t> a = text_ids("drama", 0, 70), b = text_ids("german", 0, 33), c = text_ids("maths", 0, 5);
  Engine engine(moe_7m(), options(2));
  std::vector<std::vector<float>> alone;
  for (const auto& ids : {a, b, c}) alone.push_back(prefilled(engine, ids));

  Sequence decoding(engine, {a.begin(), a.end() - 1}), chunked(engine, {b.begin(), b.begin() + 20}), fresh(engine, c);
  engine.prefill(decoding);
  engine.prefill(chunked);
  decoding.append(a.back());
  chunked.append(std::span<const int32_t>(b).subspan(20));
  const StepPart parts[] = {{&decoding, 1, 1}, {&chunked, 13, 1}, {&fresh, 5, 2}};
  const std::span<const float> logits = engine.step(parts);
  ASSERT_EQ(logits.size(), 4u * 256u);
  EXPECT_EQ(copied(logits.subspan(0, 256)), alone[0]);
  EXPECT_EQ(copied(logits.subspan(256, 256)), alone[1]);
  EXPECT_EQ(copied(logits.subspan(768, 256)), alone[2]);
  EXPECT_EQ(copied(logits.subspan(512, 256)), prefilled(engine, {c.begin(), c.end() - 1}));
}

INSTANTIATE_TEST_SUITE_P(Sets, EngineBits, testing::ValuesIn(kernel_sets_here()),
                         [](const auto& set) { return set.param; });

}  // namespace
}  // namespace moxie::test
