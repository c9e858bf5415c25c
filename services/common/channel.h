#pragma once

#include <functional>
#include <memory>
#include <string>

#include <grpcpp/channel.h>

#include "absl/time/time.h"

namespace winnow {

// How both ends of a connection find out that the other one has gone.
struct Keepalive {
  absl::Duration time = absl::Seconds(60);
  absl::Duration timeout = absl::Seconds(20);
  absl::Duration min_interval = absl::Seconds(10);  // that a server tolerates
};

struct ChannelOptions {
  Keepalive keepalive = {};
  int max_message_bytes = 64 << 20;  // received
  absl::Duration min_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(2);
};

// A channel without encryption to "HOST:PORT", "[IPV6]:PORT" or
// "unix:/PATH".  Connects when it is first used, and again by itself.  Never
// fails: what is wrong with the address comes as UNAVAILABLE of the calls.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const ChannelOptions& options = {});

// Gives the transport's settings that server and client share to `set`: frames
// and windows for byte streams at the speed of memory, keepalive.
void ForEachTransportArgument(
    const Keepalive& keepalive,
    const std::function<void(const std::string&, int)>& set);

}  // namespace winnow
