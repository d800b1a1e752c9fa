// Tests of base/thread_pool: every item once, every worker in range, one job after the other. Run under TSan too.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

namespace moxie {
namespace {

TEST(ThreadPool, calls_every_item_once_whatever_the_number_of_threads) {
  for (int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    EXPECT_EQ(pool.size(), num_threads);
    for (int64_t num_items : {0, 1, 2, 7, 1000}) {
      std::vector<int> calls(static_cast<size_t>(num_items));
      pool.run(num_items, [&](int64_t item, int) { ++calls[static_cast<size_t>(item)]; });
      EXPECT_EQ(std::accumulate(calls.begin(), calls.end(), int64_t{0}), num_items);
      EXPECT_TRUE(calls.empty() || *std::max_element(calls.begin(), calls.end()) == 1);
    }
  }
}

TEST(ThreadPool, workers_have_ids_of_their_own) {
  ThreadPool pool(4);
  std::vector<int64_t> items(4);  // no atomics: TSan tells if two threads ever share an id
  pool.run(10000, [&](int64_t, int worker) {
    ASSERT_TRUE(worker >= 0 && worker < 4);
    ++items[static_cast<size_t>(worker)];
  });
  EXPECT_EQ(std::accumulate(items.begin(), items.end(), int64_t{0}), 10000);
}

// Returns once all threads of the pool are awake inside one job.
void gather(ThreadPool& pool) {
  std::atomic<int> arrived{0};
  pool.run(pool.size(), [&](int64_t, int) {
    for (++arrived; arrived < pool.size();) std::this_thread::yield();
  });
}

TEST(ThreadPool, a_job_sees_what_the_job_before_it_wrote) {
  ThreadPool pool(3);
  constexpr size_t kItems = 7;
  std::vector<int64_t> values(kItems), next(kItems);
  for (int64_t round = 1; round <= 10000; ++round) {
    if (round % 100 == 1) gather(pool);
    pool.run(kItems, [&](int64_t item, int) {
      const auto i = static_cast<size_t>(item);
      for (volatile int work = 0; work < 100;) work = work + 1;  // time for the others to come, or to come late
      next[i] = values[(i + 1) % kItems] + 1;                    // written by another thread in the round before
    });
    values.swap(next);
    ASSERT_EQ(values, std::vector<int64_t>(kItems, round));
  }
}

TEST(ThreadPool, workers_wake_up_after_they_slept) {
  ThreadPool pool(3);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // longer than workers spin
    gather(pool);
  }
}

TEST(ThreadPool, a_slow_item_does_not_hold_up_the_others) {
  ThreadPool pool(3);
  std::atomic<int> calls{0};
  pool.run(101, [&](int64_t item, int) {
    while (item == 0 && calls < 100) std::this_thread::yield();
    ++calls;
  });
  EXPECT_EQ(calls, 101);
}

TEST(ThreadPool, one_thread_is_the_caller_itself_and_takes_items_in_order) {
  ThreadPool pool(1);
  std::vector<int64_t> order;
  pool.run(5, [&, caller = std::this_thread::get_id()](int64_t item, int worker) {
    EXPECT_EQ(worker, 0);
    EXPECT_EQ(std::this_thread::get_id(), caller);
    order.push_back(item);
  });
  EXPECT_EQ(order, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

TEST(ThreadPool, starts_and_ends_without_a_job) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace moxie
