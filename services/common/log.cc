#include "services/common/log.h"

#include <atomic>
#include <memory>
#include <string>

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "absl/time/clock.h"

namespace winnow {
namespace {

std::atomic<LogFormat> log_format{LogFormat::kText};

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

spdlog::logger& Logger() {
  // Never destroyed: threads may log until the very end of the process.
  static spdlog::logger& logger = *[] {
    auto* made = new spdlog::logger(
        "winnow", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");  // the line is whole, FormatLogLine made it
    made->set_level(spdlog::level::info);
    return made;
  }();
  return logger;
}

}  // namespace

void ConfigureLog(LogLevel level, LogFormat format) {
  log_format.store(format, std::memory_order_relaxed);
  Logger().set_level(SpdlogLevel(level));
}

bool IsLogged(LogLevel level) {
  return Logger().should_log(SpdlogLevel(level));
}

void Log(LogLevel level, std::string_view message,
         std::span<const LogField> fields) {
  if (!IsLogged(level)) {
    return;
  }
  const std::string line = FormatLogLine(
      log_format.load(std::memory_order_relaxed), {.level = level,
                                                   .time = absl::Now(),
                                                   .message = message,
                                                   .fields = fields});
  Logger().log(SpdlogLevel(level), spdlog::string_view_t(line));
}

}  // namespace winnow
