// Checkpoints: saved whole, verified, damaged ones named and skipped, old ones kept by rule.
#include "train/checkpoint.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "train/run_directory.h"
#include "train/tiny.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest()
      : config_(test::tiny_config(directory_.path())),
        parameters_(config_.spec, true),
        optimizer_(parameters_),
        store_(directory_.path() / "checkpoints") {
    initialise(parameters_, 3);
    files_.config = config_.model;
    files_.tokenizer = {{"tokenizer.json", "{}"}};
    for (int64_t i = 0; i < parameters_.size(); ++i) {
      optimizer_.first_moment()[i] = 1.0f / static_cast<float>(i + 3);
      optimizer_.second_moment()[i] = static_cast<float>(i) * 1e-3f;
    }
  }

  void save(int64_t step) {
    state_.step = step;
    state_.config = "seed = 1\n";
    state_.data = {"text.txt 10 bytes"};
    state_.recent_losses = {0.1, 1.0 / 3};
    store_.save({parameters_, optimizer_, state_, files_, eval_ids_});
  }

  std::string newest(int64_t& step) {
    std::string said;
    step = store_.newest_good([&](const std::string& line) { said += line + "\n"; });
    return said;
  }

  void change_byte(const fs::path& file, int64_t at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at, at < 0 ? std::ios::end : std::ios::beg);
    const auto position = stream.tellg();
    const char byte = static_cast<char>(stream.get() ^ 0x10);
    stream.seekp(position);
    stream.put(byte);
  }

  test::ScratchDirectory directory_;
  TrainConfig config_;
  Parameters parameters_;
  Optimizer optimizer_;
  CheckpointStore store_;
  TrainState state_;
  ModelFiles files_;
  std::vector<int32_t> eval_ids_ = {3, 1, 2};
};

TEST_F(CheckpointTest, comes_back_to_the_last_bit) {
  save(500);
  EXPECT_TRUE(fs::exists(directory_.path() / "checkpoints/step-000500/DONE"));
  Parameters parameters(config_.spec, true);
  Optimizer optimizer(parameters);
  std::vector<int32_t> ids;
  store_.load(500, parameters, optimizer, ids);
  const auto bytes = static_cast<size_t>(parameters.size()) * sizeof(float);
  EXPECT_EQ(std::memcmp(parameters.values(), parameters_.values(), bytes), 0);
  EXPECT_EQ(std::memcmp(optimizer.first_moment(), optimizer_.first_moment(), bytes), 0);
  EXPECT_EQ(std::memcmp(optimizer.second_moment(), optimizer_.second_moment(), bytes), 0);
  EXPECT_EQ(ids, eval_ids_);
  const TrainState state = store_.load_state(500);
  EXPECT_EQ(state.recent_losses, state_.recent_losses);
  EXPECT_EQ(state.data, state_.data);
  EXPECT_EQ(state.config, state_.config);
}

TEST_F(CheckpointTest, bytes_needed_cover_what_is_written) {
  save(1);
  int64_t written = 0;
  for (const auto& entry : fs::directory_iterator(store_.path(1))) written += static_cast<int64_t>(entry.file_size());
  const int64_t told = checkpoint_bytes({parameters_, optimizer_, state_, files_, eval_ids_});
  EXPECT_GE(told, written);
  EXPECT_LE(told, written + (1 << 17));
}

TEST_F(CheckpointTest, a_flipped_bit_is_named_and_the_one_before_is_taken) {
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "train_state.json", "config.json"}) {
    save(10);
    save(20);
    change_byte(store_.path(20) / file, -30);
    int64_t step = 0;
    const std::string said = newest(step);
    EXPECT_EQ(step, 10);
    EXPECT_NE(said.find(std::string("step-000020/") + file + ": expected crc32c"), std::string::npos) << said;
  }
}

TEST_F(CheckpointTest, a_truncated_file_is_named_with_both_sizes) {
  save(10);
  save(20);
  const fs::path file = store_.path(20) / "optimizer.safetensors";
  const auto size = fs::file_size(file);
  fs::resize_file(file, size / 2);
  int64_t step = 0;
  const std::string said = newest(step);
  EXPECT_EQ(step, 10);
  EXPECT_NE(said.find(fmt::format("expected {} bytes, got {}", size, size / 2)), std::string::npos) << said;
}

