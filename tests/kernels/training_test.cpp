// Backward kernels: the reference set against finite differences in double, every fast set against the reference over
// odd lengths, odd addresses and the aliasing that the contracts allow.
#include <algorithm>
#include <functional>

#include "kernels/support.h"

namespace moxie::test {
namespace {

const int64_t kLengths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 511};
const GluKind kKinds[] = {GluKind::swiglu, GluKind::clamped_swiglu, GluKind::geglu};

/// Floats that end where memory ends: an odd length also begins at an odd address.
class Floats {
 public:
  explicit Floats(const std::vector<float>& values) : bytes_(values.size() * 4) {
    std::copy(values.begin(), values.end(), bytes_.floats());
  }
  operator float*() const { return bytes_.floats(); }
  std::vector<float> values() const { return {bytes_.floats(), bytes_.floats() + bytes_.size() / 4}; }

 private:
  GuardedBytes bytes_;
};

using Outputs = std::vector<std::vector<float>>;

void expect_close(const KernelSet& set, const Outputs& got, const Outputs& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t o = 0; o < got.size(); ++o) {
    for (size_t i = 0; i < got[o].size(); ++i) {
      ASSERT_NEAR(got[o][i], expected[o][i], tolerance * (1 + std::abs(static_cast<double>(expected[o][i]))))
          << set.name << ": output " << o << " at " << i << " of " << got[o].size();
    }
  }
}

void expect_as_ref(double tolerance, const std::function<Outputs(const KernelSet&, int64_t)>& f) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t n : kLengths) expect_close(*set, f(*set, n), f(ref(), n), tolerance);
  }
}

/// d f(x) / d x[i] for each i, by central differences.
std::vector<double> differences(const std::vector<float>& x,
                                const std::function<double(const std::vector<double>&)>& f) {
  constexpr double kStep = 1e-5;
  std::vector<double> at(x.begin(), x.end()), slopes;
  for (size_t i = 0; i < x.size(); ++i) {
    at[i] = x[i] + kStep;
    const double up = f(at);
    at[i] = x[i] - kStep;
    slopes.push_back((up - f(at)) / (2 * kStep));
    at[i] = x[i];
  }
  return slopes;
}

void expect_gradient(const std::vector<float>& got, const std::vector<double>& slopes) {
  ASSERT_EQ(got.size(), slopes.size());
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], slopes[i], 2e-6 * (1 + std::abs(slopes[i]))) << "at " << i;
}

using Doubles = std::vector<double>;

double norm_loss(const Doubles& x, const std::vector<float>& dy, const Doubles& weight, const Doubles* bias) {
  const auto n = static_cast<double>(x.size());
  double mean = 0, squares = 0, loss = 0;
  if (bias != nullptr) {
    for (double v : x) mean += v / n;
  }
  for (double v : x) squares += (v - mean) * (v - mean);
  for (size_t i = 0; i < x.size(); ++i) {
    const double y = (x[i] - mean) / std::sqrt(squares / n + 1e-5) * weight[i] + (bias != nullptr ? (*bias)[i] : 0);
    loss += y * dy[i];
  }
  return loss;
}

TEST(RefBackward, norms_follow_finite_differences) {
  for (int64_t n : {1, 2, 13}) {
    const std::vector<float> x = normals(n, 1), w = normals(n, 2), b = normals(n, 3), dy = normals(n, 4);
    const Doubles xd(x.begin(), x.end()), wd(w.begin(), w.end()), bd(b.begin(), b.end());
    const std::vector<float> zeros(static_cast<size_t>(n));
    std::vector<float> dx = zeros, dw = zeros, db = zeros;
    ref().rms_norm_backward(x.data(), w.data(), 1e-5f, dy.data(), n, dx.data(), dw.data());
    if (n > 1) expect_gradient(dx, differences(x, [&](const Doubles& v) { return norm_loss(v, dy, wd, nullptr); }));
    expect_gradient(dw, differences(w, [&](const Doubles& v) { return norm_loss(xd, dy, v, nullptr); }));
    dx = dw = zeros;
    ref().layer_norm_backward(x.data(), w.data(), 1e-5f, dy.data(), n, dx.data(), dw.data(), db.data());
    expect_gradient(dx, differences(x, [&](const Doubles& v) { return norm_loss(v, dy, wd, &bd); }));
    expect_gradient(dw, differences(w, [&](const Doubles& v) { return norm_loss(xd, dy, v, &bd); }));
    expect_gradient(db, differences(b, [&](const Doubles& v) { return norm_loss(xd, dy, wd, &v); }));
  }
}

double glu_value(const GluArgs& args, double g, double u) {
  if (args.kind == GluKind::swiglu) return g / (1 + std::exp(-g)) * u;
  if (args.kind == GluKind::geglu) {
    return 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g))) * u;
  }
  const double limit = args.limit, c = std::min(g, limit);
  return c / (1 + std::exp(-static_cast<double>(args.alpha) * c)) * (std::clamp(u, -limit, limit) + 1);
}

