// A pool of pinned threads that run one indexed job at a time. Not a task graph: no futures, no nesting.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace moxie {

/// `num_threads` threads, the caller among them (worker 0). Idle workers spin for a bounded time, then sleep on a
/// futex: on a shared host a spinning thread may hold the very core another one needs.
class ThreadPool {
 public:
  /// `pin`: binds worker i (and the calling thread) to the i-th CPU this process may use.
  explicit ThreadPool(int num_threads, bool pin = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  /// Calls fn(item, worker) once for each item in [0, num_items), items handed out in order to whoever is free;
  /// returns when all are done. fn must not throw. One caller at a time. Allocates nothing.
  template <typename Fn>
  void run(int64_t num_items, Fn&& fn) {
    using Body = std::remove_reference_t<Fn>;
    run_erased(
        num_items, [](void* body, int64_t item, int worker) noexcept { (*static_cast<Body*>(body))(item, worker); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  using Call = void (*)(void* body, int64_t item, int worker) noexcept;
  void run_erased(int64_t num_items, Call call, void* body);
  void work(int worker);
  void take_items(int worker);

  std::vector<std::thread> threads_;
  Call call_ = nullptr;
  void* body_ = nullptr;
  int64_t num_items_ = 0;
  alignas(64) std::atomic<int64_t> next_item_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};  // odd bits mean nothing; a change means a new job
  alignas(64) std::atomic<uint32_t> busy_{0};        // workers still in the current job
  std::atomic<bool> stop_{false};
};

}  // namespace moxie