TEST_F(CheckpointTest, a_directory_without_DONE_is_skipped) {
  save(10);
  save(20);
  fs::remove(store_.path(20) / "DONE");
  fs::create_directory(store_.path(30));  // newer, and nothing in it
  int64_t step = 0;
  const std::string said = newest(step);
  EXPECT_EQ(step, 10);
  EXPECT_NE(said.find("step-000020"), std::string::npos) << said;
  EXPECT_NE(said.find("step-000030"), std::string::npos) << said;
}

TEST_F(CheckpointTest, only_the_very_name_is_a_step) {
  save(500);
  save(1234567);
  for (const char* name : {"step-500", "step-0000500", "step-+00600", "step-000700x", "step-000000"}) {
    fs::create_directory(directory_.path() / "checkpoints" / name);
  }
  EXPECT_EQ(store_.steps(), (std::vector<int64_t>{1234567, 500}));
}

TEST_F(CheckpointTest, files_of_another_step_are_refused) {
  save(10);
  optimizer_.first_moment()[5] += 1;
  save(20);
  fs::copy_file(store_.path(10) / "optimizer.safetensors", store_.path(20) / "optimizer.safetensors",
                fs::copy_options::overwrite_existing);
  EXPECT_THROW(store_.verify(20), Error);
  fs::copy(store_.path(10), store_.path(40), fs::copy_options::recursive);
  EXPECT_THROW(store_.verify(40), Error);
  EXPECT_NO_THROW(store_.verify(10));
}

TEST_F(CheckpointTest, a_newer_format_is_refused_by_number) {
  save(10);
  const fs::path done = store_.path(10) / "DONE";
  std::string text = read_file(done, 1 << 20);
  text.replace(text.find("\"format_version\": 1"), 19, "\"format_version\": 7");
  std::ofstream(done) << text;
  int64_t step = 0;
  const std::string said = newest(step);
  EXPECT_EQ(step, 0);
  EXPECT_NE(said.find("expected at most 1, got 7"), std::string::npos) << said;
}

TEST_F(CheckpointTest, every_byte_of_DONE_matters_or_is_harmless) {
  save(10);
  const fs::path done = store_.path(10) / "DONE";
  const std::string good = read_file(done, 1 << 20);
  for (size_t at = 0; at < good.size(); at += 7) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    std::ofstream(done, std::ios::binary) << bad;
    try {
      store_.verify(10);
    } catch (const Error&) {
    }
  }
  for (size_t size = 0; size + 2 < good.size(); size += 11) {  // without its last brace it is not whole
    std::ofstream(done, std::ios::binary) << good.substr(0, size);
    EXPECT_THROW(store_.verify(10), Error) << size;
  }
}

TEST_F(CheckpointTest, the_last_and_the_best_stay) {
  for (const int64_t step : {10, 20, 30, 40, 50}) save(step);
  store_.prune(50, 2, 20);
  EXPECT_EQ(store_.steps(), (std::vector<int64_t>{50, 40, 20}));
  store_.prune(50, 1, 0);
  EXPECT_EQ(store_.steps(), (std::vector<int64_t>{50}));
}

TEST_F(CheckpointTest, a_damaged_newer_one_costs_no_good_one) {
  for (const int64_t step : {10, 20, 30}) save(step);
  change_byte(store_.path(30) / "model.safetensors", -1);
  int64_t step = 0;
  newest(step);
  ASSERT_EQ(step, 20);
  save(25);
  store_.prune(25, 1, 0);
  EXPECT_EQ(store_.steps(), (std::vector<int64_t>{30, 25}));
  newest(step);
  EXPECT_EQ(step, 25);
}

TEST_F(CheckpointTest, a_damaged_one_is_replaced_by_saving_again) {
  save(10);
  change_byte(store_.path(10) / "model.safetensors", -1);
  EXPECT_THROW(store_.verify(10), Error);
  save(10);
  EXPECT_NO_THROW(store_.verify(10));
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path() / "checkpoints"), fs::directory_iterator()), 1);
}

