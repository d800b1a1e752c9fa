// Generation: stop strings however the text is cut, every way an answer ends, and text equal to what peers generate.
#include "infer/generate.h"

#include <random>

#include "infer/support.h"

namespace moxie::test {
namespace {

std::string filtered(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopFilter filter(stops);
  std::string out;
  for (const std::string& piece : pieces) out += filter.push(piece);
  return out + filter.finish();
}

TEST(StopFilter, finds_a_stop_split_over_pieces) {
  EXPECT_EQ(filtered({"\n\nQ:"}, {"It is 8.", "\n", "\nQ", ": Ann", " has"}), "It is 8.");
}

TEST(StopFilter, gives_back_what_only_looked_like_a_stop) {
  EXPECT_EQ(filtered({"END"}, {"the E", "N", "d. EN"}), "the ENd. EN");
}

TEST(StopFilter, finds_a_stop_that_begins_inside_a_false_start) {
  EXPECT_EQ(filtered({"aab"}, {"xa", "a", "a", "b", "y"}), "xa");
}

TEST(StopFilter, emits_text_as_soon_as_it_cannot_be_a_stop) {
  StopFilter filter({"stop"});
  EXPECT_EQ(filter.push("full s"), "full ");
  EXPECT_EQ(filter.push("top"), "");
  EXPECT_TRUE(filter.found());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, without_stops_passes_everything_and_ignores_empty_ones) {
  EXPECT_EQ(filtered({}, {"a", "b"}), "ab");
  EXPECT_EQ(filtered({""}, {"a", "b"}), "ab");
}

TEST(StopFilter, does_not_depend_on_how_the_text_is_cut) {
  std::mt19937 random(1);
  const auto word = [&](size_t most) {
    std::string text;
    for (size_t n = 1 + random() % most; n > 0; --n) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int i = 0; i < 3000; ++i) {
    const std::string text = word(24);
    const std::vector<std::string> stops = {word(5), word(5), word(5)};
    std::vector<std::string> letters, pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 6;
      pieces.push_back(text.substr(at, n));
      at += n;
    }
    for (const char c : text) letters.emplace_back(1, c);
    std::string expected = text;  // cut where the first stop string is complete, before the longest such
    for (size_t end = 1; end <= text.size() && expected == text; ++end) {
      for (size_t begin = 0; begin < end && expected == text; ++begin) {
        for (const std::string& stop : stops) {
          if (text.substr(begin, end - begin) == stop) expected = text.substr(0, begin);
        }
      }
      if (expected.size() < text.size()) break;
    }
    ASSERT_EQ(filtered(stops, pieces), expected) << text << " " << stops[0] << " " << stops[1] << " " << stops[2];
    ASSERT_EQ(filtered(stops, letters), expected);
  }
}

class Generate : public testing::Test {
 protected:
  static Generation run(const std::string& prompt, const GenerateOptions& options, const SamplingParams& params,
                        std::string* streamed = nullptr, const Model& model = moe_7m()) {
    Engine engine(model, {.threads = 1});
    Sequence sequence(engine, moe_7m_tokenizer().encode(prompt));
    Sampler sampler(params, model.spec().vocab_size);
    return generate(engine, moe_7m_tokenizer(), sequence, sampler, options, [&](std::string_view text) {
      if (streamed != nullptr) *streamed += text;
    });
  }
  static inline const SamplingParams kGreedy{.temperature = 0};
};

TEST_F(Generate, ends_after_so_many_tokens) {
  const Generation generation = run("ROMEO:", {.max_new_tokens = 7}, kGreedy);
  EXPECT_EQ(generation.ids.size(), 7u);
  EXPECT_EQ(generation.reason, FinishReason::length);
  EXPECT_EQ(generation.prompt_tokens, 6);
}

TEST_F(Generate, streams_what_the_ids_decode_to_even_from_broken_utf8) {
  for (const uint64_t seed : {1, 2, 3}) {
    std::string streamed;
    const Generation generation =
        run("Die Stra\xc3\x9f"
            "e",
            {.max_new_tokens = 200}, {.temperature = 3, .seed = seed}, &streamed);
    EXPECT_EQ(streamed, generation.text);
    EXPECT_EQ(streamed, moe_7m_tokenizer().decode(generation.ids));
    EXPECT_TRUE(contains(streamed, "\xef\xbf\xbd"));  // at this temperature some bytes are no UTF-8
  }
}

TEST_F(Generate, ends_before_a_stop_string_and_never_shows_a_part_of_it) {
  const std::string whole = run("ROMEO:\n", {.max_new_tokens = 60}, kGreedy).text;
  const std::string stop = whole.substr(30, 5);
  std::string streamed;
  const Generation generation =
      run("ROMEO:\n", {.max_new_tokens = 60, .stop_strings = {"~~~", stop}}, kGreedy, &streamed);
  EXPECT_EQ(generation.text, whole.substr(0, whole.find(stop)));
  EXPECT_EQ(streamed, generation.text);
  EXPECT_EQ(generation.reason, FinishReason::stop_string);
}

TEST_F(Generate, ends_at_a_stop_id_and_leaves_it_out) {
  const std::vector<int32_t> ids = run("ROMEO:\n", {.max_new_tokens = 40}, kGreedy).ids;
  const int32_t stop = ids[20];
  const auto first = std::find(ids.begin(), ids.end(), stop);
  const Generation generation = run("ROMEO:\n", {.max_new_tokens = 40, .stop_ids = {stop}}, kGreedy);
  EXPECT_EQ(generation.ids, std::vector<int32_t>(ids.begin(), first));
  EXPECT_EQ(generation.reason, FinishReason::stop_id);
}

TEST_F(Generate, ends_when_the_context_is_full) {
  const Model small = Model::load(bundled("moe-7m"), 32);
  const Generation generation = run("ten bytes.", {.max_new_tokens = 1000}, kGreedy, nullptr, small);
  EXPECT_EQ(generation.reason, FinishReason::context);
  EXPECT_EQ(generation.ids.size(), 32u - 10u + 1u);  // the last one needs no room: nothing follows it
}

TEST_F(Generate, a_prompt_longer_than_the_context_does_not_fit_and_the_error_has_both_numbers) {
  const Model small = Model::load(bundled("moe-7m"), 32);
  Engine engine(small, {.threads = 1});
  const auto refusal = refusal_of([&] { Sequence(engine, std::vector<int32_t>(33, 65)); });
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->code, ErrorCode::does_not_fit);
  EXPECT_TRUE(contains(refusal->text, "33") && contains(refusal->text, "32") && contains(refusal->text, "1024"))
      << refusal->text;
}

