#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include <prometheus/registry.h>

#include "absl/time/time.h"

#include "cache_store/store/local_store.h"
#include "gpu/base/clock.h"
#include "services/common/rpc.h"
#include "services/common/server.h"
#include "services/store/store_service.h"

namespace winnow {

// A clock that a test moves while the threads of a server read it.
class SharedFakeClock final : public Clock {
 public:
  absl::Duration Monotonic() const override {
    return absl::Nanoseconds(now_ns_.load());
  }
  void Advance(absl::Duration step) {
    now_ns_ += absl::ToInt64Nanoseconds(step);
  }

 private:
  std::atomic<int64_t> now_ns_ = 0;
};

struct StoreServerOptions {
  std::string listen = "127.0.0.1:0";
  LocalStoreOptions store = {};
  StoreServiceOptions service = {};
  RpcOptions rpc = {};
};

// A local store behind a server, as `winnow store` runs it.
class StoreServer {
 public:
  explicit StoreServer(const StoreServerOptions& options)
      : store_(LocalStore::Create(options.store).value()),
        metrics_(registry_),
        frame_(options.rpc, metrics_),
        service_(*store_, frame_, options.service) {
    grpc::Service* const services[] = {&service_};
    server_ = Server::Start({.listen = {options.listen},
                             .max_message_bytes = kMaxStoreMessageBytes,
                             .frames = {&frame_}},
                            services)
                  .value();
  }

  LocalStore& store() { return *store_; }
  StoreService& service() { return service_; }
  RpcFrame& frame() { return frame_; }
  const std::string& address() const { return server_->addresses().front(); }
  int port() const { return server_->ports().front(); }
  // Ends the server; the store stays.
  void Stop() { server_.reset(); }

 private:
  const std::unique_ptr<LocalStore> store_;
  prometheus::Registry registry_;
  RpcMetrics metrics_;
  RpcFrame frame_;
  StoreService service_;
  std::unique_ptr<Server> server_;  // last: it uses the others
};

}  // namespace winnow