TEST(RefBackward, every_glu_follows_finite_differences) {
  for (GluKind kind : kKinds) {
    const GluArgs args{.kind = kind, .limit = 1.0f};  // beyond it in about half of all cases
    const int64_t n = 40;
    const std::vector<float> g = normals(n, 1), u = normals(n, 2), dh = normals(n, 3);
    const float weight = 0.7f;
    std::vector<float> dg(n), du(n), h(n);
    const float d_weight =
        ref().glu_backward(args, g.data(), u.data(), dh.data(), weight, n, dg.data(), du.data(), h.data());
    double loss = 0;
    for (size_t i = 0; i < g.size(); ++i) {
      loss += dh[i] * glu_value(args, g[i], u[i]);
      EXPECT_NEAR(h[i], weight * glu_value(args, g[i], u[i]), 1e-6);
    }
    EXPECT_NEAR(d_weight, loss, 1e-5);
    const auto total = [&](const Doubles& gate, const Doubles& up) {
      double sum = 0;
      for (size_t i = 0; i < gate.size(); ++i) sum += weight * dh[i] * glu_value(args, gate[i], up[i]);
      return sum;
    };
    const Doubles gd(g.begin(), g.end()), ud(u.begin(), u.end());
    expect_gradient(dg, differences(g, [&](const Doubles& v) { return total(v, ud); }));
    expect_gradient(du, differences(u, [&](const Doubles& v) { return total(gd, v); }));
  }
}

Doubles softmax_of(const Doubles& x) {
  Doubles p;
  double total = 0;
  for (double v : x) p.push_back(std::exp(v));
  for (double v : p) total += v;
  for (double& v : p) v /= total;
  return p;
}

TEST(RefBackward, softmax_and_cross_entropy_follow_finite_differences) {
  for (int64_t n : {1, 2, 19}) {
    const std::vector<float> x = normals(n, 1), dp = normals(n, 2);
    const Doubles pd = softmax_of(Doubles(x.begin(), x.end()));
    const std::vector<float> p(pd.begin(), pd.end());
    std::vector<float> ds(p.size());
    const float along = ref().softmax_backward(p.data(), dp.data(), 0.5f, n, ds.data());
    const auto dot = [&](const Doubles& logits) {
      double sum = 0;
      for (size_t i = 0; i < logits.size(); ++i) sum += softmax_of(logits)[i] * dp[i];
      return sum;
    };
    EXPECT_NEAR(along, dot(Doubles(x.begin(), x.end())), 1e-6);
    expect_gradient(ds, differences(x, [&](const Doubles& v) { return 0.5 * dot(v); }));

    std::vector<float> logits = x;
    const auto target = static_cast<size_t>(n - 1);
    const float loss = ref().cross_entropy(logits.data(), n, n - 1, 2.0f);
    EXPECT_NEAR(loss, -std::log(pd[target]), 1e-6);
    expect_gradient(logits, differences(x, [&](const Doubles& v) { return -2 * std::log(softmax_of(v)[target]); }));
  }
}

TEST(Backward, norms_agree_with_the_reference) {
  expect_as_ref(4e-6, [](const KernelSet& set, int64_t n) -> Outputs {
    const Floats x(normals(n, 1)), w(normals(n, 2)), dy(normals(n, 3)), dx(normals(n, 4)), dw(normals(n, 5));
    set.rms_norm_backward(x, w, 0.1f, dy, n, dx, dw);
    return {dx.values(), dw.values()};
  });
  expect_as_ref(4e-6, [](const KernelSet& set, int64_t n) -> Outputs {
    const Floats x(normals(n, 1)), w(normals(n, 2)), dy(normals(n, 3)), dx(normals(n, 4)), dw(normals(n, 5));
    const Floats db(normals(n, 6));
    set.layer_norm_backward(x, w, 0.1f, dy, n, dx, dw, db);
    return {dx.values(), dw.values(), db.values()};
  });
}

TEST(Backward, every_glu_agrees_with_the_reference_also_when_results_replace_inputs) {
  for (GluKind kind : kKinds) {
    const GluArgs args{.kind = kind, .limit = 2.5f};
    const auto run = [&](const KernelSet& set, int64_t n, bool in_place) -> Outputs {
      std::vector<float> gates = normals(n, 1), ups = normals(n, 2);
      for (float& g : gates) g *= 3;
      gates[0] = 90;  // where sigmoid and tanh have come to their ends
      gates[gates.size() / 2] = -90;
      ups[ups.size() / 3] = args.limit;  // the slope at the limit itself is that inside
      const Floats gate(gates), up(ups), dh(normals(n, 3)), d_gate(gates), d_up(gates), h(gates);
      const float d_weight = in_place ? set.glu_backward(args, gate, up, dh, 0.3f, n, gate, up, dh)
                                      : set.glu_backward(args, gate, up, dh, 0.3f, n, d_gate, d_up, h);
      if (in_place) return {{d_weight}, gate.values(), up.values(), dh.values()};
      return {{d_weight}, d_gate.values(), d_up.values(), h.values()};
    };
    expect_as_ref(2e-5, [&](const KernelSet& set, int64_t n) { return run(set, n, false); });
    for (const KernelSet* set : fast_sets()) {
      for (int64_t n : kLengths) EXPECT_EQ(run(*set, n, true), run(*set, n, false)) << set->name;
    }
  }
}

