#include "gpu/cpu/gemm.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "gpu/cpu/dequantize.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace winnow {
namespace {

using dnnl::memory;

// Primitives of other shapes are made anew, 50 microseconds each.
constexpr size_t kMaxPrimitives = 64;
constexpr int64_t kRowMultiple = 16;  // of a stripe

struct Shape {
  int64_t tokens;
  int64_t stripe_rows;
  int64_t cols;
  int64_t output_stride;
  bool accumulate;
  auto operator<=>(const Shape&) const = default;
};

struct Matmul {
  dnnl::matmul primitive;
  memory::desc input, weights, output, scratch;
};

// output[tokens, rows] (+)= input[tokens, cols] * weights[rows, cols]^T
Matmul MakeMatmul(const dnnl::engine& engine, const Shape& shape) {
  using dt = memory::data_type;
  const memory::desc input({shape.tokens, shape.cols}, dt::bf16,
                           memory::format_tag::ab);
  const memory::desc weights({shape.cols, shape.stripe_rows}, dt::bf16,
                             memory::format_tag::ba);
  const memory::desc output({shape.tokens, shape.stripe_rows}, dt::f32,
                            memory::dims{shape.output_stride, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (shape.accumulate) {
    dnnl::post_ops post_ops;
    post_ops.append_sum();
    attributes.set_post_ops(post_ops);
  }
  const dnnl::matmul::primitive_desc description(
      dnnl::matmul::desc(input, weights, output), attributes, engine);
  return {dnnl::matmul(description), input, weights, output,
          description.scratchpad_desc()};
}

void AddBias(const LinearArgs& args, int64_t first_row, int64_t rows,
             int64_t tokens, float* output) {
  for (int64_t token = 0; token < tokens; ++token) {
    for (int64_t row = 0; row < rows; ++row) {
      output[token * args.weight.rows + row] += args.bias[first_row + row];
    }
  }
}

}  // namespace

class Gemm::Impl {
 public:
  Impl(ThreadPool& pool, bool bfloat16)
      : pool_(pool),
        bfloat16_(bfloat16),
        engine_(dnnl::engine::kind::cpu, 0),
        threads_(static_cast<size_t>(pool.num_threads())) {
    for (Thread& thread : threads_) {
      thread.stream = dnnl::stream(engine_);
    }
  }

  void Linear(const LinearArgs& args) {
    const int64_t cols = args.weight.cols;
    for (int64_t token = 0; token < args.num_tokens; token += kMaxTokens) {
      LinearArgs part = args;
      part.input += token * cols;
      part.output += token * args.weight.rows;
      part.num_tokens = static_cast<int>(
          std::min<int64_t>(kMaxTokens, args.num_tokens - token));
      LinearOfPart(part);
    }
  }

 private:
  struct Thread {
    dnnl::stream stream;
    std::vector<uint16_t> bfloat16_weights;
    std::vector<float> float_weights;
    std::vector<std::byte> scratch;
    std::optional<dnnl::error> failure;
  };

  // Equal stripes that fit, a multiple of them per thread.
  int64_t StripeRows(const WeightView& weight) const {
    const int64_t row_bytes = weight.cols * (bfloat16_ ? 2 : 4);
    const int64_t fitting =
        std::max<int64_t>(1, kStripeBytes / row_bytes / kRowMultiple) *
        kRowMultiple;
    const int64_t threads = pool_.num_threads();
    const int64_t rounds =
        (weight.rows + threads * fitting - 1) / (threads * fitting);
    const int64_t rows =
        (weight.rows + threads * rounds - 1) / (threads * rounds);
    return (rows + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  }

  void LinearOfPart(const LinearArgs& args) {
    const int64_t stripe_rows = StripeRows(args.weight);
    const int64_t stripes = (args.weight.rows + stripe_rows - 1) / stripe_rows;
    if (!bfloat16_) {
      pool_.ParallelFor(stripes, [&](int64_t stripe, int thread) {
        FloatStripe(args, stripe * stripe_rows, stripe_rows,
                    threads_[static_cast<size_t>(thread)]);
      });
      return;
    }
    RoundInput(args);
    // Before either of the two below is looked up: both must stay.
    if (primitives_.size() + 2 > kMaxPrimitives) {
      primitives_.clear();
    }
    const int64_t last_rows = args.weight.rows - (stripes - 1) * stripe_rows;
    const Matmul& whole =
        GetMatmul(args, std::min(stripe_rows, args.weight.rows));
    const Matmul& last = GetMatmul(args, last_rows);
    pool_.ParallelFor(stripes, [&](int64_t stripe, int thread) {
      const bool is_last = stripe == stripes - 1;
      Thread& own = threads_[static_cast<size_t>(thread)];
      try {
        Bfloat16Stripe(args, stripe * stripe_rows,
                       is_last ? last_rows : stripe_rows,
                       is_last ? last : whole, own);
      } catch (const dnnl::error& error) {
        own.failure = error;  // a loop's body must not throw
      }
    });
    for (Thread& thread : threads_) {
      if (const auto failure = std::exchange(thread.failure, std::nullopt)) {
        throw dnnl::error(*failure);
      }
    }
  }

  void FloatStripe(const LinearArgs& args, int64_t first_row,
                   int64_t stripe_rows, Thread& thread) {
    const int64_t cols = args.weight.cols;
    const int64_t rows = std::min(stripe_rows, args.weight.rows - first_row);
    thread.float_weights.resize(static_cast<size_t>(stripe_rows * cols));
    float* weights = thread.float_weights.data();
    for (int64_t row = 0; row < rows; ++row) {
      DequantizeToFloat(args.weight.type, args.weight.Row(first_row + row),
                        cols, weights + row * cols);
    }
    float* output = args.output + first_row;
    dnnl_sgemm('N', 'T', args.num_tokens, rows, cols, 1.0f, args.input, cols,
               weights, cols, args.accumulate ? 1.0f : 0.0f, output,
               args.weight.rows);
    if (args.bias != nullptr) {
      AddBias(args, first_row, rows, args.num_tokens, output);
    }
  }

  void RoundInput(const LinearArgs& args) {
    const int64_t cols = args.weight.cols;
    input_.resize(static_cast<size_t>(args.num_tokens * cols));
    constexpr int64_t kTokens = 16;
    pool_.ParallelFor(
        (args.num_tokens + kTokens - 1) / kTokens, [&](int64_t piece, int) {
          const int64_t first = piece * kTokens;
          const int64_t tokens = std::min(kTokens, args.num_tokens - first);
          RoundToBfloat16(args.input + first * cols, tokens * cols,
                          input_.data() + first * cols);
        });
  }

  const Matmul& GetMatmul(const LinearArgs& args, int64_t rows) {
    const Shape shape{.tokens = args.num_tokens,
                      .stripe_rows = rows,
                      .cols = args.weight.cols,
                      .output_stride = args.weight.rows,
                      .accumulate = args.accumulate};
    const auto found = primitives_.find(shape);
    if (found != primitives_.end()) {
      return found->second;
    }
    return primitives_.emplace(shape, MakeMatmul(engine_, shape)).first->second;
  }

  void Bfloat16Stripe(const LinearArgs& args, int64_t first_row, int64_t rows,
                      const Matmul& matmul, Thread& thread) {
    const int64_t cols = args.weight.cols;
    thread.bfloat16_weights.resize(static_cast<size_t>(rows * cols));
    uint16_t* weights = thread.bfloat16_weights.data();
    for (int64_t row = 0; row < rows; ++row) {
      DequantizeToBfloat16(args.weight.type, args.weight.Row(first_row + row),
                           cols, weights + row * cols);
    }
    thread.scratch.resize(matmul.scratch.get_size() + 64);
    float* output = args.output + first_row;
    matmul.primitive.execute(
        thread.stream,
        {{DNNL_ARG_SRC, memory(matmul.input, engine_, input_.data())},
         {DNNL_ARG_WEIGHTS, memory(matmul.weights, engine_, weights)},
         {DNNL_ARG_DST, memory(matmul.output, engine_, output)},
         {DNNL_ARG_SCRATCHPAD,
          memory(matmul.scratch, engine_, thread.scratch.data())}});
    if (args.bias != nullptr) {
      AddBias(args, first_row, rows, args.num_tokens, output);
    }
  }

  ThreadPool& pool_;
  const bool bfloat16_;
  dnnl::engine engine_;
  std::vector<Thread> threads_;
  std::vector<uint16_t> input_;
  std::map<Shape, Matmul> primitives_;
};

Gemm::Gemm(ThreadPool& pool, CpuLevel level, Numerics numerics)
    : impl_(std::make_unique<Impl>(pool, numerics == Numerics::kFast &&
                                             level == CpuLevel::kAvx512Bf16)) {}

Gemm::~Gemm() = default;

absl::Status Gemm::Linear(const LinearArgs& args) {
  try {
    impl_->Linear(args);
  } catch (const dnnl::error& error) {
    return absl::InternalError(absl::StrCat(
        "oneDNN matmul of ", args.num_tokens, " x ", args.weight.cols, " x ",
        args.weight.rows, ": ", error.message));
  }
  return absl::OkStatus();
}

}  // namespace winnow
