#include "services/common/settings.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/cli/role_flags.h"
#include "services/common/cgroup_memory.h"
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace winnow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kGiB = uint64_t{1} << 30;

std::string ErrorOf(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

SettingSources Sources() {
  SettingSources sources;
  sources.file_path = "winnow.yaml";
  sources.memory_bytes = 64 * kGiB;
  return sources;
}

std::string FileError(const std::string& yaml, Role role = Role::kServe) {
  SettingSources sources = Sources();
  sources.file_text = yaml;
  return ErrorOf(ResolveSettings(role, sources).status());
}

std::string FlagError(const std::string& name, const std::string& text,
                      Role role = Role::kServe) {
  SettingSources sources = Sources();
  sources.flags[name] = {text};
  return ErrorOf(ResolveSettings(role, sources).status());
}

std::string VariableError(const std::string& name, const std::string& text) {
  SettingSources sources = Sources();
  sources.environment[name] = text;
  return ErrorOf(ResolveSettings(Role::kServe, sources).status());
}

std::string OriginOf(const Settings& settings, std::string_view name) {
  for (const ResolvedSetting& setting : settings.resolved) {
    if (setting.spec->name == name) {
      return setting.origin;
    }
  }
  return "none";
}

// The table of the task, not of the registry.
TEST(SettingsTest, DefaultsAreThoseThatWerePromised) {
  const auto settings = ResolveSettings(Role::kServe, Sources());
  ASSERT_TRUE(settings.ok()) << settings.status();
  const ServiceSettings& values = settings->values;
  EXPECT_EQ(values.model, "");
  EXPECT_EQ(values.numerics, Numerics::kFast);
  EXPECT_EQ(values.kv_dtype, KvDtype::kBfloat16);
  EXPECT_EQ(values.threads, 0);
  EXPECT_EQ(values.store_size, kGiB);
  EXPECT_EQ(values.decode_memory, kGiB);
  EXPECT_THAT(values.listen, ElementsAre("127.0.0.1:7700"));
  EXPECT_EQ(values.metrics_listen, "127.0.0.1:7710");
  EXPECT_FALSE(values.insecure_listen);
  EXPECT_EQ(values.store, "127.0.0.1:7702");
  EXPECT_EQ(values.lease_ttl, absl::Minutes(2));
  EXPECT_EQ(values.default_deadline, absl::Minutes(5));
  EXPECT_EQ(values.max_deadline, absl::Minutes(30));
  EXPECT_EQ(values.store_deadline, absl::Seconds(10));
  EXPECT_EQ(values.queue_timeout, absl::Seconds(60));
  EXPECT_EQ(values.stream_stall_timeout, absl::Seconds(30));
  EXPECT_EQ(values.drain_timeout, absl::Seconds(30));
  EXPECT_EQ(values.keepalive_time, absl::Seconds(60));
  EXPECT_EQ(values.max_sequences, 8);
  EXPECT_EQ(values.max_queue, 64);
  EXPECT_EQ(values.max_prompt_bytes, 64 << 20);
  EXPECT_EQ(values.max_streams, 256);
  EXPECT_EQ(values.prefill_chunk, 512);
  EXPECT_EQ(values.yield_chunk, 128);
  EXPECT_EQ(values.log_level, LogLevel::kInfo);
  EXPECT_EQ(values.log_format, LogFormat::kText);
  for (const ResolvedSetting& setting : settings->resolved) {
    EXPECT_EQ(setting.origin, "default") << setting.spec->name;
  }
}

TEST(SettingsTest, EachRoleHasItsPorts) {
  const std::pair<Role, std::array<std::string, 2>> expected[] = {
      {Role::kGateway, {"127.0.0.1:7700", "127.0.0.1:7710"}},
      {Role::kPrefill, {"127.0.0.1:7701", "127.0.0.1:7711"}},
      {Role::kStore, {"127.0.0.1:7702", "127.0.0.1:7712"}},
      {Role::kDecode, {"127.0.0.1:7703", "127.0.0.1:7713"}}};
  for (const auto& [role, ports] : expected) {
    const auto settings = ResolveSettings(role, Sources());
    ASSERT_TRUE(settings.ok()) << settings.status();
    EXPECT_THAT(settings->values.listen, ElementsAre(ports[0]));
    EXPECT_EQ(settings->values.metrics_listen, ports[1]);
  }
}

TEST(SettingsTest, AStoreTakesAQuarterOfASmallMachine) {
  SettingSources sources = Sources();
  sources.memory_bytes = 2 * kGiB;
  EXPECT_EQ(ResolveSettings(Role::kStore, sources)->values.store_size,
            kGiB / 2);
}

TEST(SettingsTest, FlagsGoOverTheEnvironmentOverTheFile) {
  SettingSources sources = Sources();
  sources.file_text =
      "lease-ttl: 1m\nmax-queue: 1\n\nmax-streams: 1  # one\n"
      "listen: [127.0.0.1:1, \"unix:/a,b\"]\nmetrics-listen: \"\"\n";
  sources.environment = {
      {"WINNOW_LEASE_TTL", "2m"}, {"WINNOW_MAX_QUEUE", "2"}, {"PATH", "/bin"}};
  sources.flags = {{"lease-ttl", {"3m"}}};
  const auto settings = ResolveSettings(Role::kServe, sources);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->values.lease_ttl, absl::Minutes(3));
  EXPECT_EQ(settings->values.max_queue, 2);
  EXPECT_EQ(settings->values.max_streams, 1);
  EXPECT_THAT(settings->values.listen, ElementsAre("127.0.0.1:1", "unix:/a,b"));
  EXPECT_EQ(settings->values.metrics_listen, "");
  EXPECT_EQ(OriginOf(*settings, "lease-ttl"), "flag");
  EXPECT_EQ(OriginOf(*settings, "max-queue"), "environment WINNOW_MAX_QUEUE");
  EXPECT_EQ(OriginOf(*settings, "max-streams"), "file winnow.yaml:4");
}

