// Training text: which windows are read in which order, what validation keeps, and what malformed files are told.
#include "train/data.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <set>

#include "base/rng.h"
#include "support.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"
#include "train/sample_order.h"

namespace moxie {
namespace {

struct Window {
  int64_t domain;
  std::vector<int32_t> ids, targets;
  bool operator==(const Window&) const = default;
};

Window train_window(const TrainData& data, int64_t sample, int64_t seq_len) {
  Window window{0, std::vector<int32_t>(static_cast<size_t>(seq_len)),
                std::vector<int32_t>(static_cast<size_t>(seq_len))};
  window.domain = data.train_window(sample, window.ids.data(), window.targets.data());
  return window;
}

// Token i of the file is i: a window says where it was read.
std::string counting(int64_t count, size_t width) {
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) bytes.append(reinterpret_cast<const char*>(&i), width);
  return bytes;
}

class Data : public ::testing::Test {
 protected:
  TrainData open(const DataConfig& config, int64_t seq_len = 8, int64_t vocab_size = 1 << 20, uint64_t seed = 1) {
    return TrainData(config, seq_len, seed, vocab_size);
  }
  DataDomain counted(const std::string& name, int64_t count, double weight = 0) {
    return {.name = name, .paths = {folder_.write(name + ".u32", counting(count, 4))}, .weight = weight};
  }
  std::string refusal(DataDomain domain, int64_t vocab_size = 256) {
    return error_text([&] { open({.domains = {std::move(domain)}}, 8, vocab_size); });
  }
  TempFolder folder_;
};

TEST_F(Data, targets_are_ids_shifted_by_one) {
  const TrainData data = open({.domains = {counted("a", 1000)}});
  for (int64_t i = 0; i < 300; ++i) {
    const Window window = train_window(data, i, 8);
    for (size_t t = 0; t < 8; ++t) {
      EXPECT_EQ(window.ids[t], window.ids[0] + static_cast<int32_t>(t));
      EXPECT_EQ(window.targets[t], window.ids[t] + 1);
    }
  }
}

TEST_F(Data, sample_depends_on_seed_and_number_alone) {
  const DataConfig config = {.domains = {counted("a", 1000), counted("b", 5000), counted("c", 300)}};
  const TrainData one = open(config), other = open(config), reseeded = open(config, 8, 1 << 20, 2);
  for (int64_t i = 0; i < 200; ++i) train_window(other, i, 8);  // a resumed run has read none of these
  int64_t differing = 0;
  for (int64_t i = 5000; i < 5200; ++i) {
    EXPECT_EQ(train_window(one, i, 8), train_window(other, i, 8));
    differing += train_window(one, i, 8) == train_window(reseeded, i, 8) ? 0 : 1;
  }
  EXPECT_GT(differing, 150);
}

TEST_F(Data, epoch_reads_every_window_once_from_one_phase) {
  const TrainData data = open({.domains = {counted("a", 1003)}, .valid_fraction = 0}, 8);
  const int64_t windows = 1002 / 8 - 1;
  std::set<int32_t> phases;
  std::vector<std::vector<int32_t>> orders;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    std::vector<int32_t> begins;
    for (int64_t i = 0; i < windows; ++i) begins.push_back(train_window(data, epoch * windows + i, 8).ids[0]);
    orders.push_back(begins);
    std::sort(begins.begin(), begins.end());
    EXPECT_LT(begins.front(), 8);
    phases.insert(begins.front());
    for (size_t i = 1; i < begins.size(); ++i) ASSERT_EQ(begins[i], begins[i - 1] + 8);
  }
  EXPECT_GT(phases.size(), 3u);
  EXPECT_NE(orders[0], orders[1]);
}

TEST_F(Data, epoch_of_one_domain_is_whole_among_others) {
  const TrainData data = open({.domains = {counted("a", 500, 1), counted("b", 900, 3)}, .valid_fraction = 0}, 8);
  std::multiset<int32_t> begins;
  const size_t windows = 499 / 8 - 1;
  for (int64_t i = 0; begins.size() < windows; ++i) {
    if (const Window window = train_window(data, i, 8); window.domain == 0) begins.insert(window.ids[0]);
  }
  EXPECT_EQ(std::set<int32_t>(begins.begin(), begins.end()).size(), windows);
}

