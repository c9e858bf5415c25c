#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace winnow {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };
enum class LogFormat : uint8_t { kText, kJson };

// By value of the enumeration, as settings call them.
inline constexpr std::array<std::string_view, 4> kLogLevelNames = {
    "debug", "info", "warning", "error"};
inline constexpr std::array<std::string_view, 2> kLogFormatNames = {"text",
                                                                    "json"};

// What one event says besides its message.  Names are chosen by the code, in
// snake_case; values may come from outside.
struct LogField {
  std::string_view name;
  std::string_view value;
};

inline constexpr size_t kMaxLogValue = 1024;  // bytes of a value or message
inline constexpr size_t kMaxLogFields = 32;   // of one event; more are left out

struct LogEvent {
  LogLevel level = LogLevel::kInfo;
  absl::Time time;
  std::string_view message;
  std::span<const LogField> fields;
};

// `event` as one line of printable ASCII, without the newline at its end.
//
// Text: "2026-11-22T13:00:00.123Z INFO  request done code=OK path=\"a b\"".
// A value with anything but letters, digits and a few signs is quoted; other
// bytes appear as \n, \t or \xNN.  JSON: one object with "time", "level",
// "message" and the fields as strings; bytes that are not UTF-8 become U+FFFD.
// In both a value over kMaxLogValue is cut and ends in "...".
std::string FormatLogLine(LogFormat format, const LogEvent& event);

}  // namespace winnow
