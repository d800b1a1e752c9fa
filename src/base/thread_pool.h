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
  /// `pin`: if there is one thread for each CPU this process may use, binds worker i > 0 to the i-th of them. The
  /// caller stays free (threads it starts would inherit its binding); the CPU that is left is the one it finds idle.
  /// Throws Error{runtime} if the system gives no more threads.
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
  void stop();
  void work(int worker);
  void take_items(int worker);

  std::vector<std::thread> threads_;
  Call call_ = nullptr;
  void* body_ = nullptr;
  int64_t num_items_ = 0;
  // Generation of the job, and items of it that nobody has taken yet. Who takes one holds the job open; who comes late
  // finds none left and is not waited for: on a shared host a worker may get no CPU for milliseconds.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};  // a change means a new job
  alignas(64) std::atomic<uint32_t> unfinished_{0};  // items of the current job that are not done
  std::atomic<bool> stop_{false};
};

}  // namespace moxie
