#include "services/bench/bench_services_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "gpu/base/absl_string.h"

namespace winnow {
namespace {

Json SpreadJson(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

std::string SocketName(SocketKind kind) {
  return kind == SocketKind::kUnix ? "unix" : "tcp";
}

Json AnswerJson(const AnswerFigures& figures) {
  return {{"first_token_ms", SpreadJson(figures.first_token_ms)},
          {"second_token_ms", SpreadJson(figures.second_token_ms)},
          {"inter_token_ms", SpreadJson(figures.inter_token_ms)},
          {"total_ms", SpreadJson(figures.total_ms)},
          {"prefill_ms", SpreadJson(figures.prefill_ms)},
          {"write_ms", SpreadJson(figures.write_ms)},
          {"pull_ms", SpreadJson(figures.pull_ms)},
          {"decode_ms", SpreadJson(figures.decode_ms)}};
}

Json StreamsJson(const StreamFigures& figures) {
  return {{"streams", figures.streams},
          {"context_tokens", figures.context_tokens},
          {"answer_tokens", figures.answer_tokens},
          {"one_tokens_per_s", SpreadJson(figures.one_tokens_per_s)},
          {"each_tokens_per_s", SpreadJson(figures.each_tokens_per_s)},
          {"together_tokens_per_s", SpreadJson(figures.together_tokens_per_s)},
          {"together_ratio", SpreadJson(figures.together_ratio)},
          {"one_first_token_ms", SpreadJson(figures.one_first_token_ms)},
          {"each_first_token_ms", SpreadJson(figures.each_first_token_ms)}};
}

Json IdleJson(const IdleFigures& figures) {
  return {{"connections", figures.connections},
          {"first_token_beside_ms", figures.first_token_ms},
          {"resident_before_bytes", figures.resident_before_bytes},
          {"resident_during_bytes", figures.resident_during_bytes},
          {"resident_after_bytes", figures.resident_after_bytes},
          {"resident_again_bytes", figures.resident_again_bytes}};
}

Json HeldJson(const HeldFigures& figures) {
  Json refused = Json::object();
  for (const auto& [code, count] : figures.refused) {
    refused[code] = count;
  }
  return {{"streams", figures.streams},
          {"accepted_together", figures.accepted_together},
          {"completed", figures.completed},
          {"refused", refused},
          {"seconds", figures.seconds},
          {"tokens_per_s", figures.tokens_per_s},
          {"first_token_ms", SpreadJson(figures.first_token_ms)},
          {"resident_before_bytes", figures.resident_before_bytes},
          {"resident_peak_bytes", figures.resident_peak_bytes},
          {"resident_after_bytes", figures.resident_after_bytes}};
}

double Mebibytes(double bytes) { return bytes / (1 << 20); }

std::string AnswerRow(const std::string& name, const AnswerFigures& figures) {
  return absl::StrFormat("  %-22s %9.0f %9.0f %9.2f %9.0f %9.1f %9.1f\n", name,
                         figures.first_token_ms.median,
                         figures.second_token_ms.median,
                         figures.inter_token_ms.median, figures.total_ms.median,
                         figures.write_ms.median, figures.pull_ms.median);
}

std::string LoadRows(const LoadFigures& load) {
  const StreamFigures& streams = load.streams;
  std::string text = absl::StrFormat(
      "%d streams, razor, %d tokens: %.0f tokens/s, each %.0f; one alone "
      "%.0f\n",
      streams.streams, streams.context_tokens,
      streams.together_tokens_per_s.median, streams.each_tokens_per_s.median,
      streams.one_tokens_per_s.median);
  absl::StrAppendFormat(
      &text, "%d idle connections: %.1f MiB more, %.1f MiB when opened again\n",
      load.idle.connections,
      Mebibytes(static_cast<double>(load.idle.resident_during_bytes) -
                static_cast<double>(load.idle.resident_before_bytes)),
      Mebibytes(static_cast<double>(load.idle.resident_again_bytes) -
                static_cast<double>(load.idle.resident_before_bytes)));
  absl::StrAppendFormat(
      &text,
      "%d streams held: %d completed, %d in flight together, %.0f tokens/s, "
      "%.1f MiB more at most\n",
      load.held.streams, load.held.completed, load.held.accepted_together,
      load.held.tokens_per_s,
      Mebibytes(static_cast<double>(load.held.resident_peak_bytes) -
                static_cast<double>(load.held.resident_before_bytes)));
  return text;
}

}  // namespace

Json TransferJson(const TransferReport& report) {
  Json json;
  json["repeats"] = report.repeats;
  json["compared_bytes"] = report.pulled_bytes_compared;
  json["other_cores"] = report.other_cores;
  json["transfer"] = Json::array();
  for (const TransferFigures& figures : report.figures) {
    json["transfer"].push_back(
        {{"socket", SocketName(figures.socket)},
         {"context_bytes", figures.context_bytes},
         {"context_segments", figures.context_segments},
         {"raw_bytes_per_s", SpreadJson(figures.raw_bytes_per_s)},
         {"checked_raw_bytes_per_s",
          SpreadJson(figures.checked_raw_bytes_per_s)},
         {"write_bytes_per_s", SpreadJson(figures.write_bytes_per_s)},
         {"pull_bytes_per_s", SpreadJson(figures.pull_bytes_per_s)},
         {"write_raw_share", SpreadJson(figures.write_raw_share)},
         {"pull_raw_share", SpreadJson(figures.pull_raw_share)},
         {"pull_checked_raw_share",
          SpreadJson(figures.pull_checked_raw_share)}});
  }
  return json;
}

Json ServeJson(const ServeReport& report) {
  Json json;
  json["rounds"] = report.rounds;
  json["answer_tokens"] = report.answer_tokens;
  json["store_bytes"] = report.store_bytes;
  json["other_cores"] = report.other_cores;
  json["one_process_resident_bytes"] = report.one_resident_bytes;
  json["split_resident_bytes"] = report.split_resident_bytes;
  json["answers"] = Json::array();
  for (const PolicyFigures& figures : report.policies) {
    json["answers"].push_back(
        {{"policy", FormatPolicy(figures.policy)},
         {"context_tokens", figures.context_tokens},
         {"one_process", AnswerJson(figures.one)},
         {"split", AnswerJson(figures.split)},
         {"first_token_ratio", SpreadJson(figures.first_token_ratio)},
         {"second_token_ratio", SpreadJson(figures.second_token_ratio)},
         {"inter_token_ratio", SpreadJson(figures.inter_token_ratio)},
         {"total_ratio", SpreadJson(figures.total_ratio)}});
  }
  if (report.load.has_value()) {
    json["streams"] = StreamsJson(report.load->streams);
    json["idle_connections"] = IdleJson(report.load->idle);
    json["held_streams"] = HeldJson(report.load->held);
  }
  return json;
}

std::string TransferTable(const TransferReport& report) {
  std::string text = absl::StrFormat(
      "Transfer, MiB/s, median of %d; other processes kept %.2f cores busy\n"
      "  %-6s %8s %9s %9s %9s %9s %9s\n",
      report.repeats, report.other_cores, "socket", "MiB", "raw", "checked",
      "write", "pull", "pull/raw");
  for (const TransferFigures& figures : report.figures) {
    absl::StrAppendFormat(&text,
                          "  %-6s %8.0f %9.0f %9.0f %9.0f %9.0f %8.0f%%\n",
                          SocketName(figures.socket),
                          Mebibytes(static_cast<double>(figures.context_bytes)),
                          Mebibytes(figures.raw_bytes_per_s.median),
                          Mebibytes(figures.checked_raw_bytes_per_s.median),
                          Mebibytes(figures.write_bytes_per_s.median),
                          Mebibytes(figures.pull_bytes_per_s.median),
                          100 * figures.pull_raw_share.median);
  }
  return text;
}

std::string ServeTable(const ServeReport& report) {
  std::string text = absl::StrFormat(
      "Answers of %d tokens, ms, median of %d; other processes kept %.2f cores "
      "busy\n  %-22s %9s %9s %9s %9s %9s %9s\n",
      report.answer_tokens, report.rounds, report.other_cores, "", "first",
      "second", "between", "total", "write", "pull");
  for (const PolicyFigures& figures : report.policies) {
    const std::string name = absl::StrCat(Absl(PolicyName(figures.policy.kind)),
                                          ", ", figures.context_tokens, ", ");
    absl::StrAppend(&text, AnswerRow(name + "one", figures.one),
                    AnswerRow(name + "split", figures.split));
    absl::StrAppendFormat(
        &text, "  %-22s %9.2f %9.2f %9.2f %9.2f\n", "  split / one",
        figures.first_token_ratio.median, figures.second_token_ratio.median,
        figures.inter_token_ratio.median, figures.total_ratio.median);
  }
  return report.load.has_value() ? text + LoadRows(*report.load) : text;
}

}  // namespace winnow