TEST_F(Data, shares_follow_the_weights_at_every_moment) {
  const TrainData data = open({.domains = {counted("a", 500, 1), counted("b", 500, 2), counted("c", 500, 7)}});
  const double shares[] = {0.1, 0.2, 0.7};
  std::vector<double> count(3);
  for (int64_t i = 0; i < 40000; ++i) {
    ++count[static_cast<size_t>(train_window(data, i, 8).domain)];
    const auto samples = static_cast<double>(i + 1);
    for (size_t d = 0; d < 3; ++d) ASSERT_NEAR(count[d], shares[d] * samples, 1.5 + 1e-4 * samples) << "sample " << i;
  }
}

TEST_F(Data, shares_without_weights_follow_a_power_of_the_size) {
  const TrainData data = open({.domains = {counted("a", 1000), counted("b", 4000)}, .weight_power = 0.5});
  double of_a = 0;
  for (int64_t i = 0; i < 30000; ++i) of_a += train_window(data, i, 8).domain == 0 ? 1 : 0;
  EXPECT_NEAR(of_a / 30000, 1.0 / 3, 2e-4);
}

TEST_F(Data, training_never_touches_validation) {
  const TrainData data = open({.domains = {counted("a", 1000)}, .valid_fraction = 0.1});
  EXPECT_EQ(data.train_tokens(0), 900);
  EXPECT_EQ(data.valid_bytes(0), 100);  // a token is a byte
  for (int64_t i = 0; i < 5000; ++i) ASSERT_LT(train_window(data, i, 8).targets.back(), 900);
}

TEST_F(Data, validation_windows_tile_the_end_and_the_last_may_be_short) {
  const TrainData data = open({.domains = {counted("a", 1000)}, .valid_fraction = 0.1});
  ASSERT_EQ(data.num_valid_windows(0, 0), 13);  // 99 predictions
  std::vector<int32_t> ids(8), targets(8), predicted;
  int64_t bytes = 0, all_bytes = 0;
  for (int64_t i = 0; i < 13; ++i) {
    data.valid_window(0, i, 0, ids.data(), targets.data(), &bytes);
    all_bytes += bytes;
    for (size_t t = 0; t < 8; ++t) {
      if (targets[t] < 0) continue;
      EXPECT_EQ(targets[t], ids[t] + 1);
      predicted.push_back(targets[t]);
    }
  }
  std::vector<int32_t> wanted(99);
  std::iota(wanted.begin(), wanted.end(), 901);
  EXPECT_EQ(predicted, wanted);
  EXPECT_EQ(all_bytes, 99);
  EXPECT_EQ(targets[2], 999);
  EXPECT_EQ(targets[3], -1);
}

TEST_F(Data, limited_validation_is_spread_over_all_of_it) {
  const TrainData data = open({.domains = {counted("a", 1000)}, .valid_fraction = 0.5}, 8);
  ASSERT_EQ(data.num_valid_windows(0, 4), 4);
  EXPECT_EQ(data.num_valid_windows(0, 1000), 63);
  std::vector<int32_t> ids(8), targets(8), begins;
  int64_t bytes = 0;
  for (int64_t i = 0; i < 4; ++i) {
    data.valid_window(0, i, 4, ids.data(), targets.data(), &bytes);
    begins.push_back(ids[0] - 500);
  }
  EXPECT_EQ(begins, (std::vector<int32_t>{0, 15 * 8, 31 * 8, 47 * 8}));
}

TEST_F(Data, own_validation_files_leave_all_text_for_training) {
  const TrainData data = open({.domains = {counted("a", 1000), counted("b", 500)},
                               .valid = {{.name = "b", .paths = {counted("v", 33).paths}}}});
  EXPECT_EQ(data.train_tokens(0), 1000);
  EXPECT_EQ(data.valid_bytes(0), 0);
  EXPECT_EQ(data.num_valid_windows(0, 0), 0);
  EXPECT_EQ(data.valid_bytes(1), 33);
  EXPECT_EQ(data.num_valid_windows(1, 0), 4);
}

TEST_F(Data, files_of_a_domain_are_one_text) {
  DataDomain domain = {
      .name = "a",
      .paths = {folder_.write("a.txt", "abcde"), folder_.write("b.jsonl", "{\"text\": \"fg\"}\n\n{\"text\": \"hi\"}"),
                folder_.write("c.bin", std::string("j\0k\0", 4))}};
  const TrainData data = open({.domains = {domain}, .valid_fraction = 0}, 11, 256);
  const Window window = train_window(data, 0, 11);
  EXPECT_EQ(std::string(window.ids.begin(), window.ids.end()), "abcdefg\nhij");
  EXPECT_EQ(window.targets.back(), 'k');
}

