// Event files read back by a small parser of the framing and of the messages.
#include "train/tensorboard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <map>

#include "base/crc32c.h"
#include "base/file.h"
#include "train/scratch_directory.h"

namespace moxie {
namespace {

struct Field {
  uint32_t number = 0;
  uint64_t value = 0;
  std::string bytes;
};

uint64_t fixed(std::string_view& in, size_t size) {
  uint64_t value = 0;
  EXPECT_GE(in.size(), size);
  std::memcpy(&value, in.data(), size);
  in.remove_prefix(size);
  return value;
}

uint64_t varint(std::string_view& in) {
  uint64_t value = 0;
  for (int shift = 0; !in.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) break;
  }
  return value;
}

std::vector<Field> fields_of(std::string_view in) {
  std::vector<Field> fields;
  while (!in.empty()) {
    const uint64_t key = varint(in);
    Field field{.number = static_cast<uint32_t>(key >> 3)};
    switch (key & 7) {
      case 0:
        field.value = varint(in);
        break;
      case 1:
        field.value = fixed(in, 8);
        break;
      case 5:
        field.value = fixed(in, 4);
        break;
      case 2: {
        const size_t size = varint(in);
        field.bytes = in.substr(0, size);
        in.remove_prefix(size);
        break;
      }
      default:
        ADD_FAILURE() << "wire type " << (key & 7);
        return fields;
    }
    fields.push_back(field);
  }
  return fields;
}

// CRC as TensorFlow's record_writer masks it.
uint32_t masked(std::string_view data) {
  return std::rotr(crc32c(data), 15) + 0xa282ead8u;
}

std::vector<std::string> records_of(std::string_view in) {
  std::vector<std::string> records;
  while (!in.empty()) {
    const std::string_view length = in.substr(0, 8);
    const size_t size = fixed(in, 8);
    EXPECT_EQ(fixed(in, 4), masked(length));
    records.emplace_back(in.substr(0, size));
    in.remove_prefix(size);
    EXPECT_EQ(fixed(in, 4), masked(records.back()));
  }
  return records;
}

TEST(Tensorboard, events_parse_back) {
  const test::ScratchDirectory directory;
  EventFile file(directory.path() / "tb");
  file.add(1, {{"train/loss", 3.5}, {"train/lr", 1e-3}});
  file.add(int64_t{1} << 40, {{"train/loss", -0.25}});
  const std::vector<std::string> records = records_of(read_file(file.path(), 1 << 20));
  ASSERT_EQ(records.size(), 3u);
  const std::vector<Field> first = fields_of(records[0]);
  ASSERT_EQ(first.size(), 2u);
  EXPECT_GT(std::bit_cast<double>(first[0].value), 1.6e9);
  EXPECT_EQ(first[1].number, 3u);
  EXPECT_EQ(first[1].bytes, "brain.Event:2");

  const auto scalars = [](const std::string& record, uint64_t& step) {
    std::map<std::string, float> found;
    for (const Field& field : fields_of(record)) {
      if (field.number == 2) step = field.value;
      if (field.number != 5) continue;
      for (const Field& value : fields_of(field.bytes)) {
        const std::vector<Field> parts = fields_of(value.bytes);
        EXPECT_EQ(parts.size(), 2u);
        found[parts[0].bytes] = std::bit_cast<float>(static_cast<uint32_t>(parts[1].value));
      }
    }
    return found;
  };
  uint64_t step = 0;
  EXPECT_EQ(scalars(records[1], step), (std::map<std::string, float>{{"train/loss", 3.5f}, {"train/lr", 1e-3f}}));
  EXPECT_EQ(step, 1u);
  EXPECT_EQ(scalars(records[2], step), (std::map<std::string, float>{{"train/loss", -0.25f}}));
  EXPECT_EQ(step, uint64_t{1} << 40);
}

TEST(Tensorboard, each_start_opens_a_new_file) {
  const test::ScratchDirectory directory;
  const EventFile first(directory.path()), second(directory.path());
  EXPECT_NE(first.path(), second.path());
}

}  // namespace
}  // namespace moxie
