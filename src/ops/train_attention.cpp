#include "ops/train_attention.h"

#include <algorithm>

#include "base/error.h"

namespace moxie {
namespace {

constexpr int64_t kQueryBlock = 64;  // queries that share one product with their keys

int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Queries [begin, end) of a sequence and the keys [lo, hi) that one of them sees.
struct QueryBlock {
  int64_t begin, end, lo, hi;
  int64_t num_queries() const { return end - begin; }
  int64_t num_keys() const { return hi - lo; }
};

/// One sequence: where its rows begin, and what a row is.
class Sequence {
 public:
  Sequence(const TrainAttention& args, int64_t b) : args_(args), row_(b * args.length) {}

  int64_t num_blocks() const { return (args_.length + kQueryBlock - 1) / kQueryBlock; }
  QueryBlock block(int64_t i) const {
    const int64_t begin = i * kQueryBlock, end = std::min(begin + kQueryBlock, args_.length);
    return {begin, end, first_key(begin), end};
  }
  int64_t first_key(int64_t query) const {
    return args_.window > 0 ? std::max<int64_t>(0, query - args_.window + 1) : 0;
  }

  int64_t q_stride() const { return args_.num_heads * args_.k_dim; }
  int64_t k_stride() const { return args_.num_kv_heads * args_.k_dim; }
  int64_t v_stride() const { return args_.num_kv_heads * args_.v_dim; }
  int64_t out_stride() const { return args_.num_heads * args_.v_dim; }
  int64_t q_at(int64_t s, int64_t head) const { return (row_ + s) * q_stride() + head * args_.k_dim; }
  int64_t k_at(int64_t s, int64_t kv_head) const { return (row_ + s) * k_stride() + kv_head * args_.k_dim; }
  int64_t v_at(int64_t s, int64_t kv_head) const { return (row_ + s) * v_stride() + kv_head * args_.v_dim; }
  int64_t out_at(int64_t s, int64_t head) const { return (row_ + s) * out_stride() + head * args_.v_dim; }

 private:
  const TrainAttention& args_;
  int64_t row_;
};

/// What a thread works with: kernels, and room for blocks of scores.
class Worker {
 public:
  struct Shape {
    int64_t stride;         // floats from one row of scores to the next: the keys of a block, and one for the sink
    int64_t scratch_bytes;  // of a product
    int64_t bytes(int64_t num_score_blocks) const {
      return scratch_bytes + num_score_blocks * kQueryBlock * stride * static_cast<int64_t>(sizeof(float));
    }
  };
  static Shape shape_of(const KernelSet& kernels, const TrainAttention& args) {
    const int64_t keys = args.window > 0 ? std::min(args.window + kQueryBlock - 1, args.length) : args.length;
    return {round_up(keys + 1, 16), round_up(kernels.matmul_scratch_bytes(), 64)};
  }

  Worker(const KernelSet& kernels, const TrainAttention& args, const Shape& shape, char* memory)
      : kernels_(kernels), args_(args), shape_(shape), memory_(memory) {}

  float* scores(int64_t i) const {
    return reinterpret_cast<float*>(memory_ + shape_.scratch_bytes) + i * kQueryBlock * shape_.stride;
  }
  int64_t stride() const { return shape_.stride; }

  /// c [m, n] = [c +] a b^T over k.
  void product(const MatmulOperand& a, const MatmulOperand& b, int64_t m, int64_t n, int64_t k, float* c,
               int64_t c_stride, bool accumulate = false) const {
    kernels_.matmul({.a = a,
                     .b = b,
                     .m_end = m,
                     .n_end = n,
                     .k = k,
                     .precision = args_.precision,
                     .accumulate = accumulate,
                     .c = c,
                     .c_stride = c_stride,
                     .scratch = memory_});
  }

