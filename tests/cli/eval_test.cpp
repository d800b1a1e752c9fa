// moxie eval as a process: its figures, raw logits against a golden, and what it refuses.
#include <algorithm>
#include <cmath>

#include "cli/child.h"
#include "store/safetensors.h"

namespace moxie::test {
namespace {

class Eval : public Workspace {
 protected:
  const std::string kGolden = repository("tests/data/golden/mixtral");
  const std::string kGerman = kMoe + "/valid/german.txt";
};

TEST_F(Eval, json_holds_the_figures_of_the_peer) {
  const Ran ran = run({"eval", kMoe, "--text", kGerman, "--ctx", "256", "--json"});
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json::Value figures = json_of(ran);
  const double nats = at(figures, {"nats_per_byte"}).as_double();
  EXPECT_NEAR(nats, 1.764997652937, 0.0005);                     // peer.json
  EXPECT_EQ(at(figures, {"nats_per_token"}).as_double(), nats);  // a token is a byte here
  EXPECT_NEAR(at(figures, {"bits_per_byte"}).as_double(), nats / std::log(2.0), 1e-12);
  EXPECT_NEAR(at(figures, {"perplexity"}).as_double(), std::exp(nats), 1e-9);
  EXPECT_EQ(at(figures, {"tokens"}).as_int(), 16384);
  EXPECT_EQ(at(figures, {"bytes"}).as_int(), 16384);
}

TEST_F(Eval, a_smaller_cache_costs_little) {
  const std::string text = write("text.txt", contents(kGerman).substr(0, 4000));
  const auto nats = [&](const std::string& format) {
    const Ran ran = run({"eval", kMoe, "--text", text, "--ctx", "256", "--kv", format, "--json"});
    EXPECT_EQ(ran.exit_code, 0) << ran.err;
    return at(json_of(ran), {"nats_per_byte"}).as_double();
  };
  const double exact = nats("f32");
  for (const auto& [format, bound] : {std::pair{"f16", 0.0005}, {"bf16", 0.002}, {"q8", 0.003}}) {
    EXPECT_NEAR(nats(format), exact, bound) << format;
    EXPECT_NE(nats(format), exact) << format;  // it is that format, after all
  }
}

TEST_F(Eval, an_overlapping_stride_predicts_better_with_more_context) {
  const std::string text = write("text.txt", contents(kGerman).substr(0, 1025));
  const auto nats = [&](const std::string& stride) {
    return at(json_of(run({"eval", kMoe, "--text", text, "--ctx", "64", "--stride", stride, "--json"})),
              {"nats_per_byte"})
        .as_double();
  };
  EXPECT_LT(nats("16"), nats("64"));
}

TEST_F(Eval, a_person_reads_lines) {
  const Ran ran = run({"eval", kMoe, "--text", write("t", contents(kGerman).substr(0, 300)), "--ctx", "128"});
  EXPECT_EQ(ran.exit_code, 0);
  for (const char* part : {"nats/token", "nats/byte", "bits/byte", "perplexity", "256"}) {
    EXPECT_TRUE(contains(ran.out, part)) << part << "\n" << ran.out;
  }
}

TEST_F(Eval, raw_logits_equal_the_golden_with_ids_of_either_width) {
  const Checkpoint golden = Checkpoint::open(kGolden + "/golden.safetensors");
  const Tensor& ids = *golden.find("input_ids");
  const Tensor& expected = *golden.find("logits");
  ASSERT_EQ(ids.view.format, FormatId::i64);
  const int64_t n = ids.view.shape.num_elems();
  const auto* wide = static_cast<const int64_t*>(ids.view.data);
  const std::vector<int32_t> narrow(wide, wide + n);
  for (const FormatId format : {FormatId::i32, FormatId::i64}) {
    const void* data = format == FormatId::i64 ? static_cast<const void*>(wide) : narrow.data();
    const NamedView named{"input_ids", dense_view(data, format, {ids.view.shape[0], ids.view.shape[1]})};
    write_safetensors(path("ids.safetensors"), {&named, 1});
    const Ran ran = run({"eval", kGolden, "--ids", path("ids.safetensors"), "--logits", path("out.safetensors"), "--kv",
                         "f32", "--json"});
    ASSERT_EQ(ran.exit_code, 0) << ran.err;
    EXPECT_EQ(at(json_of(ran), {"shape"}).items().size(), 3u);
    const Checkpoint out = Checkpoint::open(path("out.safetensors"));
    const Tensor& logits = *out.find("logits");
    ASSERT_EQ(logits.view.shape, expected.view.shape);
    float most = 0;
    for (int64_t i = 0; i < expected.view.shape.num_elems(); ++i) {
      const float gap = std::fabs(logits.view.f32()[i] - expected.view.f32()[i]);
      if (!(gap <= most)) most = gap;
    }
    EXPECT_LE(most, 1e-4f);
    std::filesystem::remove(path("out.safetensors"));
  }
}

TEST_F(Eval, ids_that_cannot_be_run_leave_no_file) {
  const auto refused = [&](FormatId format, const void* data, std::initializer_list<int64_t> shape, const char* name) {
    const NamedView named{name, dense_view(data, format, shape)};
    write_safetensors(path("ids.safetensors"), {&named, 1});
    const Ran ran = run({"eval", kGolden, "--ids", path("ids.safetensors"), "--logits", path("out.safetensors")});
    EXPECT_EQ(files(), std::vector<std::string>{"ids.safetensors"});
    return ran;
  };
  const int64_t high[] = {1, int64_t{1} << 40}, negative[] = {1, -1}, good[] = {1, 2};
  const float floats[] = {1, 2};
  for (const Ran& ran :
       {refused(FormatId::i64, high, {1, 2}, "input_ids"), refused(FormatId::i64, negative, {2, 1}, "input_ids"),
        refused(FormatId::i64, good, {2}, "input_ids"), refused(FormatId::i64, good, {1, 2}, "ids"),
        refused(FormatId::i64, good, {0, 2}, "input_ids"), refused(FormatId::f32, floats, {1, 2}, "input_ids")}) {
    EXPECT_EQ(ran.exit_code, 3) << ran.err;
    EXPECT_TRUE(contains(ran.err, "ids.safetensors")) << ran.err;
  }
}

TEST_F(Eval, files_that_cannot_be_read_or_written_are_named) {
  EXPECT_EQ(run({"eval", kMoe, "--text", path("none")}).exit_code, 3);
  EXPECT_EQ(run({"eval", kMoe, "--text", directory_.string()}).exit_code, 3);
  EXPECT_EQ(run({"eval", kMoe, "--text", write("short", "abc")}).exit_code, 3);
  const int32_t ids[] = {1, 2};
  const NamedView named{"input_ids", dense_view(ids, FormatId::i32, {1, 2})};
  write_safetensors(path("ids.safetensors"), {&named, 1});
  const Ran ran = run({"eval", kMoe, "--ids", path("ids.safetensors"), "--logits", path("no/out.safetensors")});
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_TRUE(contains(ran.err, "no/out.safetensors")) << ran.err;
}

TEST_F(Eval, flags_that_do_not_go_together_are_usage_errors) {
  const std::vector<std::vector<std::string>> cases = {{},
                                                       {"--ids", "a"},
                                                       {"--logits", "a"},
                                                       {"--text", kGerman, "--ids", "a", "--logits", "b"},
                                                       {"--text", kGerman, "--stride", "600"},
                                                       {"--text", kGerman, "--ctx", "64", "--stride", "65"},
                                                       {"--text", kGerman, "--ctx", "1025"},
                                                       {"--text", kGerman, "--kv", "q4_0"},
                                                       {"--text", kGerman, "--ctx", "0"}};
  for (const auto& flags : cases) {
    std::vector<std::string> arguments = {"eval", kMoe};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    EXPECT_EQ(run(arguments).exit_code, 2) << flags.size();
  }
}

}  // namespace
}  // namespace moxie::test
