#pragma once

#include <initializer_list>
#include <span>
#include <string_view>

#include "services/common/log_line.h"

namespace winnow {

// The log of the services: one line an event, on standard error.  Before
// ConfigureLog events from kInfo on are written as text.  All functions are
// thread-safe; a line is written whole, and none is lost when the process ends.
//
//   LogInfo("request done", {{"request_id", id}, {"code", "OK"}});
//
// Messages are constants; what came from outside goes into values, which are
// escaped and cut (log_line.h).

// Events below `level` are dropped from now on.
void ConfigureLog(LogLevel level, LogFormat format);

// Whether an event of `level` would be written, for values that cost time.
bool IsLogged(LogLevel level);

void Log(LogLevel level, std::string_view message,
         std::span<const LogField> fields);

inline void LogDebug(std::string_view message,
                     std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kDebug, message, {fields.begin(), fields.size()});
}
inline void LogInfo(std::string_view message,
                    std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kInfo, message, {fields.begin(), fields.size()});
}
inline void LogWarning(std::string_view message,
                       std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kWarning, message, {fields.begin(), fields.size()});
}
inline void LogError(std::string_view message,
                     std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kError, message, {fields.begin(), fields.size()});
}

}  // namespace winnow
