#include "services/gateway/generation_wire.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/common/decode_wire.h"
#include "services/common/wire.h"

namespace winnow {
namespace {

v1::Role RoleToWire(const std::string& role) {
  return role == "system" ? v1::ROLE_SYSTEM
         : role == "user" ? v1::ROLE_USER
                          : v1::ROLE_ASSISTANT;
}

void AddMessage(const std::string& role, const std::string& content,
                v1::GenerateRequest* wire) {
  v1::Message* const message = wire->add_messages();
  message->set_role(RoleToWire(role));
  message->set_content(content);
}

// Puts the field's name before a message that names a part of it alone.
absl::Status InField(const char* field, const absl::Status& status) {
  return {status.code(), absl::StrCat(field, ": ", status.message())};
}

absl::StatusOr<std::string> RoleFromWire(v1::Role role, int index) {
  switch (role) {
    case v1::ROLE_SYSTEM:
      return "system";
    case v1::ROLE_USER:
      return "user";
    case v1::ROLE_ASSISTANT:
      return "assistant";
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", index, "].role is ", static_cast<int>(role),
                       "; give ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT"));
  }
}

absl::StatusOr<PromptText> TextFromWire(const v1::GenerateRequest& wire) {
  if (wire.prompt().empty() == wire.messages().empty()) {
    return absl::InvalidArgumentError(
        wire.prompt().empty()
            ? "prompt and messages are empty; give one of them"
            : "prompt and messages are both given; give one of them");
  }
  if (static_cast<size_t>(wire.messages_size()) > kMaxMessages) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages has ", wire.messages_size(),
                     " entries; the limit is ", kMaxMessages));
  }
  PromptText text;
  text.context = wire.context();
  text.prompt = wire.prompt();
  for (int i = 0; i < wire.messages_size(); ++i) {
    const v1::Message& message = wire.messages(i);
    WINNOW_ASSIGN_OR_RETURN(std::string role, RoleFromWire(message.role(), i));
    text.messages.push_back(
        {.role = std::move(role), .content = message.content()});
  }
  return text;
}

// Absent, or without anything in it: the server's default.
absl::StatusOr<std::optional<Policy>> PolicyFromWire(
    const v1::GenerateRequest& wire) {
  if (wire.policy().ByteSizeLong() == 0) {
    return std::nullopt;
  }
  const auto policy = FromWire(wire.policy());
  if (!policy.ok()) {
    return InField("policy", policy.status());
  }
  return *policy;
}

}  // namespace

void ToWire(const TextRequest& request, v1::GenerateRequest* wire) {
  wire->set_model(request.model);
  wire->set_context(request.text.context);
  if (!request.text.messages.empty()) {
    for (const ChatMessage& message : request.text.messages) {
      AddMessage(message.role, message.content, wire);
    }
  } else if (!request.text.system.empty()) {
    AddMessage("system", request.text.system, wire);
    AddMessage("user", request.text.prompt, wire);
  } else {
    wire->set_prompt(request.text.prompt);
  }
  if (request.policy.has_value()) {
    ToWire(*request.policy, wire->mutable_policy());
  }
  ToWire(request.sampling, wire->mutable_sampling());
  if (request.max_tokens.has_value()) {
    wire->set_max_tokens(*request.max_tokens);
  }
  wire->set_ignore_eos(request.ignore_eos);
  wire->mutable_stop()->Assign(request.stop.begin(), request.stop.end());
  wire->set_log_probabilities(request.log_probabilities);
  wire->mutable_forced_ids()->Assign(request.forced_ids.begin(),
                                     request.forced_ids.end());
  wire->set_forced_text(request.forced_text);
}

