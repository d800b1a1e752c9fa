#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <system_error>

#include "base/error.h"

namespace moxie {
namespace {

constexpr int kSpins = 4000;  // about 50 us of pauses: a decode step's barriers rarely last longer

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until `value` differs from `old`: spins, then sleeps.
void wait_for_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause_cpu();
  }
  value.wait(old, std::memory_order_acquire);
}

int num_allowed_cpus() {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 0;
}

void pin_to_allowed_cpu(pthread_t thread, int index) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  int seen = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || seen++ != index) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(thread, sizeof(one), &one);
    return;
  }
}

}  // namespace

ThreadPool::ThreadPool(int num_threads, bool pin) {
  pin = pin && num_threads == num_allowed_cpus();  // with CPUs to spare another process may sit on ours
  try {
    for (int worker = 1; worker < num_threads; ++worker) {
      threads_.emplace_back([this, worker] { work(worker); });
      if (pin) pin_to_allowed_cpu(threads_.back().native_handle(), worker);
    }
  } catch (const std::system_error&) {
    const int started = size();
    stop();
    throw make_error(ErrorCode::runtime, "only {} of {} threads could be started; ask for fewer (-t)", started,
                     num_threads);
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::stop() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::take_items(int worker) {
  uint32_t taken = 0;
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(ticket) > 0) {
    if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acquire)) continue;
    // The job cannot end before this item has, so its fields stand still.
    call_(body_, num_items_ - static_cast<uint32_t>(ticket), worker);
    ++taken;
    ticket = ticket_.load(std::memory_order_acquire);
  }
  if (taken > 0 && unfinished_.fetch_sub(taken, std::memory_order_acq_rel) == taken) unfinished_.notify_one();
}

void ThreadPool::work(int worker) {
  uint32_t seen = 0;
  for (;;) {
    wait_for_change(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    take_items(worker);
  }
}

void ThreadPool::run_erased(int64_t num_items, Call call, void* body) {
  if (num_items <= 0) return;
  if (threads_.empty() || num_items == 1) {
    for (int64_t item = 0; item < num_items; ++item) call(body, item, 0);
    return;
  }
  MOXIE_CHECK(num_items <= UINT32_MAX);
  call_ = call;
  body_ = body;
  num_items_ = num_items;
  unfinished_.store(static_cast<uint32_t>(num_items), std::memory_order_relaxed);
  const uint64_t generation = generation_.load(std::memory_order_relaxed) + 1;
  ticket_.store(generation << 32 | static_cast<uint64_t>(num_items), std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  take_items(0);
  for (uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    wait_for_change(unfinished_, left);
  }
}

}  // namespace moxie