TEST_F(Generate, an_empty_prompt_is_a_usage_error) {
  const auto refusal = refusal_of([] { run("", {}, kGreedy); });
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->code, ErrorCode::usage);
}

TEST_F(Generate, stops_when_cancelled_and_keeps_the_text_so_far) {
  Engine engine(moe_7m(), {.threads = 1});
  Sequence sequence(engine, moe_7m_tokenizer().encode("ROMEO:\n"));
  Sampler sampler(kGreedy, 256);
  std::atomic<bool> cancel{false};
  int pieces = 0;
  const Generation generation =
      generate(engine, moe_7m_tokenizer(), sequence, sampler, {.max_new_tokens = 1000, .cancel = &cancel},
               [&](std::string_view) { cancel = ++pieces == 5; });
  EXPECT_EQ(generation.reason, FinishReason::cancelled);
  EXPECT_EQ(generation.ids.size(), 5u);
  EXPECT_EQ(generation.text.size(), 5u);
}

TEST_F(Generate, the_sequence_holds_all_that_was_said_so_an_answer_can_be_continued) {
  Engine engine(moe_7m(), {.threads = 1});
  Sampler sampler(kGreedy, 256);
  const auto more = [&](Sequence& sequence, int64_t n) {
    return generate(engine, moe_7m_tokenizer(), sequence, sampler, {.max_new_tokens = n}, [](std::string_view) {}).text;
  };
  Sequence twice(engine, moe_7m_tokenizer().encode("ROMEO:\n")), once(engine, moe_7m_tokenizer().encode("ROMEO:\n"));
  const std::string first = more(twice, 20), second = more(twice, 20);
  EXPECT_EQ(first + second, more(once, 40));
}