absl::StatusOr<TextRequest> FromWire(const v1::GenerateRequest& wire) {
  TextRequest request;
  request.model = wire.model();
  WINNOW_ASSIGN_OR_RETURN(request.text, TextFromWire(wire));
  WINNOW_ASSIGN_OR_RETURN(request.policy, PolicyFromWire(wire));
  const auto sampling = FromWire(wire.sampling());
  if (!sampling.ok()) {
    return InField("sampling", sampling.status());
  }
  request.sampling = *sampling;
  if (wire.has_max_tokens()) {
    request.max_tokens = wire.max_tokens();
  }
  request.ignore_eos = wire.ignore_eos();
  request.stop.assign(wire.stop().begin(), wire.stop().end());
  request.log_probabilities = wire.log_probabilities();
  request.forced_ids.assign(wire.forced_ids().begin(), wire.forced_ids().end());
  request.forced_text = wire.forced_text();
  return request;
}

void ToWire(const TokenChoice& token, bool log_probabilities,
            v1::TokenEvent* wire) {
  wire->set_id(token.id);
  wire->set_greedy(token.greedy);
  if (log_probabilities) {
    wire->set_log_probability(token.log_probability);
  }
}

TokenChoice FromWire(const v1::TokenEvent& wire) {
  return {.id = wire.id(),
          .log_probability = wire.log_probability(),
          .greedy = wire.greedy()};
}

void ToWire(const GenerationResult& result, v1::Finished* wire) {
  wire->set_reason(ToWire(result.finish_reason));
  v1::Usage* const usage = wire->mutable_usage();
  usage->set_prompt_tokens(result.prompt_tokens);
  usage->set_completion_tokens(std::ssize(result.tokens));
  usage->set_reused_tokens(result.reused_tokens);
  usage->set_kv_full_bytes(result.kv.full);
  usage->set_kv_stored_bytes(result.kv.stored);
  usage->set_kv_pulled_bytes(result.kv.pulled);
  usage->set_prefills(result.prefills);
  v1::Timings* const timings = wire->mutable_timings();
  ToWire(result.queue, timings->mutable_queue());
  ToWire(result.tokenize, timings->mutable_tokenize());
  ToWire(result.prefill.total, timings->mutable_prefill());
  ToWire(result.prefill.compact, timings->mutable_compact());
  ToWire(result.prefill.write, timings->mutable_write());
  ToWire(result.prefill.reuse, timings->mutable_reuse());
  ToWire(result.prefill.context, timings->mutable_context());
  ToWire(result.prefill.prompt, timings->mutable_prompt());
  ToWire(result.pull, timings->mutable_pull());
  ToWire(result.decode, timings->mutable_decode());
  ToWire(result.time_to_first_token, timings->mutable_time_to_first_token());
  ToWire(result.total, timings->mutable_total());
  ToWire(result.policy.policy, wire->mutable_policy());
  wire->set_retrieval_heads(result.policy.retrieval_heads);
  wire->set_kv_heads(result.policy.kv_heads);
}

absl::StatusOr<GenerationResult> FromWire(const v1::Finished& wire) {
  GenerationResult result;
  result.finish_reason = FromWire(wire.reason());
  const v1::Usage& usage = wire.usage();
  result.prompt_tokens = usage.prompt_tokens();
  result.reused_tokens = usage.reused_tokens();
  result.kv = {.full = usage.kv_full_bytes(),
               .stored = usage.kv_stored_bytes(),
               .pulled = usage.kv_pulled_bytes()};
  result.prefills = usage.prefills();
  const v1::Timings& timings = wire.timings();
  result.queue = FromWire(timings.queue());
  result.tokenize = FromWire(timings.tokenize());
  result.prefill.total = FromWire(timings.prefill());
  result.prefill.compact = FromWire(timings.compact());
  result.prefill.write = FromWire(timings.write());
  result.prefill.reuse = FromWire(timings.reuse());
  result.prefill.context = FromWire(timings.context());
  result.prefill.prompt = FromWire(timings.prompt());
  result.pull = FromWire(timings.pull());
  result.decode = FromWire(timings.decode());
  result.time_to_first_token = FromWire(timings.time_to_first_token());
  result.total = FromWire(timings.total());
  WINNOW_ASSIGN_OR_RETURN(result.policy.policy, FromWire(wire.policy()));
  result.policy.retrieval_heads = wire.retrieval_heads();
  result.policy.kv_heads = wire.kv_heads();
  return result;
}

}  // namespace winnow
