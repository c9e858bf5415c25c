// The contract on a store in another place: every call goes through a server
// of this process, over TCP and over a UNIX socket.

#include <memory>
#include <optional>
#include <string>

#include <unistd.h>

#include "services/common/remote_store.h"
#include "tests/contract/kv_store_fixture.h"
#include "tests/services/store_server.h"

namespace winnow {
namespace {

class RemoteStoreFixture : public KvStoreFixture {
 public:
  explicit RemoteStoreFixture(std::string listen) : listen_(std::move(listen)) {
    RemoteStoreFixture::Restart();
  }

  KvStore& store() override { return *remote_; }
  LocalStore& backing() override { return server_->store(); }
  void AdvanceTime(absl::Duration step) override { clock_.Advance(step); }
  void Restart() override {
    remote_.reset();
    server_.reset();
    server_.emplace(StoreServerOptions{.listen = listen_,
                                       .store = TestStoreOptions(clock_),
                                       .service = {},
                                       .rpc = {}});
    remote_.emplace(server_->address());
  }

 private:
  const std::string listen_;
  SharedFakeClock clock_;
  std::optional<StoreServer> server_;
  std::optional<RemoteStore> remote_;
};

class RemoteTcpFixture final : public RemoteStoreFixture {
 public:
  RemoteTcpFixture() : RemoteStoreFixture("127.0.0.1:0") {}
};

class RemoteUnixFixture final : public RemoteStoreFixture {
 public:
  RemoteUnixFixture() : RemoteStoreFixture("unix:" + SocketPath()) {}

 private:
  static std::string SocketPath() {
    return testing::TempDir() + "winnow_contract_" + std::to_string(getpid()) +
           ".sock";
  }
};

}  // namespace

WINNOW_KV_STORE_CONTRACT(RemoteTcpStore, RemoteTcpFixture);
WINNOW_KV_STORE_CONTRACT(RemoteUnixStore, RemoteUnixFixture);

}  // namespace winnow