TEST(SettingsTest, ListsAreRepeatedOrSeparatedByCommas) {
  SettingSources sources = Sources();
  sources.environment["WINNOW_LISTEN"] = "127.0.0.1:1,[::1]:2";
  EXPECT_THAT(ResolveSettings(Role::kStore, sources)->values.listen,
              ElementsAre("127.0.0.1:1", "[::1]:2"));
  sources.flags["listen"] = {"127.0.0.1:3", "unix:/s"};
  EXPECT_THAT(ResolveSettings(Role::kStore, sources)->values.listen,
              ElementsAre("127.0.0.1:3", "unix:/s"));
}

TEST(SettingsTest, UnknownNamesAreErrorsThatNameTheNearest) {
  EXPECT_EQ(FileError("lease-tll: 2m\n"),
            "winnow.yaml:1: lease-tll is not a setting; did you mean "
            "lease-ttl?");
  EXPECT_THAT(FileError("\nlease_ttl: 2m\n"),
              AllOf(HasSubstr("winnow.yaml:2: lease_ttl"),
                    HasSubstr("did you mean lease-ttl?")));
  EXPECT_THAT(VariableError("WINNOW_STORE_SIZ", "1GiB"),
              HasSubstr("did you mean WINNOW_STORE_SIZE?"));
  EXPECT_THAT(VariableError("WINNOW_CONFIGG", "x"),
              HasSubstr("did you mean WINNOW_CONFIG?"));
  EXPECT_THAT(VariableError("WINNOW_" + std::string(100000, 'Q'), "1"),
              HasSubstr("see `winnow config print`"));
  EXPECT_THAT(FlagError("max-qeue", "1"), HasSubstr("mean --max-queue?"));
}

TEST(SettingsTest, VariablesOfScriptsAndTestsAreNoErrors) {
  SettingSources sources = Sources();
  sources.environment = {{"WINNOW_CACHE_DIR", "/c"},
                         {"WINNOW_TEST_MODEL", "/m"},
                         {"WINNOW_VERSION", "1"},
                         {"WINNOW_CONFIG", "/w.yaml"}};
  EXPECT_TRUE(ResolveSettings(Role::kServe, sources).ok());
}