  /// p [num_queries, num_keys] = softmax of the scores of a block, 0 where a query does not look. p_sink
  /// [num_queries], if not null: what the sinks got.
  void weights(const Sequence& seq, const QueryBlock& block, int64_t head, const float* q, const float* k, float* p,
               float* p_sink) const {
    const int64_t kv_head = head / (args_.num_heads / args_.num_kv_heads);
    product({.data = q + seq.q_at(block.begin, head), .stride = seq.q_stride()},
            {.data = k + seq.k_at(block.lo, kv_head), .stride = seq.k_stride()}, block.num_queries(), block.num_keys(),
            args_.k_dim, p, stride());
    for (int64_t s = block.begin; s < block.end; ++s) {
      float* row = p + (s - block.begin) * stride();
      const int64_t first = seq.first_key(s) - block.lo, end = s + 1 - block.lo;
      kernels_.scale(row + first, args_.scale, end - first, row + first);
      if (args_.sinks != nullptr) {  // it stands right behind the keys
        row[end] = args_.sinks[head];
        kernels_.softmax(row + first, end + 1 - first);
        if (p_sink != nullptr) p_sink[s - block.begin] = row[end];
      } else {
        kernels_.softmax(row + first, end - first);
      }
      clear_unseen(row, first, end, block.num_keys());
    }
  }

  /// dp becomes the gradient of the unscaled scores, 0 where a query does not look. Returns the gradient of the head's
  /// sink: its weight stands for no value, so only the other weights' pull is left.
  double softmax_backward(const Sequence& seq, const QueryBlock& block, const float* p, const float* p_sink,
                          float* dp) const {
    double d_sink = 0;
    for (int64_t s = block.begin; s < block.end; ++s) {
      const int64_t i = s - block.begin, first = seq.first_key(s) - block.lo, end = s + 1 - block.lo;
      float* row = dp + i * stride();
      const float sum =
          kernels_.softmax_backward(p + i * stride() + first, row + first, args_.scale, end - first, row + first);
      if (args_.sinks != nullptr) d_sink -= static_cast<double>(p_sink[i]) * sum;
      clear_unseen(row, first, end, block.num_keys());
    }
    return d_sink;
  }

 private:
  static void clear_unseen(float* row, int64_t first, int64_t end, int64_t num_keys) {
    std::fill_n(row, first, 0.0f);
    std::fill(row + end, row + num_keys, 0.0f);
  }

