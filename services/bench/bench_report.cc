#include "services/bench/bench_report.h"

#include <utility>

namespace winnow {
namespace {

Json SpreadJson(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

Json MemoryJson(const LoadedMemory& memory) {
  const ResidentMemory& resident = memory.resident;
  const auto beyond = static_cast<int64_t>(resident.total_bytes) -
                      static_cast<int64_t>(memory.model_file_bytes);
  return {{"resident_bytes", resident.total_bytes},
          {"resident_anonymous_bytes", resident.anonymous_bytes},
          {"resident_file_bytes", resident.file_bytes},
          {"model_file_bytes", memory.model_file_bytes},
          {"store_capacity_bytes", memory.store_capacity_bytes},
          {"beyond_model_file_bytes", beyond}};
}

Json RoofsJson(const RoofFigures& roofs) {
  Json json;
  json["working_set_bytes"] = roofs.working_set_bytes;
  json["read_bytes_per_s"] = SpreadJson(roofs.read_bytes_per_s);
  json["read_one_thread_bytes_per_s"] =
      SpreadJson(roofs.read_one_thread_bytes_per_s);
  json["copy_bytes_per_s"] = SpreadJson(roofs.copy_bytes_per_s);
  json["copy_one_thread_bytes_per_s"] =
      SpreadJson(roofs.copy_one_thread_bytes_per_s);
  json["weight_bytes"] = roofs.weight_bytes;
  json["read_weights_bytes_per_s"] = SpreadJson(roofs.read_weights_bytes_per_s);
  json["gemm_tokens"] = kGemmTokens;
  json["gemm_flops_per_s"] = SpreadJson(roofs.gemm_flops_per_s);
  return json;
}

Json EngineJson(const EngineFigures& figures) {
  Json json;
  json["context_tokens"] = figures.context_tokens;
  json["policy"] = PolicyJson(figures.plan);
  json["prefill_tokens_per_s"] = SpreadJson(figures.prefill_tokens_per_s);
  json["prefill_roof_tokens_per_s"] = figures.prefill_roof_tokens_per_s;
  json["prefill_roof_share"] =
      figures.prefill_tokens_per_s.median / figures.prefill_roof_tokens_per_s;
  json["prefill_flops"] = figures.prefill_operations;
  json["ttft_ms"] = SpreadJson(figures.time_to_first_token_ms);
  json["compaction_share"] = SpreadJson(figures.compaction_share);
  json["write_share"] = SpreadJson(figures.write_share);
  json["decode_tokens_per_s"] = SpreadJson(figures.decode_tokens_per_s);
  json["decode_roof_tokens_per_s"] = figures.decode_roof_tokens_per_s;
  json["decode_roof_share"] =
      figures.decode_tokens_per_s.median / figures.decode_roof_tokens_per_s;
  json["decode_read_bytes_per_token"] = figures.decode_read_bytes;
  json["decode_read_roof_bytes_per_s"] =
      SpreadJson(figures.decode_read_bytes_per_s);
  json["kv"] = KvJson(figures.kv);
  json["other_cores"] = SpreadJson(figures.other_cores);
  return json;
}

Json BatchJson(const BatchFigures& figures) {
  Json json;
  json["policy"] = PolicyJson(figures.plan);
  json["sequences"] = figures.sequences;
  json["context_tokens"] = figures.context_tokens;
  json["steps"] = figures.steps;
  json["mean_batch"] = figures.mean_batch;
  json["decode_tokens_per_s"] = SpreadJson(figures.decode_tokens_per_s);
  json["decode_roof_tokens_per_s"] = figures.roof_tokens_per_s;
  json["decode_roof_share"] =
      figures.decode_tokens_per_s.median / figures.roof_tokens_per_s;
  json["read_bytes_per_step"] = figures.step_read_bytes;
  json["read_roof_bytes_per_s"] = SpreadJson(figures.read_bytes_per_s);
  json["other_cores"] = SpreadJson(figures.other_cores);
  return json;
}

Json AttentionJson(const AttentionFigures& figures, const RoofFigures& roofs) {
  const double roof = roofs.read_bytes_per_s.median;
  Json json;
  json["group"] = figures.group;
  json["rows"] = figures.num_rows;
  json["tokens"] = figures.num_tokens;
  json["read_bytes"] = figures.read_bytes;
  json["ragged_bytes_per_s"] = SpreadJson(figures.ragged_bytes_per_s);
  json["equal_bytes_per_s"] = SpreadJson(figures.equal_bytes_per_s);
  json["ragged_equal_time_ratio"] = SpreadJson(figures.ragged_equal_time_ratio);
  json["razor_bytes_per_s"] = SpreadJson(figures.razor_bytes_per_s);
  json["razor_equal_bytes_per_s"] = SpreadJson(figures.razor_equal_bytes_per_s);
  json["razor_equal_time_ratio"] = SpreadJson(figures.razor_equal_time_ratio);
  json["roof_bytes_per_s"] = roof;
  json["ragged_roof_share"] = figures.ragged_bytes_per_s.median / roof;
  json["equal_roof_share"] = figures.equal_bytes_per_s.median / roof;
  return json;
}

Json StoreJson(const StoreFigures& figures, const RoofFigures& roofs) {
  const double write_roof = roofs.copy_one_thread_bytes_per_s.median;
  const double read_roof = roofs.read_one_thread_bytes_per_s.median;
  Json json;
  json["segment_bytes"] = figures.segment_bytes;
  json["context_segments"] = figures.context_segments;
  json["working_set_bytes"] = figures.working_set_bytes;
  json["write_bytes_per_s"] = SpreadJson(figures.write_bytes_per_s);
  json["write_roof_bytes_per_s"] = write_roof;
  json["write_roof_share"] = figures.write_bytes_per_s.median / write_roof;
  json["verified_read_bytes_per_s"] =
      SpreadJson(figures.verified_read_bytes_per_s);
  json["verified_read_roof_bytes_per_s"] = read_roof;
  json["verified_read_roof_share"] =
      figures.verified_read_bytes_per_s.median / read_roof;
  return json;
}

}  // namespace

Json ReportJson(const BenchReport& report) {
  Json json;
  json["version"] = report.version;
  json["date_utc"] = report.date;
  json["cpu"] = report.cpu;
  json["backend"] = report.backend;
  json["threads"] = report.threads;
  json["repeats"] = report.repeats;
  json["other_cores"] = report.other_cores;
  for (const auto& [section, cores] : report.section_loads) {
    json["other_cores_by_section"][section] = cores;
  }
  json["model"] = report.model;
  json["memory_after_loading"] = MemoryJson(report.memory);
  json["roofs"] = RoofsJson(report.roofs);
  for (const EngineFigures& figures : report.engine) {
    json["engine"].push_back(EngineJson(figures));
  }
  for (const BatchFigures& figures : report.batch) {
    json["batch"].push_back(BatchJson(figures));
  }
  for (const AttentionFigures& figures : report.attention) {
    json["attention"].push_back(AttentionJson(figures, report.roofs));
  }
  if (report.store.has_value()) {
    json["store"] = StoreJson(*report.store, report.roofs);
  }
  return json;
}

}  // namespace winnow
