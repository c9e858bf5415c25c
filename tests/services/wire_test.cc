#include "services/common/wire.h"

#include <functional>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/decode_wire.h"
#include "services/common/manifest_wire.h"
#include "services/common/prefill_wire.h"
#include "tests/cache_store/golden_manifest.h"

namespace winnow {
namespace {

using ::testing::HasSubstr;

// Through bytes, as between two processes.
template <typename Wire, typename Ours>
Wire Sent(const Ours& ours) {
  Wire wire;
  ToWire(ours, &wire);
  Wire received;
  EXPECT_TRUE(received.ParseFromString(wire.SerializeAsString()));
  return received;
}

void ExpectEqual(const Manifest& got, const Manifest& wanted) {
  EXPECT_EQ(got.identity, wanted.identity);
  EXPECT_EQ(got.plan.policy, wanted.plan.policy);
  EXPECT_EQ(got.plan.grid, wanted.plan.grid);
  EXPECT_EQ(got.plan.retrieval, wanted.plan.retrieval);
  EXPECT_EQ(got.plan.weights, wanted.plan.weights);
  EXPECT_EQ(got.plan.window_begin, wanted.plan.window_begin);
  EXPECT_EQ(got.num_tokens, wanted.num_tokens);
  EXPECT_EQ(got.next_position, wanted.next_position);
  EXPECT_EQ(got.recent_ids, wanted.recent_ids);
  EXPECT_EQ(got.lease.id, wanted.lease.id);
  EXPECT_EQ(got.lease.ttl, wanted.lease.ttl);
  ASSERT_EQ(got.segments.size(), wanted.segments.size());
  for (size_t i = 0; i < got.segments.size(); ++i) {
    EXPECT_EQ(got.segments[i].key, wanted.segments[i].key) << i;
    EXPECT_EQ(got.segments[i].shape, wanted.segments[i].shape) << i;
    EXPECT_EQ(got.segments[i].shared, wanted.segments[i].shared) << i;
  }
}

TEST(WireTest, AManifestArrivesAsItWasSent) {
  for (const char* policy :
       {"full", "razor,window=256,echo=off",
        "razor,random_heads=7,compensation=on", "streaming,window=1024"}) {
    Manifest manifest = MakeManifest(policy, 2872, 1000);
    manifest.identity.model_digest.fill(3);
    manifest.identity.tokenizer_digest.fill(4);
    manifest.identity.rotary = "base=100000";
    manifest.identity.tenant_salt = "salt";
    manifest.lease = {.id = std::numeric_limits<uint64_t>::max(),
                      .ttl = absl::Milliseconds(1500)};
    const auto received = FromWire(Sent<v1::Manifest>(manifest), "salt");
    ASSERT_TRUE(received.ok()) << policy << ": " << received.status();
    ExpectEqual(*received, manifest);
  }
}

TEST(WireTest, TheSaltOfATenantDoesNotTravel) {
  Manifest manifest = MakeManifest();
  manifest.identity.tenant_salt = "a very secret salt";
  const auto wire = Sent<v1::Manifest>(manifest);
  EXPECT_EQ(wire.SerializeAsString().find("secret"), std::string::npos);
}

TEST(WireTest, AManifestThatWasTamperedWithIsRefused) {
  struct Change {
    const char* named;
    std::function<void(v1::Manifest&)> apply;
  };
  const std::vector<Change> changes = {
      {"identity.model_digest",
       [](v1::Manifest& m) {
         m.mutable_identity()->set_model_digest("short");
       }},
      {"identity.dtype",
       [](v1::Manifest& m) {
         m.mutable_identity()->set_dtype(static_cast<v1::KvDtype>(9));
       }},
      {"policy.kind",
       [](v1::Manifest& m) { m.mutable_plan()->clear_policy(); }},
      {"plan.retrieval",
       [](v1::Manifest& m) {
         m.mutable_plan()->mutable_retrieval()->front() = 2;
       }},
      {"plan.retrieval",
       [](v1::Manifest& m) { m.mutable_plan()->clear_retrieval(); }},
      {"plan.grid",
       [](v1::Manifest& m) { m.mutable_plan()->set_num_layers(-1); }},
      {"plan.weights",
       [](v1::Manifest& m) {
         m.mutable_plan()->set_weights(0,
                                       std::numeric_limits<float>::quiet_NaN());
       }},
      {"num_tokens", [](v1::Manifest& m) { m.set_num_tokens(-5); }},
      {"next_position", [](v1::Manifest& m) { m.set_next_position(-1); }},
      {"segment key",
       [](v1::Manifest& m) { m.mutable_segments(0)->set_key("k"); }},
      {"segment kind",
       [](v1::Manifest& m) {
         m.mutable_segments(0)->set_kind(static_cast<v1::SegmentKind>(77));
       }},
      {"segments",
       [](v1::Manifest& m) { m.mutable_segments(0)->set_num_heads(-1); }},
      {"segments",
       [](v1::Manifest& m) { m.mutable_segments(1)->set_end_token(1 << 30); }},
      {"segments",
       [](v1::Manifest& m) { m.add_segments()->CopyFrom(m.segments(0)); }},
      {"lease.ttl",
       [](v1::Manifest& m) {
         m.mutable_lease()->mutable_ttl()->set_seconds(-1);
       }},
  };
  for (const Change& change : changes) {
    auto wire = Sent<v1::Manifest>(MakeManifest());
    change.apply(wire);
    const auto received = FromWire(wire, "");
    EXPECT_EQ(received.status().code(), absl::StatusCode::kInvalidArgument)
        << change.named;
    EXPECT_THAT(std::string(received.status().message()),
                HasSubstr(change.named));
  }
}

TEST(WireTest, APolicyArrivesWithEveryParameter) {
  for (const char* text :
       {"full", "streaming,sinks=8,window=512,min_length=64",
        "razor,sinks=0,window=128,window_divisor=5,induction_share=0.25,"
        "echo_share=0.0123456789,echo_min=0.7,echo=off,compensation=off,"
        "slack=0,min_length=2048,random_heads=18446744073709551615"}) {
    const Policy policy = *ParsePolicy(text);
    const auto received = FromWire(Sent<v1::Policy>(policy));
    ASSERT_TRUE(received.ok()) << text << ": " << received.status();
    EXPECT_EQ(*received, policy) << text;
  }
}

TEST(WireTest, APolicyOutOfRangeIsRefusedByName) {
  v1::Policy wire;
  wire.set_kind(v1::POLICY_KIND_RAZOR);
  wire.set_window(100);
  EXPECT_THAT(std::string(FromWire(wire).status().message()),
              HasSubstr("window=100"));
  wire.clear_window();
  wire.set_sinks(-1);
  EXPECT_THAT(std::string(FromWire(wire).status().message()),
              HasSubstr("sinks=-1"));
  wire.clear_sinks();
  wire.set_echo_share(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(std::string(FromWire(wire).status().message()),
              HasSubstr("echo_share"));
  wire.clear_echo_share();
  wire.set_compensation(static_cast<v1::Compensation>(99));
  EXPECT_EQ(FromWire(wire).status().code(), absl::StatusCode::kInvalidArgument);
  wire.clear_compensation();
  wire.set_kind(v1::POLICY_KIND_FULL);
  wire.set_slack(64);  // full has no slack
  EXPECT_THAT(std::string(FromWire(wire).status().message()),
              HasSubstr("no parameter slack"));
  wire.set_kind(static_cast<v1::PolicyKind>(1234));
  EXPECT_EQ(FromWire(wire).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(WireTest, SamplingHasItsDefaultsAndRanges) {
  const auto defaults = FromWire(v1::SamplingParameters());
  ASSERT_TRUE(defaults.ok());
  EXPECT_EQ(defaults->top_p, 1);
  EXPECT_EQ(defaults->repetition_penalty, 1);
  v1::SamplingParameters wire;
  wire.set_top_p(0);  // given, so not the default
  EXPECT_THAT(std::string(FromWire(wire).status().message()),
              HasSubstr("top_p"));
}

TEST(WireTest, DurationsKeepNanosecondsAndSigns) {
  for (const absl::Duration duration :
       {absl::ZeroDuration(), absl::Nanoseconds(1), absl::Seconds(-1.5),
        absl::Hours(1000) + absl::Nanoseconds(999999999)}) {
    google::protobuf::Duration wire;
    ToWire(duration, &wire);
    EXPECT_EQ(FromWire(wire), duration);
  }
}

TEST(WireTest, APrefillArrivesAsItWasSent) {
  const PrefillRequest request = {.ids = {1, 2, 3},
                                  .compact_at = 2,
                                  .policy = *ParsePolicy("razor,window=256"),
                                  .sampling = {.temperature = 0.5f, .seed = 9},
                                  .forced_first = 0};
  const auto received = FromWire(Sent<v1::PrefillRequest>(request));
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(received->ids, request.ids);
  EXPECT_EQ(received->compact_at, 2);
  EXPECT_EQ(received->policy, request.policy);
  EXPECT_EQ(received->sampling.temperature, 0.5f);
  EXPECT_EQ(received->sampling.seed, 9u);
  EXPECT_EQ(received->forced_first, 0);
}

TEST(WireTest, ADecodeArrivesAsItWasSent) {
  const DecodeRequest request = {.manifest = MakeManifest(),
                                 .first_token = 5,
                                 .max_tokens = 2,
                                 .sampling = {.top_k = 3},
                                 .ignore_eos = true,
                                 .forced = {7, 8}};
  const auto received = FromWire(Sent<v1::DecodeRequest>(request), "");
  ASSERT_TRUE(received.ok()) << received.status();
  ExpectEqual(received->manifest, request.manifest);
  EXPECT_EQ(received->first_token, 5);
  EXPECT_EQ(received->max_tokens, 2);
  EXPECT_EQ(received->sampling.top_k, 3);
  EXPECT_TRUE(received->ignore_eos);
  EXPECT_EQ(received->forced, request.forced);
}

}  // namespace
}  // namespace winnow