TEST_F(Data, malformed_files_are_named) {
  const auto at = [&](const std::string& name, std::string_view bytes) {
    return refusal({.name = "d", .paths = {folder_.write(name, bytes)}});
  };
  EXPECT_CONTAINS(refusal({.name = "d", .paths = {(folder_.path() / "none.txt").string()}}), "none.txt");
  EXPECT_CONTAINS(refusal({.name = "d", .paths = {folder_.path().string()}}), "a directory");
  EXPECT_CONTAINS(at("empty.txt", ""), "an empty file");
  EXPECT_CONTAINS(at("cut.bin", "abc"), "token ids of 2 bytes");
  EXPECT_CONTAINS(at("cut.u32", "abcde"), "token ids of 4 bytes");
  EXPECT_CONTAINS(at("short.txt", "12345678"), "at least 9 tokens");
  EXPECT_CONTAINS(at("high.bin", std::string("a\0b\0\0\1", 6)),
                  "high.bin: token 2 at byte 4: expected an id below 256, got 256");
  EXPECT_CONTAINS(at("negative.u32", "\xff\xff\xff\xff"), "got 4294967295");
}

TEST_F(Data, malformed_jsonl_is_named_by_line_and_byte) {
  const auto at = [&](std::string_view bytes, const std::string& field = "text") {
    return refusal({.name = "d", .paths = {folder_.write("d.jsonl", bytes)}, .field = field});
  };
  std::string text = at("{\"text\": \"a\"}\n{\"text\": \n");
  EXPECT_CONTAINS(text, "d.jsonl:2");
  EXPECT_CONTAINS(text, "byte 2");
  text = at("{\"text\": \"a\"}\n{\"body\": \"b\"}\n");
  EXPECT_CONTAINS(text, "d.jsonl:2: byte 14");
  EXPECT_CONTAINS(text, "\"text\" is a string");
  EXPECT_CONTAINS(at("{\"n\": 3}\n", "n"), "got an integer");
  EXPECT_CONTAINS(at("\xff\xfe\n"), "d.jsonl:1");
}

TEST_F(Data, a_file_that_shrinks_in_use_is_an_error) {
  const DataDomain domain = counted("a", 4000);
  const TrainData data = open({.domains = {domain}});
  std::filesystem::resize_file(domain.paths[0], 100);
  EXPECT_CONTAINS(error_text([&] { train_window(data, 0, 8); }), "a.u32");
}

TEST_F(Data, fingerprint_names_the_file_that_changed) {
  DataConfig config = {.domains = {counted("a", 1000), counted("b", 1000)}};
  const std::vector<std::string> before = open(config).fingerprint();
  EXPECT_EQ(open(config).fingerprint(), before);
  std::string bytes = counting(1000, 4);
  bytes[2001] ^= 1;
  folder_.write("b.u32", bytes);
  const std::vector<std::string> after = open(config).fingerprint();
  ASSERT_EQ(after.size(), 2u);
  EXPECT_EQ(after[0], before[0]);
  EXPECT_NE(after[1], before[1]);
  EXPECT_CONTAINS(after[1], "b.u32 4000 bytes ");
}

TEST_F(Data, exported_byte_tokenizer_reads_bytes_as_ids) {
  const TrainData data = open({.domains = {counted("a", 100)}});
  const std::vector<TrainData::ExportFile> files = data.tokenizer_files(64);
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[1].name, "tokenizer_config.json");
  EXPECT_EQ(json::parse(files[1].text, {.source = files[1].name}).find("model_max_length")->as_int(), 64);
  const Tokenizer tokenizer = Tokenizer::from_json(files[0].text, files[0].name);
  EXPECT_EQ(tokenizer.vocab_size(), 256);
  std::string text;
  std::vector<int32_t> wanted;
  for (int byte = 0; byte < 256; ++byte) {
    text += static_cast<char>(byte);
    wanted.push_back(byte);
  }
  EXPECT_EQ(tokenizer.encode(text), wanted);
  const Tokenizer peer = Tokenizer::load(MOXIE_SOURCE_DIR "/models/moe-7m");
  for (int32_t id = 0; id < 256; ++id) EXPECT_EQ(tokenizer.token_bytes(id), peer.token_bytes(id));
}

