#pragma once

#include <string>

#include "services/bench/bench_serve.h"
#include "services/bench/bench_transfer.h"
#include "services/cli/output.h"

namespace winnow {

// One object each; every figure's name ends in its unit, spreads are
// {"median", "min", "max"}, and each figure stands beside what it is measured
// against.
Json TransferJson(const TransferReport& report);
Json ServeJson(const ServeReport& report);

// The same for people, at most 100 columns.
std::string TransferTable(const TransferReport& report);
std::string ServeTable(const ServeReport& report);

}  // namespace winnow
