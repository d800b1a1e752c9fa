// What MODEL may be, and what every verb says of one that is missing, broken or unknown: exit code 3, one line, no
// crash.
#include "cli/child.h"

namespace moxie::test {
namespace {

class ModelArgument : public Workspace {
 protected:
  // All verbs that run a model refuse it with exit code 3 and one line that contains `part`.
  void expect_refused(const std::string& model, const std::string& part) {
    const std::string text = write("text.txt", std::string(2000, 'a'));
    const std::vector<std::vector<std::string>> verbs = {{"run", model, "hi"},
                                                         {"route", model, "hi", "--trace", path("t.safetensors")},
                                                         {"eval", model, "--text", text},
                                                         {"bench", model, "-p", "4", "-n", "0", "-r", "1"}};
    for (const auto& arguments : verbs) {
      if (arguments[0] == "bench" && part.find("tokenizer") != std::string::npos) continue;  // bench needs none
      const Ran ran = run(arguments, {.environment = {"HF_HUB_CACHE=" + path("no-cache")}});
      EXPECT_EQ(ran.exit_code, 3) << arguments[0] << " " << ran.err;
      EXPECT_EQ(ran.out, "") << arguments[0];
      const size_t error = ran.err.find("error: ");
      ASSERT_NE(error, std::string::npos) << ran.err;
      EXPECT_EQ(ran.err.find('\n', error), ran.err.size() - 1) << ran.err;
      EXPECT_TRUE(contains(ran.err, part)) << part << "\n" << ran.err;
    }
    EXPECT_FALSE(std::filesystem::exists(path("t.safetensors")));
  }
};

TEST_F(ModelArgument, a_missing_directory_is_named) {
  expect_refused("nowhere", "nowhere: expected a model directory");
}

TEST_F(ModelArgument, a_file_is_not_a_directory) {
  expect_refused(kMoe + "/config.json", "got another file");
}

TEST_F(ModelArgument, a_directory_without_config_names_the_file) {
  expect_refused(directory_.string(), "config.json");
}

TEST_F(ModelArgument, a_run_directory_stands_for_its_model) {
  std::filesystem::create_directory_symlink(kMoe, directory_ / "model");
  EXPECT_EQ(run({"run", directory_.string(), "ROMEO", "-n", "2", "--temp", "0"}).out,
            run({"run", kMoe, "ROMEO", "-n", "2", "--temp", "0"}).out);
}

TEST_F(ModelArgument, an_unknown_family_is_named_with_those_supported) {
  const std::string model =
      model_with("config.json", R"({"model_type": "abacus", "architectures": ["AbacusForCausalLM"]})");
  expect_refused(model, "bacus");
  expect_refused(model, "mixtral");
}

TEST_F(ModelArgument, broken_json_is_an_error_with_its_place) {
  expect_refused(model_with("config.json", R"({"model_type": )"), "config.json");
}

TEST_F(ModelArgument, truncated_weights_are_refused) {
  const std::string weights = contents(kMoe + "/model.safetensors");
  expect_refused(model_with("model.safetensors", weights.substr(0, weights.size() - 100)), "model.safetensors");
  expect_refused(model_with("model.safetensors", ""), "model.safetensors");
}

TEST_F(ModelArgument, a_broken_tokenizer_is_refused) {
  expect_refused(model_with("tokenizer.json", R"({"model": {"type": "BPE", "vocab": 3}})"), "tokenizer.json");
}

TEST_F(ModelArgument, a_tokenizer_larger_than_the_model_is_refused) {
  expect_refused(model_with("tokenizer.json", contents(kStories + "/tokenizer.json")), "tokenizer");
}

TEST_F(ModelArgument, org_slash_name_is_found_in_the_hugging_face_cache) {
  const std::filesystem::path repo = directory_ / "models--moxie--moe-7m";
  std::filesystem::create_directories(repo / "refs");
  std::filesystem::create_directories(repo / "snapshots");
  std::filesystem::create_directory_symlink(kMoe, repo / "snapshots/0123abc");
  std::ofstream(repo / "refs/main") << "0123abc";
  const auto find = [&](const std::string& model) {
    return run({"run", model, "ROMEO", "-n", "2", "--temp", "0"},
               {.environment = {"HF_HUB_CACHE=" + directory_.string()}});
  };
  EXPECT_EQ(find("moxie/moe-7m").exit_code, 0);
  EXPECT_EQ(find("moxie/moe-7m@0123abc").exit_code, 0);
  const Ran other = find("moxie/moe-7m@v2");
  EXPECT_EQ(other.exit_code, 3);
  EXPECT_TRUE(contains(other.err, "snapshots/v2") && contains(other.err, "hf download")) << other.err;
  EXPECT_EQ(find("moxie/other").exit_code, 3);
}

}  // namespace
}  // namespace moxie::test