TEST_F(CheckpointTest, leftovers_of_a_killed_save_are_removed) {
  save(10);
  fs::create_directory(directory_.path() / "checkpoints/step-000020.tmp");
  std::ofstream(directory_.path() / "checkpoints/step-000020.tmp/model.safetensors") << "half";
  const CheckpointStore again(directory_.path() / "checkpoints");
  EXPECT_FALSE(fs::exists(directory_.path() / "checkpoints/step-000020.tmp"));
  EXPECT_EQ(again.steps(), (std::vector<int64_t>{10}));
}

// A file size limit fails writes as a full disk does, at any place one likes.
TEST_F(CheckpointTest, a_failed_write_keeps_the_old_and_names_the_bytes_needed) {
  save(10);
  struct rlimit before {};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {1000, 30000, 100000}) {
    const struct rlimit small { .rlim_cur = limit, .rlim_max = before.rlim_max };
    ::setrlimit(RLIMIT_FSIZE, &small);
    std::string text;
    try {
      save(20);
    } catch (const Error& error) {
      text = error.text();
    }
    ::setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_NE(text.find("bytes needed"), std::string::npos) << text;
    EXPECT_EQ(store_.steps(), (std::vector<int64_t>{10}));
    EXPECT_NO_THROW(store_.verify(10));
    EXPECT_EQ(std::distance(fs::directory_iterator(directory_.path() / "checkpoints"), fs::directory_iterator()), 1);
  }
  ::signal(SIGXFSZ, old_handler);
  save(20);
  EXPECT_NO_THROW(store_.verify(20));
}

TEST_F(CheckpointTest, the_directory_is_a_model_directory) {
  save(10);
  const json::Value config = json::parse(read_file(store_.path(10) / "config.json", 1 << 20), {.source = "config"});
  EXPECT_EQ(config.find("torch_dtype")->as_string(), "float32");
  const Checkpoint weights = Checkpoint::open(store_.path(10));
  EXPECT_NE(weights.find("model.embed_tokens.weight"), nullptr);
  EXPECT_NE(weights.find("model.layers.1.mlp.experts.3.down_proj.weight"), nullptr);
}

TEST_F(CheckpointTest, a_bf16_export_rounds_each_weight) {
  const fs::path target = directory_.path() / "model";
  export_model(target, parameters_, files_, FormatId::f32);
  export_model(target, parameters_, files_, FormatId::bf16);
  const Checkpoint weights = Checkpoint::open(target);
  const Tensor* tensor = weights.find("model.embed_tokens.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->view.format, FormatId::bf16);
  Parameters back(config_.spec);
  back.load(target);
  for (const Parameter& parameter : back.list()) {
    if (parameter.name != "model.embed_tokens.weight") continue;
    for (int64_t i = 0; i < parameter.shape.num_elems(); ++i) {
      const float was = parameters_.values()[parameter.offset + i];
      ASSERT_NEAR(back.values()[parameter.offset + i], was, std::abs(was) / 256);
    }
  }
}

TEST(RunDirectory, a_second_owner_is_told_who_has_it) {
  const test::ScratchDirectory directory;
  const fs::path path = directory.path() / "run";
  {
    const RunDirectory first(path);
    try {
      const RunDirectory second(path);
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(error.text().find(fmt::format("process {}", ::getpid())), std::string::npos) << error.text();
    }
  }
  std::ofstream(path / "LOCK") << "process 1 on elsewhere, started long ago\n";
  const RunDirectory third(path);
  EXPECT_EQ(third.stale_owner(), "process 1 on elsewhere, started long ago");
}

// In a container the next process has the number of the one that was killed.
TEST(RunDirectory, a_file_that_a_killed_process_left_stands_in_no_way_and_goes) {
  const test::ScratchDirectory directory;
  const fs::path left = directory.path() / fmt::format("config.toml.{}.tmp", ::getpid());
  std::ofstream(left) << "half";
  AtomicFile file(directory.path() / "config.toml");
  file.write("whole");
  file.commit();
  EXPECT_EQ(read_file(directory.path() / "config.toml", 100), "whole");
  EXPECT_TRUE(fs::exists(left));
  const RunDirectory run(directory.path());
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(run.config()));
}

