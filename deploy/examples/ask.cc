// Asks a question about a document: ask ADDRESS DOCUMENT QUESTION
//
// Built by `cmake --build FOLDER --target ask`; needs gRPC and the classes of
// proto/winnow/v1/generation.proto alone.
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>

#include <grpcpp/create_channel.h>

#include "winnow/v1/generation.grpc.pb.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: ask ADDRESS DOCUMENT QUESTION\n";
    return 2;
  }
  std::ostringstream document;
  document << std::ifstream(argv[2]).rdbuf();

  winnow::v1::GenerateRequest request;
  request.set_context(document.str());
  request.set_prompt(argv[3]);
  request.set_max_tokens(64);

  const auto stub = winnow::v1::GenerationService::NewStub(
      grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::minutes(5));
  const auto reader = stub->Generate(&context, request);
  winnow::v1::GenerateResponse event;
  while (reader->Read(&event)) {
    std::cout << event.token().text() << event.finished().text() << std::flush;
  }
  std::cout << "\n";
  const grpc::Status status = reader->Finish();
  if (!status.ok()) {
    std::cerr << "ask: " << status.error_message() << "\n";
  }
  return status.ok() ? 0 : 1;
}
