#pragma once

#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/version_info.h>

namespace winnow {

// Whether EnlargeSocketBuffers does anything: only with gRPC 1.51, whose
// private layout it was checked against.  With others the buffers stay the
// system's.
inline constexpr bool kCanEnlargeSocketBuffers =
    GRPC_CPP_VERSION_MAJOR == 1 && GRPC_CPP_VERSION_MINOR == 51;

// Makes gRPC give the UNIX sockets of a channel or server a send buffer of
// 1 MiB, or of net.core.wmem_max if that is less.  With the system's 208 KiB
// both ends of a pull stop and wake each other several times a frame: pulls
// repeated from a warm store reach 55 to 60 % of a plain socket, with this 66
// to 69 %.  TCP's buffers grow by themselves.
void EnlargeSocketBuffers(grpc::ChannelArguments& arguments);

}  // namespace winnow