TEST(Backward, softmax_agrees_with_the_reference_also_in_place) {
  const auto run = [](const KernelSet& set, int64_t n, bool in_place) -> Outputs {
    std::vector<float> weights = normals(n, 1);
    ref().softmax(weights.data(), n);
    const Floats p(weights), dp(normals(n, 2)), ds(weights);
    const float along = set.softmax_backward(p, dp, 0.125f, n, in_place ? dp : ds);
    return {{along}, (in_place ? dp : ds).values()};
  };
  expect_as_ref(2e-6, [&](const KernelSet& set, int64_t n) { return run(set, n, false); });
  for (const KernelSet* set : fast_sets()) {
    for (int64_t n : kLengths) EXPECT_EQ(run(*set, n, true), run(*set, n, false)) << set->name;
  }
}

TEST(CrossEntropy, agrees_with_the_reference_for_large_and_for_impossible_logits) {
  for (float magnitude : {1.0f, 40.0f, 3e4f, 1e38f}) {
    expect_as_ref(2e-6, [&](const KernelSet& set, int64_t n) -> Outputs {
      std::vector<float> values = normals(n, 1);
      for (float& v : values) v *= magnitude / 3;
      if (n > 2) values[static_cast<size_t>(n) / 2] = -INFINITY;
      const Floats logits(values);
      const float loss = set.cross_entropy(logits, n, n - 1, 0.25f);
      return {{loss}, logits.values()};
    });
  }
}

TEST(CrossEntropy, of_an_impossible_target_is_infinite_and_of_a_nan_is_nan) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t n : kLengths) {
      std::vector<float> logits = normals(n + 1, 1);
      logits[static_cast<size_t>(n)] = -INFINITY;
      EXPECT_EQ(set->cross_entropy(logits.data(), n + 1, n, 1), INFINITY);
      EXPECT_EQ(logits[static_cast<size_t>(n)], -1);
      logits[0] = NAN;
      EXPECT_TRUE(std::isnan(set->cross_entropy(logits.data(), n + 1, n, 1)));
    }
  }
}

TEST(Dot, agrees_with_the_reference) {
  expect_as_ref(1e-5, [](const KernelSet& set, int64_t n) -> Outputs {
    return {{set.dot(Floats(normals(n, 1)), Floats(normals(n, 2)), n)}};
  });
}

TEST(Adamw, agrees_with_the_reference_over_many_steps) {
  expect_as_ref(3e-6, [](const KernelSet& set, int64_t n) -> Outputs {
    const std::vector<float> zeros(static_cast<size_t>(n));
    const Floats weight(normals(n, 1)), m(zeros), v(zeros);
    AdamwArgs args{.weight = weight, .m = m, .v = v, .n = n, .lr = 0.01f, .weight_decay = 0.1f, .grad_scale = 0.5f};
    for (int step = 1; step <= 10; ++step) {
      std::vector<float> grads = normals(n, static_cast<uint64_t>(step));
      grads[0] = 0;  // no gradient: no move but the decay
      const Floats grad(grads);
      args.grad = grad;
      args.bias1 = static_cast<float>(1 - std::pow(args.beta1, step));
      args.bias2 = static_cast<float>(1 - std::pow(args.beta2, step));
      set.adamw(args);
    }
    return {weight.values(), m.values(), v.values()};
  });
}

TEST(Adamw, first_step_moves_by_the_rate_against_the_sign_of_the_gradient) {
  for (const KernelSet* set : all_kernel_sets()) {
    if (!runs_here(*set)) continue;
    std::vector<float> weight = {1, 1, 1}, m(3), v(3);
    const std::vector<float> grad = {5, -0.01f, 0};
    set->adamw({.weight = weight.data(),
                .grad = grad.data(),
                .m = m.data(),
                .v = v.data(),
                .n = 3,
                .lr = 0.1f,
                .weight_decay = 0.5f,
                .bias1 = 0.1f,
                .bias2 = 0.05f});
    EXPECT_NEAR(weight[0], 0.95 - 0.1, 1e-6);
    EXPECT_NEAR(weight[1], 0.95 + 0.1, 1e-6);
    EXPECT_NEAR(weight[2], 0.95, 1e-6);
  }
}

}  // namespace
}  // namespace moxie::test
