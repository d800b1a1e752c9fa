// Training attention against a plain double implementation, forward and backward, and against finite differences of it.
#include "ops/train_attention.h"

#include "ops/stage.h"

namespace moxie::test {
namespace {

struct Case {
  int64_t batch, length, num_heads, num_kv_heads, k_dim, v_dim, window;
  bool sinks;
};
const Case kCases[] = {
    {1, 1, 1, 1, 4, 4, 0, false},   {2, 1, 2, 1, 3, 5, 0, true},     {2, 64, 2, 2, 8, 8, 0, false},
    {1, 65, 4, 2, 6, 5, 0, true},   {2, 130, 4, 1, 5, 7, 0, false},  {1, 150, 2, 1, 16, 9, 1, true},
    {2, 140, 3, 3, 4, 4, 3, false}, {1, 200, 6, 2, 8, 12, 70, true}, {1, 131, 2, 2, 17, 3, 64, true},
};

using Doubles = std::vector<double>;

struct Tensors {
  explicit Tensors(const Case& c)
      : rows(c.batch * c.length),
        q(normals(rows * c.num_heads * c.k_dim, 1)),
        k(normals(rows * c.num_kv_heads * c.k_dim, 2)),
        v(normals(rows * c.num_kv_heads * c.v_dim, 3)),
        sinks(normals(c.num_heads, 4)),
        d_out(normals(rows * c.num_heads * c.v_dim, 5)),
        out(d_out.size(), NAN),
        dq(q.size(), NAN),
        dk(k.size(), NAN),
        dv(v.size(), NAN),
        d_sinks(sinks.size(), 0.5f),
        args{.batch = c.batch,
             .length = c.length,
             .num_heads = c.num_heads,
             .num_kv_heads = c.num_kv_heads,
             .k_dim = c.k_dim,
             .v_dim = c.v_dim,
             .window = c.window,
             .scale = 0.4f,
             .sinks = c.sinks ? sinks.data() : nullptr} {}
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;

  void run(const KernelSet& set, int threads) {
    Stage stage(set, threads);
    attention_forward(stage.exec, args, q.data(), k.data(), v.data(), out.data());
    attention_backward(stage.exec, args, q.data(), k.data(), v.data(), d_out.data(), dq.data(), dk.data(), dv.data(),
                       c_sinks());
  }
  float* c_sinks() { return args.sinks != nullptr ? d_sinks.data() : nullptr; }

  int64_t rows;
  std::vector<float> q, k, v, sinks, d_out, out, dq, dk, dv, d_sinks;
  TrainAttention args;
};

/// The same in double, one query and key at a time.
struct Plain {
  explicit Plain(const Tensors& t)
      : a(t.args),
        q(t.q.begin(), t.q.end()),
        k(t.k.begin(), t.k.end()),
        v(t.v.begin(), t.v.end()),
        sinks(t.sinks.begin(), t.sinks.end()),
        d_out(t.d_out.begin(), t.d_out.end()) {}

  const double* q_row(int64_t t, int64_t h) const { return &q[static_cast<size_t>((t * a.num_heads + h) * a.k_dim)]; }
  size_t k_at(int64_t t, int64_t h) const { return static_cast<size_t>((t * a.num_kv_heads + h) * a.k_dim); }
  size_t v_at(int64_t t, int64_t h) const { return static_cast<size_t>((t * a.num_kv_heads + h) * a.v_dim); }
  size_t out_at(int64_t t, int64_t h) const { return static_cast<size_t>((t * a.num_heads + h) * a.v_dim); }
  int64_t first_key(int64_t s) const { return a.window > 0 && s >= a.window ? s - a.window + 1 : 0; }

  /// Weights of query s of sequence b: of the keys from first_key(s) on, then of the sink.
  Doubles weights(int64_t b, int64_t s, int64_t h) const {
    Doubles p;
    double total = 0;
    for (int64_t j = first_key(s); j <= s; ++j) {
      double score = 0;
      const size_t key = k_at(b * a.length + j, h / (a.num_heads / a.num_kv_heads));
      for (int64_t d = 0; d < a.k_dim; ++d) {
        score += q_row(b * a.length + s, h)[d] * k[key + static_cast<size_t>(d)];
      }
      p.push_back(std::exp(score * static_cast<double>(a.scale)));
    }
    p.push_back(a.sinks != nullptr ? std::exp(sinks[static_cast<size_t>(h)]) : 0);
    for (double each : p) total += each;
    for (double& each : p) each /= total;
    return p;
  }

