// Causal attention over whole sequences, forward and backward, for training: no cache, nothing of it kept but its
// inputs (the softmax is recomputed in the backward pass).
#pragma once

#include "ops/exec.h"

namespace moxie {

/// B sequences of S positions side by side: row t = b * S + s. Query heads share key/value heads in groups.
struct TrainAttention {
  int64_t batch = 0, length = 0;
  int64_t num_heads = 0, num_kv_heads = 0;
  int64_t k_dim = 0, v_dim = 0;
  int64_t window = 0;  // a query at s sees keys max(0, s - window + 1) .. s; 0: from 0
  float scale = 1;
  const float* sinks = nullptr;  // [num_heads]: a logit that joins each softmax and has no value
  Precision precision = Precision::f32;
};

/// out [T, num_heads * v_dim] from q [T, num_heads * k_dim], k [T, num_kv_heads * k_dim], v [T, num_kv_heads * v_dim],
/// all dense. Memory: a block of scores a thread. Products follow MatmulArgs, hence bits do not depend on threads.
void attention_forward(Exec& exec, const TrainAttention& args, const float* q, const float* k, const float* v,
                       float* out);

/// dq, dk, dv (overwritten) from d_out; d_sinks [num_heads] += (null without sinks).
void attention_backward(Exec& exec, const TrainAttention& args, const float* q, const float* k, const float* v,
                        const float* d_out, float* dq, float* dk, float* dv, float* d_sinks);

}  // namespace moxie
