// The merge candidates of a long word, by rank and then position. Not a general priority queue: it is built for
// positions that mostly arrive in order, for which push and pop take constant time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <unordered_map>
#include <vector>

namespace moxie::text {

class RankQueue {
 public:
  struct Item {
    uint32_t rank;
    uint32_t position;
  };

  bool empty() const { return ranks_.empty(); }

  void push(uint32_t rank, uint32_t position) {
    Bucket& bucket = buckets_[rank];
    if (bucket.empty()) ranks_.push(rank);
    if (bucket.next == bucket.run.size()) {
      bucket.run.clear();
      bucket.next = 0;
    }
    if (bucket.run.empty() || position >= bucket.run.back()) {
      bucket.run.push_back(position);
    } else {
      bucket.late.push_back(position);
      std::push_heap(bucket.late.begin(), bucket.late.end(), std::greater<>());
    }
  }

  /// The lowest position of the lowest rank; the queue is not empty.
  Item pop() {
    const uint32_t rank = ranks_.top();
    Bucket& bucket = buckets_[rank];
    uint32_t position = 0;
    const bool run_left = bucket.next < bucket.run.size();
    if (run_left && (bucket.late.empty() || bucket.run[bucket.next] <= bucket.late.front())) {
      position = bucket.run[bucket.next++];
    } else {
      position = bucket.late.front();
      std::pop_heap(bucket.late.begin(), bucket.late.end(), std::greater<>());
      bucket.late.pop_back();
    }
    if (bucket.empty()) ranks_.pop();
    return {rank, position};
  }

 private:
  struct Bucket {
    std::vector<uint32_t> run;   // ascending; [next, end) is still to come
    std::vector<uint32_t> late;  // a heap of those that arrived out of order
    size_t next = 0;
    bool empty() const { return next == run.size() && late.empty(); }
  };
  std::unordered_map<uint32_t, Bucket> buckets_;
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ranks_;  // of the buckets that are not empty
};

}  // namespace moxie::text
