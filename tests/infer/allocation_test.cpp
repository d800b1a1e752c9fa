// Nothing allocates in the decode loop after warm-up: every malloc of every thread is counted while tokens are made.
#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "infer/support.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MOXIE_COUNTS_ALLOCATIONS 0  // the sanitizer has its own malloc
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MOXIE_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef MOXIE_COUNTS_ALLOCATIONS
#ifdef __GLIBC__
#define MOXIE_COUNTS_ALLOCATIONS 1
#else
#define MOXIE_COUNTS_ALLOCATIONS 0
#endif
#endif

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};

[[maybe_unused]] void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

#if MOXIE_COUNTS_ALLOCATIONS
// In front of glibc's own, which operator new and the standard library call too; free() stays glibc's.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t size) noexcept {
  count();
  return __libc_malloc(size);
}
void* calloc(size_t n, size_t size) noexcept {
  count();
  return __libc_calloc(n, size);
}
void* realloc(void* memory, size_t size) noexcept {
  count();
  return __libc_realloc(memory, size);
}
void* aligned_alloc(size_t alignment, size_t size) noexcept {
  count();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) noexcept {
  count();
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? ENOMEM : 0;
}
}
#endif

namespace moxie::test {
namespace {

template <typename Action>
int64_t allocations_of(Action action) {
  allocations = 0;
  counting = true;
  action();
  counting = false;
  return allocations;
}

class Allocation : public testing::Test {
 protected:
  void SetUp() override {
    if (!MOXIE_COUNTS_ALLOCATIONS) GTEST_SKIP() << "malloc cannot be counted in this build";
  }
};

TEST_F(Allocation, the_counter_counts) {
  void* volatile memory = nullptr;  // volatile: the compiler may leave out a pair it can see through
  EXPECT_EQ(allocations_of([&] { memory = ::operator new(100); }), 1);
  ::operator delete(memory);
  EXPECT_EQ(allocations_of([&] { memory = std::aligned_alloc(64, 6400); }), 1);
  std::free(memory);
  EXPECT_EQ(allocations_of([] {}), 0);
}

// Decodes one token: step, sample, text.
struct Loop {
  Engine& engine;
  Sequence& sequence;
  Sampler& sampler;
  StreamDecoder& decoder;
  size_t prompt_length;
  size_t bytes = 0;

  void decode() {
    const auto tokens = sequence.tokens();
    const int32_t id =
        sampler.sample(engine.prefill(sequence), tokens.first(prompt_length), tokens.subspan(prompt_length));
    sequence.append(id);
    bytes += decoder.push(id).size();
  }
};

int64_t allocations_of_decoding(const std::filesystem::path& directory, const SamplingParams& params, int threads) {
  const Model model = Model::load(directory);
  const Tokenizer tokenizer = Tokenizer::load(directory);
  Engine engine(model, {.threads = threads});
  Sequence sequence(engine, tokenizer.encode("Once upon a time there was a"));
  Sampler sampler(params, model.spec().vocab_size);
  StreamDecoder decoder(tokenizer);
  Loop loop{engine, sequence, sampler, decoder, sequence.tokens().size()};
  loop.decode();  // warm-up: scratch for the prompt, then for one row
  loop.decode();
  const int64_t count = allocations_of([&] {
    for (int i = 0; i < 200; ++i) loop.decode();  // new KV pages on the way
  });
  EXPECT_GT(loop.bytes, 100u);
  return count;
}

TEST_F(Allocation, decoding_a_moe_model_allocates_nothing) {
  EXPECT_EQ(allocations_of_decoding(bundled("moe-7m"), {.temperature = 0}, 1), 0);
  EXPECT_EQ(allocations_of_decoding(bundled("moe-7m"), {.temperature = 0}, 2), 0);
}

TEST_F(Allocation, sampling_with_every_cut_and_penalty_allocates_nothing) {
  const SamplingParams params{.temperature = 0.9,
                              .top_k = 50,
                              .top_p = 0.95,
                              .min_p = 0.01,
                              .repetition_penalty = 1.1,
                              .presence_penalty = 0.1,
                              .frequency_penalty = 0.1,
                              .logit_bias = {{10, -1.0}},
                              .seed = 1};
  EXPECT_EQ(allocations_of_decoding(bundled("moe-7m"), params, 2), 0);
}

TEST_F(Allocation, decoding_a_dense_model_with_words_for_tokens_allocates_nothing) {
  EXPECT_EQ(allocations_of_decoding(bundled("stories260K"), {.temperature = 0}, 1), 0);
}

TEST_F(Allocation, every_family_decodes_without_allocating) {
  int families = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/data/golden")) {
    const Model model = Model::load(entry.path());
    Engine engine(model, {.threads = 1});
    Sequence sequence(engine, std::vector<int32_t>(20, 3));
    Sampler sampler({.temperature = 0}, model.spec().vocab_size);
    const auto decode = [&] { sequence.append(sampler.sample(engine.prefill(sequence), {}, {})); };
    decode();
    decode();
    EXPECT_EQ(allocations_of([&] {
                for (int i = 0; i < 40; ++i) decode();
              }),
              0)
        << entry.path();
    ++families;
  }
  EXPECT_GE(families, 17);
}

}  // namespace
}  // namespace moxie::test
