#include "services/common/setting_value.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/common/settings_yaml.h"
#include "services/common/units.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr uint64_t kGiB = uint64_t{1} << 30;

std::string ErrorOf(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(SettingValueTest, AddressesHaveAPortOrAPath) {
  for (const char* good : {"127.0.0.1:7700", "localhost:1", "[::1]:65535",
                           "cache-store.example:80", "unix:/run/w.sock"}) {
    EXPECT_TRUE(CheckAddress(good, false).ok()) << good;
  }
  EXPECT_TRUE(CheckAddress("127.0.0.1:0", true).ok());
  for (const std::string bad :
       {"", ":", ":7700", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
        "127.0.0.1:-1", "127.0.0.1:0", "a b:1", "::1:7700", "[]:1",
        "unix:", "unix:w.sock", "http://h:1", "h:1/x"}) {
    EXPECT_FALSE(CheckAddress(bad, false).ok()) << bad;
  }
  EXPECT_TRUE(CheckAddress("unix:/" + std::string(106, 'x'), false).ok());
  EXPECT_FALSE(CheckAddress("unix:/" + std::string(107, 'x'), false).ok());
}

TEST(SettingsYamlTest, OnlyAFlatMapIsTaken) {
  const auto error = [](const std::string& text) {
    return ErrorOf(ParseSettingsYaml("f", text).status());
  };
  EXPECT_TRUE(ParseSettingsYaml("f", "")->empty());
  EXPECT_TRUE(ParseSettingsYaml("f", "# nothing\n")->empty());
  EXPECT_THAT(error("a: 1\nb: {c: 2}\n"), HasSubstr("f:2: a map is not"));
  EXPECT_THAT(error("a: [[1]]\n"), HasSubstr("f:1: a list is not"));
  EXPECT_THAT(error("- a\n"), HasSubstr("f:1: a list is not"));
  EXPECT_THAT(error("word\n"), HasSubstr("f:1: a map is expected"));
  EXPECT_THAT(error("a:\n"), HasSubstr("f:1: a has no value"));
  EXPECT_THAT(error("a: 1\n\na: 2\n"), HasSubstr("f:3: a is here again; line "
                                                 "1 has it"));
  EXPECT_THAT(error("a: &x 1\nb: *x\n"), HasSubstr("f:1: anchors"));
  EXPECT_THAT(error("a: !!int 1\n"), HasSubstr("f:1: tags"));
  EXPECT_THAT(error("a: 1\n---\nb: 2\n"), HasSubstr("second document"));
  EXPECT_THAT(error("a: 1\nb: [1\n"), HasSubstr("f:"));
  EXPECT_THAT(error("a: \xff\n"), HasSubstr("UTF-8 at byte 3"));
  EXPECT_THAT(error(std::string("a: \0b\n", 6)), HasSubstr("zero byte"));
  EXPECT_THAT(error(std::string(kMaxSettingsFile + 1, '#')),
              HasSubstr("65536"));
}

TEST(SettingsYamlTest, DeepNestingIsRefusedWhereItBegins) {
  const std::string deep = "a: " + std::string(60000, '[');
  // Each bracket could begin a key.
  EXPECT_THAT(ErrorOf(ParseSettingsYaml("f", deep).status()),
              MatchesRegex("f:1: a (map|list) is not allowed here.*"));
}

TEST(UnitsTest, SizesReadBackAsTheyAreWritten) {
  EXPECT_EQ(FormatByteSize(kGiB), "1GiB");
  EXPECT_EQ(FormatByteSize(kGiB + (kGiB / 2)), "1536MiB");
  EXPECT_EQ(FormatByteSize(1000), "1000B");
  EXPECT_EQ(FormatByteSize(0), "0B");
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, kGiB, ~uint64_t{0}}) {
    EXPECT_EQ(*ParseByteSize(FormatByteSize(bytes)), bytes);
  }
  EXPECT_FALSE(ParseByteSize("18446744073709551616").ok());
  EXPECT_FALSE(ParseByteSize("18014398509481984KiB").ok());
}

TEST(UnitsTest, DurationsHaveUnits) {
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(*ParseDuration("250ms"), absl::Milliseconds(250));
  EXPECT_EQ(*ParseDuration("1.5s"), absl::Milliseconds(1500));
  for (const char* bad : {"", "5", "0", "inf", "+5s", "-5s", " 5s", "5 s", "s",
                          "5x", "99999999999999999999999h"}) {
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  }
}

TEST(RegistryTest, NamesAreOfOneFormAndDiffer) {
  std::set<std::string> names;
  for (const SettingSpec& spec : SettingRegistry()) {
    EXPECT_TRUE(names.insert(std::string(spec.name)).second) << spec.name;
    EXPECT_EQ(spec.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"),
              std::string_view::npos)
        << spec.name;
    EXPECT_FALSE(spec.description.empty()) << spec.name;
    EXPECT_NE(RolesOf(spec), "") << spec.name;
  }
  EXPECT_EQ(EnvironmentName("lease-ttl"), "WINNOW_LEASE_TTL");
}

}  // namespace
}  // namespace winnow