TEST(SettingsTest, AFileServesAllRolesButAFlagIsForOne) {
  SettingSources sources = Sources();
  sources.file_text = "store-size: 2GiB\nprefill-chunk: 64\n";
  const auto gateway = ResolveSettings(Role::kGateway, sources);
  ASSERT_TRUE(gateway.ok()) << gateway.status();
  EXPECT_EQ(gateway->values.store_size, kGiB);  // another role's: its default
  EXPECT_EQ(OriginOf(*gateway, "store-size"), "none");
  EXPECT_EQ(ResolveSettings(Role::kStore, sources)->values.store_size,
            2 * kGiB);
  EXPECT_THAT(FlagError("store-size", "2GiB", Role::kGateway),
              HasSubstr("not a setting of the role gateway; it belongs to "
                        "serve, store"));
  EXPECT_THAT(FileError("store-size: much\n", Role::kGateway),
              HasSubstr("winnow.yaml:1: store-size: 'much' is not a size"));
}

TEST(SettingsTest, WrongValuesSayWhatIsAllowed) {
  EXPECT_THAT(FlagError("lease-ttl", "30"),
              AllOf(HasSubstr("--lease-ttl"), HasSubstr("(ms, s, m, h)")));
  EXPECT_THAT(FlagError("lease-ttl", "0"), HasSubstr("not a duration"));
  EXPECT_THAT(FlagError("lease-ttl", "inf"), HasSubstr("not a duration"));
  EXPECT_THAT(FlagError("lease-ttl", "-2m"), HasSubstr("not a duration"));
  EXPECT_THAT(FlagError("lease-ttl", "2d"), HasSubstr("not a duration"));
  EXPECT_THAT(FlagError("lease-ttl", "1ms"), HasSubstr("from 1s to 24h"));
  EXPECT_THAT(FlagError("threads", "-1"), HasSubstr("from 0 to 1024"));
  EXPECT_THAT(FlagError("threads", "4294967297"), HasSubstr("from 0 to 1024"));
  EXPECT_THAT(FlagError("threads", "2.5"), HasSubstr("from 0 to 1024"));
  EXPECT_THAT(FlagError("store-size", "1"), HasSubstr("from 1MiB to 64TiB"));
  EXPECT_THAT(FlagError("store-size", "1Gib"), HasSubstr("not a size"));
  EXPECT_THAT(FlagError("numerics", "slow"), HasSubstr("fast|float32"));
  EXPECT_THAT(FlagError("insecure-listen", "yes"), HasSubstr("true nor false"));
  EXPECT_THAT(FlagError("model", "a\nb"), HasSubstr("control character"));
  EXPECT_THAT(FlagError("model", "a\xff"), HasSubstr("UTF-8"));
  EXPECT_THAT(FlagError("model", std::string(5000, 'x')), HasSubstr("4096"));
  EXPECT_THAT(FlagError("listen", ""), HasSubstr("is not an address"));
  EXPECT_THAT(FlagError("store", "127.0.0.1:0", Role::kDecode),
              HasSubstr("is not an address"));
  EXPECT_THAT(VariableError("WINNOW_MAX_QUEUE", "x"),
              HasSubstr("WINNOW_MAX_QUEUE: 'x'"));
}

TEST(SettingsTest, ValuesMustGoTogether) {
  EXPECT_THAT(FileError("max-deadline: 1m\n"), HasSubstr("default-deadline"));
  EXPECT_THAT(FileError("yield-chunk: 600\n"), HasSubstr("prefill-chunk, 512"));
}

TEST(SettingsTest, AStoreSizeIsAMultipleOfTheArenasAlignment) {
  SettingSources sources = Sources();
  sources.flags["store-size"] = {"1048833"};
  EXPECT_EQ(ResolveSettings(Role::kStore, sources)->values.store_size, 1048832);
}

TEST(CgroupMemoryTest, LimitsAreReadOrAbsent) {
  EXPECT_EQ(ParseMemoryMax("1073741824\n"), kGiB);
  EXPECT_EQ(ParseMemoryMax("max\n"), std::nullopt);
  EXPECT_EQ(ParseMemoryMax("0\n"), std::nullopt);
  EXPECT_EQ(ParseMemoryMax("-1"), std::nullopt);
  EXPECT_EQ(ParseMemoryMax(""), std::nullopt);
  EXPECT_GE(UsableMemoryBytes(), uint64_t{1} << 20);
}

class SettingsFileTest : public testing::Test {
 protected:
  SettingsFileTest()
      : folder_(std::filesystem::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::create_directories(folder_);
  }
  ~SettingsFileTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& path, const std::string& text) {
    const auto file = folder_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file.string();
  }

  std::string folder() const { return folder_.string(); }

 private:
  std::filesystem::path folder_;
};