  const KernelSet& kernels_;
  const TrainAttention& args_;
  const Shape& shape_;
  char* memory_;
};

/// Queries, keys, values and gradients of one call of the backward pass.
struct Tensors {
  const float *q, *k, *v, *d_out;
  float *dq, *dk, *dv;
};

/// One query head's blocks, in order: dq, its part of dk and dv; returns the gradient of its sink.
double head_backward(const Worker& worker, const TrainAttention& args, const Sequence& seq, int64_t head,
                     const Tensors& t) {
  const int64_t kv_head = head / (args.num_heads / args.num_kv_heads);
  float *p = worker.scores(0), *ds = worker.scores(1);
  float p_sink[kQueryBlock];
  double d_sink = 0;
  for (int64_t i = 0; i < seq.num_blocks(); ++i) {
    const QueryBlock block = seq.block(i);
    const int64_t queries = block.num_queries(), keys = block.num_keys();
    const float* q = t.q + seq.q_at(block.begin, head);
    const float* d_out = t.d_out + seq.out_at(block.begin, head);
    const int64_t k_at = seq.k_at(block.lo, kv_head), v_at = seq.v_at(block.lo, kv_head);
    worker.weights(seq, block, head, t.q, t.k, p, p_sink);
    worker.product({.data = p, .stride = worker.stride(), .k_major = true},
                   {.data = d_out, .stride = seq.out_stride(), .k_major = true}, keys, args.v_dim, queries, t.dv + v_at,
                   seq.v_stride(), true);
    worker.product({.data = d_out, .stride = seq.out_stride()}, {.data = t.v + v_at, .stride = seq.v_stride()}, queries,
                   keys, args.v_dim, ds, worker.stride());
    d_sink += worker.softmax_backward(seq, block, p, p_sink, ds);
    worker.product({.data = ds, .stride = worker.stride()},
                   {.data = t.k + k_at, .stride = seq.k_stride(), .k_major = true}, queries, args.k_dim, keys,
                   t.dq + seq.q_at(block.begin, head), seq.q_stride());
    worker.product({.data = ds, .stride = worker.stride(), .k_major = true},
                   {.data = q, .stride = seq.q_stride(), .k_major = true}, keys, args.k_dim, queries, t.dk + k_at,
                   seq.k_stride(), true);
  }
  return d_sink;
}

void check(const TrainAttention& args) {
  MOXIE_CHECK(args.num_kv_heads > 0 && args.num_heads % args.num_kv_heads == 0 && args.window >= 0);
}

}  // namespace

void attention_forward(Exec& exec, const TrainAttention& args, const float* q, const float* k, const float* v,
                       float* out) {
  check(args);
  const Worker::Shape shape = Worker::shape_of(exec.kernels, args);
  const int64_t worker_bytes = shape.bytes(1), blocks = Sequence(args, 0).num_blocks();
  Arena::Scope scope(exec.arena);
  char* memory = exec.arena.alloc<char>(worker_bytes * exec.pool.size());
  exec.pool.run(args.batch * args.num_heads * blocks, [&](int64_t item, int thread) {
    const Worker worker(exec.kernels, args, shape, memory + thread * worker_bytes);
    const Sequence seq(args, item / blocks / args.num_heads);
    const int64_t head = item / blocks % args.num_heads, kv_head = head / (args.num_heads / args.num_kv_heads);
    const QueryBlock block = seq.block(item % blocks);
    float* p = worker.scores(0);
    worker.weights(seq, block, head, q, k, p, nullptr);
    worker.product({.data = p, .stride = worker.stride()},
                   {.data = v + seq.v_at(block.lo, kv_head), .stride = seq.v_stride(), .k_major = true},
                   block.num_queries(), args.v_dim, block.num_keys(), out + seq.out_at(block.begin, head),
                   seq.out_stride());
  });
}

void attention_backward(Exec& exec, const TrainAttention& args, const float* q, const float* k, const float* v,
                        const float* d_out, float* dq, float* dk, float* dv, float* d_sinks) {
  check(args);
  const Tensors tensors{q, k, v, d_out, dq, dk, dv};
  const Worker::Shape shape = Worker::shape_of(exec.kernels, args);
  const int64_t worker_bytes = shape.bytes(2), group = args.num_heads / args.num_kv_heads;
  Arena::Scope scope(exec.arena);
  char* memory = exec.arena.alloc<char>(worker_bytes * exec.pool.size());
  double* sink_parts = exec.arena.alloc<double>(args.batch * args.num_heads);
  exec.pool.run(args.batch * args.num_kv_heads, [&](int64_t item, int thread) {
    const Worker worker(exec.kernels, args, shape, memory + thread * worker_bytes);
    const int64_t b = item / args.num_kv_heads, kv_head = item % args.num_kv_heads;
    const Sequence seq(args, b);
    for (int64_t s = 0; s < args.length; ++s) {
      std::fill_n(dk + seq.k_at(s, kv_head), args.k_dim, 0.0f);
      std::fill_n(dv + seq.v_at(s, kv_head), args.v_dim, 0.0f);
    }
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      sink_parts[b * args.num_heads + head] = head_backward(worker, args, seq, head, tensors);
    }
  });
  if (args.sinks == nullptr) return;
  for (int64_t head = 0; head < args.num_heads; ++head) {
    double sum = 0;
    for (int64_t b = 0; b < args.batch; ++b) sum += sink_parts[b * args.num_heads + head];
    d_sinks[head] += static_cast<float>(sum);
  }
}

}  // namespace moxie