TEST(TrainStateText, malformed_members_are_named) {
  TrainState state;
  state.step = 7;
  state.recent_losses = {1.5};
  state.data = {"a"};
  const std::string good = to_json(state).dump();
  EXPECT_EQ(parse_train_state(good, "here").step, 7);
  const std::pair<const char*, const char*> changes[] = {{"\"step\": 7", "\"step\": -1"},
                                                         {"\"tokens\": 0", "\"tokens\": 9223372036854775807"},
                                                         {"\"updates\": 0", "\"updates\": 1.5"},
                                                         {"\"seconds\": 0.0", "\"seconds\": null"},
                                                         {"\"data\": [\"a\"]", "\"data\": [3]"},
                                                         {"\"config\": \"\"", "\"config\": {}"},
                                                         {"[1.5]", "[\"1.5\"]"},
                                                         {"\"bad_steps\": 0", "\"bad_steps\": true"},
                                                         {"\"best_step\": 0", "\"other_step\": 0"},
                                                         {"\"format_version\": 1", "\"format_version\": 0"}};
  for (const auto& [from, to] : changes) {
    std::string text = good;
    ASSERT_NE(text.find(from), std::string::npos) << from << " in " << good;
    text.replace(text.find(from), std::string_view(from).size(), to);
    try {
      parse_train_state(text, "here");
      ADD_FAILURE() << to;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid);
      EXPECT_TRUE(error.text().starts_with("here")) << error.text();
    }
  }
}

TEST(RunDirectory, a_key_that_an_older_version_did_not_write_counts_as_its_default) {
  const test::ScratchDirectory directory;
  const std::string now = to_toml(test::tiny_config(directory.path()));
  const auto older = [&](const std::string& table, const std::string& line) {
    std::string text = now;
    const size_t at = text.find(line, text.find(table));
    EXPECT_NE(at, std::string::npos) << line << " in " << text;
    return text.erase(at, line.size());
  };
  EXPECT_EQ(config_difference(older("[train]", "dropout = 0.0\n"), now), "");
  EXPECT_EQ(config_difference(older("[router]", "noise = \"none\"\n"), now), "");
  EXPECT_EQ(config_difference(older("[[data.domains]]", "field = \"text\"\n"), now), "");
  EXPECT_EQ(config_difference(older("[train]", "lr = 0.003\n"), now), "train.lr: the run has 0.001, this has 0.003");
  EXPECT_EQ(config_difference(older("[model]", "head_dim = 16\n"), now),
            "model.head_dim: the run has none, this has 16");
  // A run of a newer version, with a key that this one does not know.
  EXPECT_EQ(config_difference(now + "new_rule = 1\n", now), "balance.new_rule: the run has 1, this has none");
}

TEST(RunDirectory, a_changed_key_is_named_but_for_those_that_may_change) {
  const std::string run =
      "[train]\nlr = 0.001\nsteps = 10\n\n[[data.domains]]\nname = \"a\"\n\n[[data.domains]]\nname = \"b\"\n";
  const auto with = [&](const char* from, const char* to) {
    std::string text = run;
    return text.replace(text.find(from), std::string_view(from).size(), to);
  };
  EXPECT_EQ(config_difference(run, run), "");
  EXPECT_EQ(config_difference(run, with("steps = 10", "steps = 99")), "");
  EXPECT_EQ(config_difference(run, with("lr = 0.001", "lr = 0.002")), "train.lr: the run has 0.001, this has 0.002");
  EXPECT_EQ(config_difference(run, with("\"b\"", "\"c\"")), "data.domains[1].name: the run has \"b\", this has \"c\"");
  EXPECT_EQ(data_difference({"a 1"}, {"a 1"}), "");
  EXPECT_EQ(data_difference({"a 1"}, {"a 2"}), "the run read a 1, now there is a 2");
}

}  // namespace
}  // namespace moxie