TEST_F(SettingsFileTest, TheSmallestCgroupLimitOnThePathCounts) {
  Write("proc/self/cgroup", "5:cpu,memory:/v1\n0::/a/b\n");
  Write("sys/fs/cgroup/a/b/memory.max", "max\n");
  Write("sys/fs/cgroup/a/memory.max", "3000\n");
  EXPECT_EQ(CgroupMemoryLimit(folder()), 3000U);
  Write("sys/fs/cgroup/memory/v1/memory.limit_in_bytes", "2000\n");
  EXPECT_EQ(CgroupMemoryLimit(folder()), 2000U);
  EXPECT_EQ(CgroupMemoryLimit(folder() + "/none"), std::nullopt);
}

// Parses `arguments` as a command of the role and resolves them.
absl::StatusOr<Settings> FromCommandLine(
    std::vector<std::string> arguments, Role role,
    const std::map<std::string, std::string>& environment = {}) {
  CLI::App app;
  RoleFlags flags;
  flags.AddTo(app, role);
  std::ranges::reverse(arguments);  // as the parser wants them
  app.parse(std::move(arguments));
  return flags.Resolve(role, environment);
}

TEST_F(SettingsFileTest, FlagsAndFileComeFromTheCommandLine) {
  const std::string path = Write("w.yaml", "max-queue: 7\nmax-streams: 7\n");
  const auto settings = FromCommandLine(
      {"--config", path, "--max-streams", "9", "--listen", "[::1]:1",
       "--listen=unix:/s", "--insecure-listen", "--metrics-listen", ""},
      Role::kServe);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->values.max_queue, 7);
  EXPECT_EQ(settings->values.max_streams, 9);
  EXPECT_TRUE(settings->values.insecure_listen);
  EXPECT_EQ(settings->values.metrics_listen, "");
  EXPECT_THAT(settings->values.listen, ElementsAre("[::1]:1", "unix:/s"));
  EXPECT_EQ(OriginOf(*settings, "max-queue"), "file " + path + ":1");
  EXPECT_EQ(OriginOf(*settings, "insecure-listen"), "flag");
  EXPECT_EQ(OriginOf(*settings, "metrics-listen"), "flag");
}

TEST_F(SettingsFileTest, TheVariableNamesTheFileUnlessTheFlagDoes) {
  const std::string one = Write("1.yaml", "max-queue: 1\n");
  const std::string two = Write("2.yaml", "max-queue: 2\n");
  const std::map<std::string, std::string> environment = {
      {"WINNOW_CONFIG", one}};
  const auto of_variable = FromCommandLine({}, Role::kDecode, environment);
  ASSERT_TRUE(of_variable.ok()) << of_variable.status();
  EXPECT_EQ(of_variable->values.max_queue, 1);
  const auto of_flag =
      FromCommandLine({"--config", two}, Role::kDecode, environment);
  ASSERT_TRUE(of_flag.ok()) << of_flag.status();
  EXPECT_EQ(of_flag->values.max_queue, 2);
}

TEST_F(SettingsFileTest, AFileThatIsMissingOrLargeIsAnError) {
  EXPECT_EQ(FromCommandLine({"--config", folder() + "/no"}, Role::kServe)
                .status()
                .code(),
            absl::StatusCode::kNotFound);
  const std::string large = Write("large", std::string(70000, '#'));
  EXPECT_THAT(
      ErrorOf(FromCommandLine({"--config", large}, Role::kServe).status()),
      HasSubstr("65536"));
}

TEST(RoleFlagsTest, ARoleOffersItsOwnSettingsOnly) {
  const std::vector<std::string> arguments = {"--store-size", "1GiB"};
  EXPECT_THROW(FromCommandLine(arguments, Role::kGateway).IgnoreError(),
               CLI::ParseError);
  EXPECT_TRUE(FromCommandLine(arguments, Role::kStore).ok());
}

TEST(RoleFlagsTest, AValueGivenTwiceIsAnError) {
  EXPECT_THROW(
      FromCommandLine({"--max-queue", "1", "--max-queue", "2"}, Role::kServe)
          .IgnoreError(),
      CLI::ParseError);
}

}  // namespace
}  // namespace winnow
