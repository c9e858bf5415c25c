#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "gpu/backend.h"
#include "gpu/cpu/cpu_backend.h"

namespace winnow {

// One backend that this machine can make.
struct BackendCase {
  std::string name;  // letters, digits and '_': the name of the test
  bool is_reference = false;
  Numerics numerics = Numerics::kFloat32;  // the reference counts as float32
  CpuLevel level = CpuLevel::kAvx2;        // meaningless for the reference
  int num_threads = 1;

  std::unique_ptr<Backend> Make() const;
};

void PrintTo(const BackendCase& backend_case, std::ostream* stream);

// The reference, and the fast backend at each level that the machine has, with
// each numerics, on one and on two threads.  Float32 has no kernels beyond
// AVX-512.
std::vector<BackendCase> BackendCases();

std::string BackendCaseName(const testing::TestParamInfo<BackendCase>& param);

// A test that runs on every backend:
//
//   class FooTest : public BackendTest {};
//   WINNOW_INSTANTIATE_BACKENDS(FooTest);
//   TEST_P(FooTest, ...) { backend().Foo(...); reference().Foo(...); }
class BackendTest : public testing::TestWithParam<BackendCase> {
 protected:
  BackendTest()
      : backend_(GetParam().Make()), reference_(CreateReferenceBackend()) {}

  Backend& backend() { return *backend_; }
  Backend& reference() { return *reference_; }

  // Whether the backend may round inputs (see Numerics).
  bool is_fast() const {
    return GetParam().numerics == Numerics::kFast && !GetParam().is_reference;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Backend> reference_;
};

#define WINNOW_INSTANTIATE_BACKENDS(suite)                              \
  INSTANTIATE_TEST_SUITE_P(Backends, suite,                             \
                           testing::ValuesIn(::winnow::BackendCases()), \
                           ::winnow::BackendCaseName)

}  // namespace winnow
