#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "services/bench/bench_report.h"

namespace winnow {
namespace {

constexpr double kGiga = 1e9;
constexpr double kMega = 1e6;

// Text in the manner of printf; rows are of 100 columns at most.
template <typename... Values>
std::string Format(const char* format, const Values&... values) {
  char line[256];
  const int length = std::snprintf(line, sizeof(line), format, values...);
  return std::string(line,
                     std::min<size_t>(std::max(length, 0), sizeof(line) - 1));
}

// "  median     min     max", divided by a unit.
std::string Triple(const Spread& spread, double unit, int decimals) {
  return Format("%9.*f %9.*f %9.*f", decimals, spread.median / unit, decimals,
                spread.min / unit, decimals, spread.max / unit);
}

std::string RoofLine(const char* name, const Spread& spread) {
  return Format("  %-46s %s\n", name, Triple(spread, kGiga, 1).c_str());
}

std::string Heading(const BenchReport& report) {
  const LoadedMemory& memory = report.memory;
  const auto resident = static_cast<double>(memory.resident.total_bytes);
  const auto file = static_cast<double>(memory.model_file_bytes);
  std::string text =
      Format("winnow %s bench, %s, %s, %s, %d threads\n",
             report.version.c_str(), report.date.c_str(), report.cpu.c_str(),
             report.backend.c_str(), report.threads);
  text += Format("model %s, %d repeats, others kept %.2f cores busy\n",
                 report.model.c_str(), report.repeats, report.other_cores);
  text += Format(
      "resident after one token %.1f MB: the file's %.1f MB and %.1f MB more\n",
      resident / kMega, file / kMega, (resident - file) / kMega);
  return text;
}

std::string RoofsTable(const RoofFigures& roofs) {
  const double mebibytes =
      static_cast<double>(roofs.working_set_bytes) / 0x1p20;
  std::string text =
      Format("\n%-48s %9s %9s %9s\n", "Roofs", "median", "min", "max");
  text += RoofLine(Format("read %.0f MiB, GB/s", mebibytes).c_str(),
                   roofs.read_bytes_per_s);
  text += RoofLine("the same, one thread", roofs.read_one_thread_bytes_per_s);
  text += RoofLine(Format("read %.0f MB, the weights of a step, GB/s",
                          static_cast<double>(roofs.weight_bytes) / kMega)
                       .c_str(),
                   roofs.read_weights_bytes_per_s);
  text += RoofLine(Format("copy %.0f MiB, GB/s", mebibytes / 2).c_str(),
                   roofs.copy_bytes_per_s);
  text += RoofLine("the same, one thread", roofs.copy_one_thread_bytes_per_s);
  text += RoofLine(Format("GEMM of %d tokens, GFLOP/s", kGemmTokens).c_str(),
                   roofs.gemm_flops_per_s);
  return text;
}

std::string RowName(const EngineFigures& figures) {
  return Format("%7d  %-10s", static_cast<int>(figures.context_tokens),
                std::string(PolicyName(figures.plan.policy.kind)).c_str());
}

std::string PrefillTable(const std::vector<EngineFigures>& rows) {
  std::string text = Format(
      "\nPrefill, tokens/s\ncontext  policy     %9s %9s %9s %9s %6s %9s %8s "
      "%6s\n",
      "median", "min", "max", "roof", "share", "TTFT ms", "compact", "write");
  for (const EngineFigures& row : rows) {
    text +=
        RowName(row) + " " + Triple(row.prefill_tokens_per_s, 1, 1) +
        Format(" %9.1f %5.1f%% %9.1f %7.2f%% %5.1f%%\n",
               row.prefill_roof_tokens_per_s,
               100 * row.prefill_tokens_per_s.median /
                   row.prefill_roof_tokens_per_s,
               row.time_to_first_token_ms.median,
               100 * row.compaction_share.median, 100 * row.write_share.median);
  }
  return text;
}

std::string DecodeTable(const std::vector<EngineFigures>& rows) {
  std::string text = Format(
      "\nDecode, tokens/s\ncontext  policy     %9s %9s %9s %9s %6s %9s %9s "
      "%6s\n",
      "median", "min", "max", "roof", "share", "KV MB", "stored", "others");
  for (const EngineFigures& row : rows) {
    text +=
        RowName(row) + " " + Triple(row.decode_tokens_per_s, 1, 1) +
        Format(
            " %9.1f %5.1f%% %9.1f %9.1f %6.2f\n", row.decode_roof_tokens_per_s,
            100 * row.decode_tokens_per_s.median / row.decode_roof_tokens_per_s,
            static_cast<double>(row.kv.full) / kMega,
            static_cast<double>(row.kv.stored) / kMega, row.other_cores.median);
  }
  return text;
}

std::string BatchTable(const std::vector<BatchFigures>& rows) {
  std::string text = Format(
      "\nDecode of %d sequences at once, tokens/s\ncontext  policy     %9s %9s "
      "%9s %9s %6s %6s\n",
      rows.front().sequences, "median", "min", "max", "roof", "share",
      "others");
  for (const BatchFigures& row : rows) {
    text += Format("%7d  %-10s", static_cast<int>(row.context_tokens),
                   std::string(PolicyName(row.plan.policy.kind)).c_str()) +
            " " + Triple(row.decode_tokens_per_s, 1, 1) +
            Format(" %9.1f %5.1f%% %6.2f\n", row.roof_tokens_per_s,
                   100 * row.decode_tokens_per_s.median / row.roof_tokens_per_s,
                   row.other_cores.median);
  }
  return text;
}

std::string AttentionTable(const BenchReport& report) {
  const double roof = report.roofs.read_bytes_per_s.median;
  std::string text = Format("\n%-17s %9s %9s %9s %9s %6s %9s %6s %9s %9s\n",
                            "Attention, GB/s", "median", "min", "max", "roof",
                            "share", "equal", "share", "razor", "equal");
  for (const AttentionFigures& row : report.attention) {
    text += Format("  ragged, group %2d", row.group) + " " +
            Triple(row.ragged_bytes_per_s, kGiga, 1) +
            Format(" %9.1f %5.1f%% %9.1f %5.1f%% %9.1f %9.1f\n", roof / kGiga,
                   100 * row.ragged_bytes_per_s.median / roof,
                   row.equal_bytes_per_s.median / kGiga,
                   100 * row.equal_bytes_per_s.median / roof,
                   row.razor_bytes_per_s.median / kGiga,
                   row.razor_equal_bytes_per_s.median / kGiga);
  }
  return text;
}

std::string StoreTable(const StoreFigures& store, const RoofFigures& roofs) {
  const auto line = [](const char* name, const Spread& spread, double roof) {
    return Format("  %-15s %s %9.1f %5.1f%%\n", name,
                  Triple(spread, kGiga, 1).c_str(), roof / kGiga,
                  100 * spread.median / roof);
  };
  return Format("\n%-17s %9s %9s %9s %9s %6s\n", "Store, GB/s", "median", "min",
                "max", "roof", "share") +
         line("write", store.write_bytes_per_s,
              roofs.copy_one_thread_bytes_per_s.median) +
         line("verified read", store.verified_read_bytes_per_s,
              roofs.read_one_thread_bytes_per_s.median);
}

}  // namespace

std::string ReportTable(const BenchReport& report) {
  std::string text = Heading(report) + RoofsTable(report.roofs);
  if (!report.engine.empty()) {
    text += PrefillTable(report.engine) + DecodeTable(report.engine);
  }
  if (!report.batch.empty()) {
    text += BatchTable(report.batch);
  }
  if (!report.attention.empty()) {
    text += AttentionTable(report);
  }
  if (report.store.has_value()) {
    text += StoreTable(*report.store, report.roofs);
  }
  return text;
}

}  // namespace winnow