TEST_F(Generate, the_same_seed_gives_the_same_text) {
  const SamplingParams params{.temperature = 0.9, .top_p = 0.95, .seed = 7};
  const std::string first = run("ROMEO:\n", {.max_new_tokens = 50}, params).text;
  EXPECT_EQ(first, run("ROMEO:\n", {.max_new_tokens = 50}, params).text);
  EXPECT_NE(first, run("ROMEO:\n", {.max_new_tokens = 50}, kGreedy).text);
}

class GenerateWithKernels : public testing::TestWithParam<std::string> {
 protected:
  const KernelSet& kernels() const { return *find_kernel_set(GetParam()); }
};

// The empty prompt is the BOS alone, with which llama2.c begins too.
TEST_P(GenerateWithKernels, stories260K_tells_the_story_llama2c_tells) {
  const Model model = Model::load(bundled("stories260K"));
  const Tokenizer tokenizer = Tokenizer::load(bundled("stories260K"));
  Engine engine(model, {.threads = 1, .kernels = &kernels()});
  Sequence sequence(engine, tokenizer.encode(""));
  Sampler sampler({.temperature = 0}, model.spec().vocab_size);
  const Generation generation =
      generate(engine, tokenizer, sequence, sampler, {.max_new_tokens = 200}, [](std::string_view) {});
  const std::string expected = read_file(bundled("stories260K") / "expected_greedy_200.txt", 1 << 16);
  EXPECT_EQ(generation.text, expected);
}

// How far below the best logit the peer's token may lie: its own margins and f32 noise, or the rounding of activations
// to bf16 where the set multiplies such.
TEST_P(GenerateWithKernels, moe_7m_continues_as_transformers_does) {
  const json::Value peer = json::parse(read_file(bundled("moe-7m") / "peer.json", 1 << 20), {.source = "peer.json"});
  const bool rounds = kernels().activation_format(FormatId::bf16) != FormatId::f32;
  const float tolerance = rounds ? 0.015f : 0.002f;
  int continued = 0;
  for (const json::Member& each : peer.find("greedy")->members()) {
    std::vector<int32_t> ids;
    for (const json::Value& id : each.value.find("ids")->items()) ids.push_back(static_cast<int32_t>(*id.as_int()));
    const size_t prompt = moe_7m_tokenizer().encode(each.key).size();
    ASSERT_EQ(moe_7m_tokenizer().decode(ids), each.value.find("text")->as_string());
    Engine engine(moe_7m(), {.threads = 1, .kernels = &kernels(), .kv_format = FormatId::f32});  // as the peer
    Sequence sequence(engine, std::vector<int32_t>(ids.begin(), ids.begin() + static_cast<int64_t>(prompt)));
    for (size_t i = prompt; i < ids.size(); ++i) {
      const std::span<const float> logits = engine.prefill(sequence);
      const int32_t best = greedy_token(logits);
      ASSERT_LE(logits[static_cast<size_t>(best)] - logits[static_cast<size_t>(ids[i])], tolerance)
          << each.key << ": token " << i;
      if (each.value.find("min_margin")->as_double() > tolerance) {
        ASSERT_EQ(best, ids[i]);
      }
      sequence.append(ids[i]);
    }
    continued += static_cast<int>(ids.size() - prompt);
  }
  EXPECT_GT(continued, 100);
}

INSTANTIATE_TEST_SUITE_P(Sets, GenerateWithKernels, testing::ValuesIn(kernel_sets_here()),
                         [](const auto& set) { return set.param; });

}  // namespace
}  // namespace moxie::test
