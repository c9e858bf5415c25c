#include "services/common/log.h"

#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <nlohmann/json.hpp>

namespace winnow {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// 2026-11-22 13:00:00.123 UTC, as `date -u -d @1795352400` has it.
const absl::Time kTime = absl::FromUnixMillis(1795352400123);

std::string Line(LogFormat format, std::span<const LogField> fields,
                 std::string_view message = "request done") {
  return FormatLogLine(format, {.level = LogLevel::kInfo,
                                .time = kTime,
                                .message = message,
                                .fields = fields});
}

// A newline that forges an event, a terminal's escape, CSI in UTF-8, a line
// separator, a byte that is not UTF-8.
constexpr std::string_view kHostile =
    "x\n2026-11-22T13:00:00.000Z INFO  forged\r\x1b[2J\xc2\x9b"
    "1m\xe2\x80\xa8\xff\"\\";

TEST(LogLineTest, TextHasTimeLevelMessageAndFields) {
  const LogField fields[] = {{"request_id", "a-1"}, {"code", "OK"}};
  EXPECT_EQ(Line(LogFormat::kText, fields),
            "2026-11-22T13:00:00.123Z INFO  request done request_id=a-1 "
            "code=OK");
}

TEST(LogLineTest, TextQuotesWhatCouldBeTakenForAnotherField) {
  const LogField fields[] = {{"a", ""}, {"b", "x code=OK"}};
  EXPECT_THAT(Line(LogFormat::kText, fields),
              HasSubstr(" a=\"\" b=\"x code=OK\""));
}

TEST(LogLineTest, JsonIsOneObjectInOrder) {
  const LogField fields[] = {{"code", "OK"}, {"level", "forged"}};
  EXPECT_EQ(Line(LogFormat::kJson, fields),
            R"({"time":"2026-11-22T13:00:00.123Z","level":"info",)"
            R"("message":"request done","code":"OK"})");
}

TEST(LogLineTest, AHostileValueStaysInOneLineOfPrintableAscii) {
  const LogField fields[] = {{"path", kHostile}};
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    for (const char byte : Line(format, fields, kHostile)) {
      EXPECT_TRUE(byte >= ' ' && byte <= '~') << static_cast<int>(byte);
    }
  }
  EXPECT_THAT(Line(LogFormat::kText, fields), HasSubstr("path=\"x\\n2026"));
  const auto json = nlohmann::json::parse(Line(LogFormat::kJson, fields));
  EXPECT_THAT(json["path"].get<std::string>(),
              testing::StartsWith("x\n2026-11-22T13:00:00.000Z INFO"));
}

TEST(LogLineTest, ValuesAndFieldsAreBounded) {
  const std::string long_value(1 << 20, 'x');
  const std::vector<LogField> fields(1000, LogField{"a", long_value});
  const std::string text = Line(LogFormat::kText, fields);
  EXPECT_LT(text.size(), (kMaxLogFields + 1) * (kMaxLogValue + 16));
  EXPECT_TRUE(text.ends_with("x..."));
  EXPECT_THAT(text, Not(HasSubstr(std::string(kMaxLogValue + 1, 'x'))));
}

class LogTest : public testing::Test {
 protected:
  ~LogTest() override { ConfigureLog(LogLevel::kInfo, LogFormat::kText); }
};

TEST_F(LogTest, LevelsBelowTheConfiguredOneAreDropped) {
  ConfigureLog(LogLevel::kWarning, LogFormat::kText);
  testing::internal::CaptureStderr();
  LogDebug("one");
  LogInfo("two");
  LogWarning("three", {{"ms", std::to_string(12)}});
  LogError("four");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, testing::MatchesRegex(
                        "[0-9T:.Z-]+ WARN  three ms=12\n[0-9T:.Z-]+ ERROR "
                        "four\n"));
  EXPECT_FALSE(IsLogged(LogLevel::kInfo));
  EXPECT_TRUE(IsLogged(LogLevel::kWarning));
}

TEST_F(LogTest, BracesAreNoFormat) {
  testing::internal::CaptureStderr();
  LogInfo("{} {0} %v", {{"value", "{}"}});
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("INFO  {} {0} %v value=\"{}\"\n"));
}

TEST_F(LogTest, LinesOfManyThreadsStayWhole) {
  constexpr int kThreads = 4;
  constexpr int kLines = 50;
  ConfigureLog(LogLevel::kDebug, LogFormat::kJson);
  testing::internal::CaptureStderr();
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([] {
      for (int line = 0; line < kLines; ++line) {
        LogDebug("event", {{"value", kHostile}});
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::istringstream lines(testing::internal::GetCapturedStderr());
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_EQ(nlohmann::json::parse(line)["level"], "debug");
  }
  EXPECT_EQ(count, kThreads * kLines);
}

}  // namespace
}  // namespace winnow
