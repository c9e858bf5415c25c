// The subcommands that serve: serve, gateway, prefill, store, decode.
#include <csignal>
#include <iostream>
#include <memory>

#include <pthread.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/cli/commands.h"
#include "services/cli/node.h"
#include "services/cli/role_flags.h"
#include "services/common/allocator.h"
#include "services/common/log.h"

namespace winnow {
namespace {

struct RoleText {
  Role role;
  const char* description;
  const char* footer;
};

constexpr RoleText kRoles[] = {
    {Role::kServe, "Serve everything in one process",
     "Example:\n"
     "  winnow serve --model M.gguf\n"
     "  winnow generate --endpoint 127.0.0.1:7700 --prompt 'What is a cache?'"},
    {Role::kGateway, "Serve text, over prefill and decode services",
     "Example:\n"
     "  winnow gateway --model M.gguf --prefill HOST:7701 --decode HOST:7703"},
    {Role::kPrefill, "Serve prefill: tokens to caches in a store",
     "Example:\n  winnow prefill --model M.gguf --store unix:/run/store.sock"},
    {Role::kStore, "Serve a cache store",
     "Example:\n"
     "  winnow store --store-size 4GiB --listen unix:/run/store.sock"},
    {Role::kDecode, "Serve decode: caches in a store to tokens",
     "Example:\n  winnow decode --model M.gguf --store unix:/run/store.sock"},
};

// SIGTERM and SIGINT wait for WaitForSignal, in every thread begun after this.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  // A peer that has gone is an error of the write, not the end of us.
  (void)std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

int WaitForSignal(const sigset_t& signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

absl::Status RunRole(Role role, const RoleFlags& flags) {
  WINNOW_ASSIGN_OR_RETURN(const Settings settings, flags.Resolve(role));
  ConfigureLog(settings.values.log_level, settings.values.log_format);
  KeepLargeBlocks();
  const sigset_t signals = BlockSignals();
  WINNOW_ASSIGN_OR_RETURN(const auto node, Node::Start(role, settings.values));
  LogInfo(node->Describe());
  LogInfo("draining",
          {{"signal", absl::StrCat(WaitForSignal(signals))},
           {"timeout", absl::FormatDuration(settings.values.drain_timeout)}});
  // A second signal ends the process at once.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  const absl::Status drained = node->Drain();
  LogInfo("stopped", {{"code", absl::StatusCodeToString(drained.code())}});
  return absl::OkStatus();
}

}  // namespace

void AddServeCommands(CLI::App& app, absl::Status& status) {
  for (const RoleText& text : kRoles) {
    auto* command =
        app.add_subcommand(std::string(RoleName(text.role)), text.description);
    const auto flags = std::make_shared<RoleFlags>();
    flags->AddTo(*command, text.role);
    command->footer(text.footer);
    command->callback(
        [role = text.role, flags, &status] { status = RunRole(role, *flags); });
  }
}

}  // namespace winnow