TEST_F(Data, tokenised_text_is_what_the_tokenizer_says) {
  const std::string directory = MOXIE_SOURCE_DIR "/models/stories260K";
  const std::string path = MOXIE_SOURCE_DIR "/models/moe-7m/valid/novel.txt";
  const TrainData data =
      open({.domains = {{.name = "n", .paths = {path}}}, .valid_fraction = 0.1, .tokenizer = directory}, 32, 512);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::vector<int32_t> ids = tokenizer.encode(text, {.add_special = false, .parse_special = false});
  EXPECT_EQ(data.train_tokens(0), std::ssize(ids) - std::ssize(ids) / 10);
  std::vector<int32_t> read(32), targets(32);
  int64_t bytes = 0, all_bytes = 0;
  data.valid_window(0, 0, 0, read.data(), targets.data(), &bytes);
  const auto begin = static_cast<size_t>(data.train_tokens(0));
  EXPECT_TRUE(std::equal(read.begin(), read.end(), ids.begin() + static_cast<int64_t>(begin)));
  for (size_t i = begin; i < ids.size(); ++i) all_bytes += static_cast<int64_t>(tokenizer.token_bytes(ids[i]).size());
  EXPECT_EQ(data.valid_bytes(0), all_bytes);
  EXPECT_EQ(data.tokenizer_files(32)[0].name, "tokenizer.json");
}

// It would be told from pieces: lines end in every way, and the tokenizer puts a space before a text.
TEST_F(Data, big_text_is_tokenised_as_if_in_one_piece) {
  std::string text;
  for (int i = 0; text.size() < (2u << 20) + 100; ++i) {
    text += "Line " + std::to_string(i) + (i % 3 == 0 ? "\n" : i % 3 == 1 ? ",\n\n  and " : " \n");
  }
  text::WordCounts words({});
  words.add(std::string_view(text).substr(0, 100000));
  std::string json = text::tokenizer_json(text::train_bpe(words, {.vocab_size = 300}));
  const std::string plain = "\"add_prefix_space\": false";
  ASSERT_NE(json.find(plain), std::string::npos) << json.substr(0, 1000);
  json.replace(json.find(plain), plain.size(), "\"add_prefix_space\": true");
  const std::vector<int32_t> whole = Tokenizer::from_json(json, "json").encode(text);
  ASSERT_LT(whole.size(), text.size() * 3 / 4);
  const TrainData data = open({.domains = {{.name = "n", .paths = {folder_.write("big.txt", text)}}},
                               .valid_fraction = 0.5,
                               .tokenizer = folder_.write("t.json", json)},
                              64, 300);
  ASSERT_EQ(data.train_tokens(0), std::ssize(whole) - std::ssize(whole) / 2);
  std::vector<int32_t> ids(64), targets(64);
  int64_t bytes = 0, all_bytes = 0;
  for (int64_t i = 0; i < data.num_valid_windows(0, 0); ++i) {
    data.valid_window(0, i, 0, ids.data(), targets.data(), &bytes);
    all_bytes += bytes;
    const auto at = static_cast<size_t>(data.train_tokens(0) + 64 * i);
    for (size_t t = 0; t < 64 && targets[t] >= 0; ++t) ASSERT_EQ(ids[t], whole[at + t]);
  }
  EXPECT_NEAR(static_cast<double>(all_bytes), static_cast<double>(data.valid_bytes(0)), 20);
}

TEST(SampleMix, gives_every_domain_a_place) {
  const SampleMix mix(std::vector<double>{1e9, 1, 1});
  EXPECT_EQ(mix.share(1), 1.0 / SampleMix::kPeriod);
  EXPECT_EQ(mix.share(0) + mix.share(1) + mix.share(2), 1.0);
}

TEST(SampleMix, counts_the_samples_of_a_domain_without_gaps) {
  const SampleMix mix(std::vector<double>{3, 1, 2.5});
  std::vector<int64_t> next(3);
  for (int64_t i = 0; i < 3 * SampleMix::kPeriod; ++i) {
    const SampleMix::Place place = mix.place(i);
    ASSERT_EQ(place.index, next[static_cast<size_t>(place.domain)]++);
  }
}

TEST(Permuted, is_a_permutation_of_every_size) {
  for (int64_t size : {1, 2, 3, 5, 16, 17, 255, 1000}) {
    std::set<int64_t> seen;
    for (int64_t i = 0; i < size; ++i) seen.insert(permuted(Rng(7, 3), i, size));
    EXPECT_EQ(static_cast<int64_t>(seen.size()), size);
    EXPECT_EQ(*seen.rbegin(), size - 1);
  }
}

TEST(Permuted, scatters) {
  double moved = 0, close = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const int64_t at = permuted(Rng(7, 3), i, 1000);
    moved += static_cast<double>(std::abs(at - i));
    close += std::abs(permuted(Rng(7, 3), (i + 1) % 1000, 1000) - at) < 10 ? 1 : 0;
  }
  EXPECT_NEAR(moved / 1000, 333, 40);  // of a random permutation: n / 3
  EXPECT_LT(close, 50);                // neighbours stay apart: 19 expected
}

}  // namespace
}  // namespace moxie
