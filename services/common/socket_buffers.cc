// gRPC tells a "socket mutator" of each socket that it makes or accepts, and
// its public headers name the type without defining it.  The layout here is
// that of src/core/lib/iomgr/socket_mutator.h of gRPC 1.51, and is used with no
// other version: check it, and the guard in the header, before either changes.

#include "services/common/socket_buffers.h"

#include <grpc/support/sync.h>
#include <sys/socket.h>

struct grpc_mutate_socket_info {  // NOLINT(readability-identifier-naming)
  int fd;
  int usage;  // an enumeration of gRPC's
};

struct grpc_socket_mutator_vtable {  // NOLINT(readability-identifier-naming)
  bool (*mutate_fd)(int fd, grpc_socket_mutator* mutator);
  int (*compare)(grpc_socket_mutator* a, grpc_socket_mutator* b);
  void (*destroy)(grpc_socket_mutator* mutator);
  bool (*mutate_fd_2)(const grpc_mutate_socket_info* socket,
                      grpc_socket_mutator* mutator);
};

struct grpc_socket_mutator {  // NOLINT(readability-identifier-naming)
  const grpc_socket_mutator_vtable* vtable;
  gpr_refcount refcount;
};

namespace winnow {
namespace {

constexpr int kSendBytes = 1 << 20;  // the kernel books twice that

int Option(int socket, int name) {
  int value = 0;
  socklen_t size = sizeof(value);
  getsockopt(socket, SOL_SOCKET, name, &value, &size);
  return value;
}

// Never fails: a socket with a small buffer is only slower.
bool Enlarge(int socket) {
  if (Option(socket, SO_DOMAIN) == AF_UNIX &&
      Option(socket, SO_SNDBUF) < kSendBytes) {
    setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kSendBytes, sizeof(kSendBytes));
  }
  return true;
}

constexpr grpc_socket_mutator_vtable kEnlarge = {
    .mutate_fd = [](int fd, grpc_socket_mutator*) { return Enlarge(fd); },
    // All are equal: channels with equal arguments share a connection.
    .compare = [](grpc_socket_mutator*, grpc_socket_mutator*) { return 0; },
    .destroy = [](grpc_socket_mutator* mutator) { delete mutator; },
    .mutate_fd_2 = [](const grpc_mutate_socket_info* socket,
                      grpc_socket_mutator*) { return Enlarge(socket->fd); }};

}  // namespace

void EnlargeSocketBuffers(grpc::ChannelArguments& arguments) {
  if (!kCanEnlargeSocketBuffers) {
    return;
  }
  auto* const mutator =
      new grpc_socket_mutator{.vtable = &kEnlarge, .refcount = {}};
  gpr_ref_init(&mutator->refcount, 1);
  arguments.SetSocketMutator(mutator);  // takes it over
}

}  // namespace winnow
