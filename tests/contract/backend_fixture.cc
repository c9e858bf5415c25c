#include "tests/contract/backend_fixture.h"

#include "absl/strings/str_cat.h"

namespace winnow {
namespace {

const char* LevelName(CpuLevel level) {
  switch (level) {
    case CpuLevel::kAvx2:
      return "Avx2";
    case CpuLevel::kAvx512:
      return "Avx512";
    case CpuLevel::kAvx512Bf16:
      return "Avx512Bf16";
    case CpuLevel::kAmx:
      return "Amx";
  }
  return "";
}

}  // namespace

std::unique_ptr<Backend> BackendCase::Make() const {
  if (is_reference) {
    return CreateReferenceBackend();
  }
  return CreateCpuBackend({.numerics = numerics,
                           .num_threads = num_threads,
                           .max_level = level})
      .value();
}

std::string BackendCaseName(const testing::TestParamInfo<BackendCase>& param) {
  return param.param.name;
}

void PrintTo(const BackendCase& backend_case, std::ostream* stream) {
  *stream << backend_case.name;
}

std::vector<BackendCase> BackendCases() {
  std::vector<BackendCase> cases = {
      {.name = "Reference", .is_reference = true}};
  const auto detected = DetectCpuLevel();
  if (!detected.ok()) {
    return cases;
  }
  for (const CpuLevel level : kCpuLevels) {
    for (const Numerics numerics : {Numerics::kFast, Numerics::kFloat32}) {
      for (const int num_threads : {1, 2}) {
        const bool is_new =
            numerics == Numerics::kFast || level <= CpuLevel::kAvx512;
        if (level > *detected || !is_new) {
          continue;
        }
        const char* mode = numerics == Numerics::kFast ? "Fast" : "Float32";
        cases.push_back({.name = absl::StrCat(LevelName(level), mode,
                                              num_threads, "Threads"),
                         .numerics = numerics,
                         .level = level,
                         .num_threads = num_threads});
      }
    }
  }
  return cases;
}

}  // namespace winnow
