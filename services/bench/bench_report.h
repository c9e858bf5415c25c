#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "services/bench/bench_attention.h"
#include "services/bench/bench_batch.h"
#include "services/bench/bench_engine.h"
#include "services/bench/bench_machine.h"
#include "services/bench/bench_roofs.h"
#include "services/bench/bench_store.h"
#include "services/cli/output.h"

namespace winnow {

// Resident memory after loading, beside what it consists of.
struct LoadedMemory {
  ResidentMemory resident;
  uint64_t model_file_bytes = 0;
  uint64_t store_capacity_bytes = 0;  // reserved addresses, no memory yet
};

// All that one run of `winnow bench` found out.
struct BenchReport {
  std::string version;
  std::string date;  // UTC, "2026-01-31"
  std::string cpu;
  std::string backend;  // with the level of the CPU: "cpu-avx512_bf16"
  int threads = 0;
  int repeats = 0;
  std::string model;
  LoadedMemory memory;
  RoofFigures roofs;
  std::vector<EngineFigures> engine;  // empty: the section was not run
  std::vector<BatchFigures> batch;
  std::vector<AttentionFigures> attention;
  std::optional<StoreFigures> store;
  double other_cores = 0;  // kept busy by other processes, whole run
  std::vector<std::pair<std::string, double>> section_loads;  // the same, each
};

// One object; every figure's name ends in its unit, spreads are {"median",
// "min", "max"}, and each figure stands beside its roof and its share of it.
Json ReportJson(const BenchReport& report);

// The same for people, at most 100 columns.
std::string ReportTable(const BenchReport& report);

}  // namespace winnow