  template <typename Body>  // body(b, s, h, kv_head)
  void for_queries(const Body& body) const {
    for (int64_t b = 0; b < a.batch; ++b) {
      for (int64_t s = 0; s < a.length; ++s) {
        for (int64_t h = 0; h < a.num_heads; ++h) body(b, s, h, h / (a.num_heads / a.num_kv_heads));
      }
    }
  }

  Doubles forward() const {
    Doubles out(d_out.size());
    for_queries([&](int64_t b, int64_t s, int64_t h, int64_t kv) {
      const Doubles p = weights(b, s, h);
      for (int64_t j = first_key(s); j <= s; ++j) {
        for (int64_t d = 0; d < a.v_dim; ++d) {
          out[out_at(b * a.length + s, h) + static_cast<size_t>(d)] +=
              p[static_cast<size_t>(j - first_key(s))] * v[v_at(b * a.length + j, kv) + static_cast<size_t>(d)];
        }
      }
    });
    return out;
  }

  double loss() const {
    const Doubles out = forward();
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * d_out[i];
    return sum;
  }

  void backward() {
    dq.assign(q.size(), 0);
    dk.assign(k.size(), 0);
    dv.assign(v.size(), 0);
    d_sinks.assign(sinks.size(), 0);
    for_queries([&](int64_t b, int64_t s, int64_t h, int64_t kv) {
      const Doubles p = weights(b, s, h);
      const double* dy = &d_out[out_at(b * a.length + s, h)];
      Doubles dp(p.size());
      double along = 0;
      for (size_t i = 0; i + 1 < p.size(); ++i) {
        const size_t value = v_at(b * a.length + first_key(s) + static_cast<int64_t>(i), kv);
        for (size_t d = 0; d < static_cast<size_t>(a.v_dim); ++d) {
          dp[i] += dy[d] * v[value + d];
          dv[value + d] += p[i] * dy[d];
        }
        along += p[i] * dp[i];
      }
      d_sinks[static_cast<size_t>(h)] -= p.back() * along;
      const auto query = static_cast<size_t>(q_row(b * a.length + s, h) - q.data());
      for (size_t i = 0; i + 1 < p.size(); ++i) {
        const double ds = static_cast<double>(a.scale) * p[i] * (dp[i] - along);
        const size_t key = k_at(b * a.length + first_key(s) + static_cast<int64_t>(i), kv);
        for (size_t d = 0; d < static_cast<size_t>(a.k_dim); ++d) {
          dq[query + d] += ds * k[key + d];
          dk[key + d] += ds * q[query + d];
        }
      }
    });
  }

  TrainAttention a;
  Doubles q, k, v, sinks, d_out, dq, dk, dv, d_sinks;
};

void expect_near(const std::vector<float>& got, const Doubles& expected, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], tolerance) << what << " at " << i;
}

std::string text(const KernelSet& set, const Case& c) {
  return std::string(set.name) + ", length " + std::to_string(c.length) + ", window " + std::to_string(c.window) + ": ";
}

void expect_plain(const KernelSet& set, const Case& c, Precision precision, double tolerance) {
  Tensors t(c);
  t.args.precision = precision;
  t.run(set, 2);
  Plain plain(t);
  plain.backward();
  const std::string where = text(set, c);
  expect_near(t.out, plain.forward(), tolerance, where + "out");
  expect_near(t.dq, plain.dq, tolerance, where + "dq");
  expect_near(t.dk, plain.dk, 3 * tolerance, where + "dk");
  expect_near(t.dv, plain.dv, 3 * tolerance, where + "dv");
  for (double& each : plain.d_sinks) each += 0.5;  // added to what was there
  expect_near(t.d_sinks, plain.d_sinks, 10 * tolerance, where + "d_sinks");
}

TEST(TrainAttention, equals_a_plain_implementation_forward_and_backward) {
  for (const KernelSet* set : sets_here()) {
    for (const Case& c : kCases) expect_plain(*set, c, Precision::f32, 1e-5);
  }
}

