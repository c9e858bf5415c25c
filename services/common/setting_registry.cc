#include "services/common/setting_registry.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "services/common/units.h"

namespace winnow {
namespace {

using S = ServiceSettings;

constexpr uint64_t Bit(Role role) {
  return uint64_t{1} << static_cast<int>(role);
}

constexpr uint64_t kServe = Bit(Role::kServe);
constexpr uint64_t kGateway = kServe | Bit(Role::kGateway);
constexpr uint64_t kPrefill = kServe | Bit(Role::kPrefill);
constexpr uint64_t kStore = kServe | Bit(Role::kStore);
constexpr uint64_t kDecode = kServe | Bit(Role::kDecode);
constexpr uint64_t kCompute = kPrefill | kDecode;
constexpr uint64_t kAll = kGateway | kStore | kCompute;
// Of addresses: kServe has the other roles in its own process.
constexpr uint64_t kOnlyGateway = Bit(Role::kGateway);
constexpr uint64_t kStoreClients =
    Bit(Role::kGateway) | Bit(Role::kPrefill) | Bit(Role::kDecode);

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kMaxMemory = uint64_t{1} << 46;  // 64 TiB
constexpr uint64_t kSecond = 1000;                  // ms
constexpr uint64_t kHour = 3600 * kSecond;
constexpr uint64_t kDay = 24 * kHour;

const SettingSpec kRegistry[] = {
    {"model", &S::model, kGateway | kCompute, "",
     "GGUF file or Hugging Face folder"},
    {"profile", &S::profile, kCompute, "",
     "head profile; default: the built-in one of the model"},
    {"numerics", &S::numerics, kCompute, "fast",
     "fast (bfloat16 and 15-bit integer products) or float32"},
    {"kv-dtype", &S::kv_dtype, kCompute, "bf16", "type of the cache"},
    {"threads", &S::threads, kCompute, "0",
     "compute threads; 0: the cores this process may use", 0, 1024},
    {"store-size", &S::store_size, kStore, "",
     "ceiling of the store's memory; default: 1GiB, or a quarter of the memory "
     "this process may use",
     kMiB, kMaxMemory},
    {"decode-memory", &S::decode_memory, kDecode, "1GiB",
     "ceiling of the memory of running sequences", kMiB, kMaxMemory},
    {"listen", &S::listen, kAll, "",
     "address to serve on, HOST:PORT or unix:/PATH; may be repeated", 0, 0,
     TextForm::kListenAddress},
    {"metrics-listen", &S::metrics_listen, kAll, "",
     "address of /metrics; empty: off", 0, 0, TextForm::kOptionalListenAddress},
    {"insecure-listen", &S::insecure_listen, kAll, "false",
     "allow addresses that other machines reach, without encryption"},
    {"store", &S::store, kStoreClients, "127.0.0.1:7702",
     "address of the cache store (gateway: to end leases)", 0, 0,
     TextForm::kPeerAddress},
    {"prefill", &S::prefill, kOnlyGateway, "127.0.0.1:7701",
     "address of the prefill role", 0, 0, TextForm::kPeerAddress},
    {"decode", &S::decode, kOnlyGateway, "127.0.0.1:7703",
     "address of the decode role", 0, 0, TextForm::kPeerAddress},
    {"lease-ttl", &S::lease_ttl, kStore | kCompute, "2m",
     "how long a lease pins segments unless it is renewed", kSecond, kDay},
    {"default-deadline", &S::default_deadline, kAll, "5m",
     "deadline of a call that brings none", 1, kDay},
    {"max-deadline", &S::max_deadline, kAll, "30m",
     "longest deadline; a longer one is cut to it", 1, kDay},
    {"store-deadline", &S::store_deadline, kCompute, "10s",
     "deadline of one call of the store", 1, kHour},
    {"queue-timeout", &S::queue_timeout, kCompute, "60s",
     "how long a request waits to be admitted", 1, kHour},
    {"stream-stall-timeout", &S::stream_stall_timeout, kAll, "30s",
     "a stream whose peer takes or sends nothing for so long is ended", 1,
     kHour},
    {"drain-timeout", &S::drain_timeout, kAll, "30s",
     "after SIGTERM: time for running requests to end", 1, kHour},
    {"keepalive-time", &S::keepalive_time, kAll, "60s",
     "silence after which a connection is probed", kSecond, kDay},
    {"max-sequences", &S::max_sequences, kDecode, "8",
     "sequences that decode together", 1, 1024},
    {"max-queue", &S::max_queue, kCompute, "64",
     "requests that wait to be admitted; 0: none waits", 0, 65536},
    {"max-prompt-bytes", &S::max_prompt_bytes, kGateway, "64MiB",
     "bytes of a request's text", 1, 1024 * kMiB},
    {"max-tokens-limit", &S::max_tokens_limit, kGateway, "8192",
     "tokens that a request may ask for", 1, 1 << 24},
    {"max-streams", &S::max_streams, kAll, "256",
     "calls served at the same time", 1, 65536},
    {"prefill-chunk", &S::prefill_chunk, kPrefill, "512",
     "tokens of one forward pass", 1, 8192},
    {"yield-chunk", &S::yield_chunk, kPrefill, "128",
     "tokens of one forward pass while sequences decode on the same cores", 1,
     8192},
    {"log-level", &S::log_level, kAll, "info", "least level that is logged"},
    {"log-format", &S::log_format, kAll, "text", "form of a line of the log"},
};

constexpr std::string_view kNumericsNames[] = {"fast", "float32"};
constexpr std::string_view kKvDtypeNames[] = {"f32", "bf16"};

// By value of Role; 7710 and up for metrics.
constexpr int kListenPorts[] = {7700, 7700, 7701, 7702, 7703};
constexpr int kMetricsPorts[] = {7710, 7710, 7711, 7712, 7713};

}  // namespace

std::span<const SettingSpec> SettingRegistry() { return kRegistry; }

const SettingSpec* FindSetting(std::string_view name) {
  const auto* found = std::ranges::find(kRegistry, name, &SettingSpec::name);
  return found == std::end(kRegistry) ? nullptr : found;
}

std::string EnvironmentName(std::string_view name) {
  std::string upper = absl::AsciiStrToUpper(Absl(name));
  std::ranges::replace(upper, '-', '_');
  return absl::StrCat("WINNOW_", upper);
}

std::span<const std::string_view> ChoicesOf(const SettingSpec& spec) {
  if (std::holds_alternative<Numerics S::*>(spec.member)) {
    return kNumericsNames;
  }
  if (std::holds_alternative<KvDtype S::*>(spec.member)) {
    return kKvDtypeNames;
  }
  if (std::holds_alternative<LogLevel S::*>(spec.member)) {
    return kLogLevelNames;
  }
  if (std::holds_alternative<LogFormat S::*>(spec.member)) {
    return kLogFormatNames;
  }
  return {};
}

std::string TypeName(const SettingSpec& spec) {
  if (!ChoicesOf(spec).empty()) {
    std::string names;
    for (const std::string_view choice : ChoicesOf(spec)) {
      absl::StrAppend(&names, names.empty() ? "" : "|", Absl(choice));
    }
    return names;
  }
  if (std::holds_alternative<int S::*>(spec.member)) {
    return "N";
  }
  if (std::holds_alternative<uint64_t S::*>(spec.member)) {
    return "SIZE";
  }
  if (std::holds_alternative<absl::Duration S::*>(spec.member)) {
    return "TIME";
  }
  if (std::holds_alternative<bool S::*>(spec.member)) {
    return "true|false";
  }
  return spec.form == TextForm::kAny ? "PATH" : "ADDRESS";
}

std::string DefaultText(const SettingSpec& spec, Role role,
                        uint64_t memory_bytes) {
  const auto index = static_cast<size_t>(role);
  if (spec.name == "listen") {
    return absl::StrCat("127.0.0.1:", kListenPorts[index]);
  }
  if (spec.name == "metrics-listen") {
    return absl::StrCat("127.0.0.1:", kMetricsPorts[index]);
  }
  if (spec.name == "store-size") {
    const uint64_t quarter = memory_bytes / 4 / kMiB * kMiB;
    return FormatByteSize(std::clamp(quarter, kMiB, 1024 * kMiB));
  }
  return std::string(spec.default_text);
}

std::string RolesOf(const SettingSpec& spec) {
  std::string roles;
  for (size_t i = 0; i < kRoleNames.size(); ++i) {
    if (spec.AppliesTo(static_cast<Role>(i))) {
      absl::StrAppend(&roles, roles.empty() ? "" : ", ", Absl(kRoleNames[i]));
    }
  }
  return roles;
}

}  // namespace winnow