TEST(TrainAttention, in_bf16_stays_close_to_f32) {
  for (const KernelSet* set : sets_here()) {
    for (const Case& c : kCases) expect_plain(*set, c, Precision::bf16, 0.06);
    Tensors exact(kCases[2]), rounded(kCases[2]);
    rounded.args.precision = Precision::bf16;
    exact.run(*set, 2);
    rounded.run(*set, 2);
    EXPECT_NE(exact.out, rounded.out) << set->name;
  }
}

TEST(TrainAttention, gradients_follow_finite_differences) {
  for (const KernelSet* set : sets_here()) {
    for (const Case& c : kCases) {
      Tensors t(c);
      t.run(*set, 2);
      Plain plain(t);
      const auto check = [&](Doubles& values, const std::vector<float>& gradient, double before, const char* name) {
        constexpr double kStep = 1e-4;
        for (size_t turn = 0; turn < 4; ++turn) {
          const size_t i = turn * (values.size() - 1) / 3;
          const double middle = values[i];
          values[i] = middle + kStep;
          const double up = plain.loss();
          values[i] = middle - kStep;
          const double slope = (up - plain.loss()) / (2 * kStep);
          values[i] = middle;
          ASSERT_NEAR(gradient[i], before + slope, 1e-4) << text(*set, c) << name << " at " << i;
        }
      };
      check(plain.q, t.dq, 0, "dq");
      check(plain.k, t.dk, 0, "dk");
      check(plain.v, t.dv, 0, "dv");
      check(plain.sinks, t.d_sinks, 0.5, "d_sinks");
    }
  }
}

TEST(TrainAttention, bits_do_not_depend_on_threads) {
  for (const KernelSet* set : sets_here()) {
    for (const Case& c : kCases) {
      for (Precision precision : {Precision::f32, Precision::bf16}) {
        Tensors one(c);
        one.args.precision = precision;
        one.run(*set, 1);
        for (int threads : {2, 3}) {
          Tensors t(c);
          t.args.precision = precision;
          t.run(*set, threads);
          EXPECT_EQ(t.out, one.out) << text(*set, c);
          EXPECT_EQ(t.dq, one.dq) << text(*set, c);
          EXPECT_EQ(t.dk, one.dk) << text(*set, c);
          EXPECT_EQ(t.dv, one.dv) << text(*set, c);
          EXPECT_EQ(t.d_sinks, one.d_sinks) << text(*set, c);
        }
      }
    }
  }
}

TEST(TrainAttention, a_sequence_does_not_see_its_neighbours) {
  const Case two{2, 70, 2, 1, 8, 8, 0, true};
  for (const KernelSet* set : sets_here()) {
    Tensors both(two), other(two);
    std::fill_n(other.k.begin() + 70 * 8, 70 * 8, 3.0f);
    std::fill_n(other.v.begin() + 70 * 8, 70 * 8, 3.0f);
    both.run(*set, 2);
    other.run(*set, 2);
    EXPECT_TRUE(std::equal(both.out.begin(), both.out.begin() + 70 * 16, other.out.begin())) << set->name;
    EXPECT_TRUE(std::equal(both.dk.begin(), both.dk.begin() + 70 * 8, other.dk.begin())) << set->name;
    EXPECT_NE(both.out, other.out);
  }
}

TEST(TrainAttention, a_query_does_not_see_what_comes_after_it) {
  for (const KernelSet* set : sets_here()) {
    for (int64_t window : {0, 70}) {
      for (Precision precision : {Precision::f32, Precision::bf16}) {
        Tensors longer({1, 150, 2, 1, 8, 8, window, true}), shorter({1, 99, 2, 1, 8, 8, window, true});
        longer.args.precision = shorter.args.precision = precision;
        std::copy_n(longer.q.begin(), shorter.q.size(), shorter.q.begin());
        std::copy_n(longer.k.begin(), shorter.k.size(), shorter.k.begin());
        std::copy_n(longer.v.begin(), shorter.v.size(), shorter.v.begin());
        longer.run(*set, 2);
        shorter.run(*set, 2);
        EXPECT_TRUE(std::equal(shorter.out.begin(), shorter.out.end(), longer.out.begin())) << set->name;
      }
    }
  }
}

}  // namespace
}  // namespace moxie::test
