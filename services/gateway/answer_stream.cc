#include "services/gateway/answer_stream.h"

#include "gpu/base/status.h"
#include "services/gateway/generation_wire.h"

namespace winnow {

absl::Status AnswerStream::Accept(const v1::Accepted& accepted) {
  v1::GenerateResponse response;
  *response.mutable_accepted() = accepted;
  written_ = write_(response);
  return written_;
}

bool AnswerStream::Take(const TokenChoice& token) {
  v1::GenerateResponse response;
  v1::TokenEvent* const event = response.mutable_token();
  ToWire(token, log_probabilities_, event);
  event->set_text(text_.Push(
      parts_.tokenizer.TokenBytes(token.id, /*with_special=*/false)));
  written_ = write_(response);
  if (!written_.ok()) {
    return false;
  }
  Count(tokens_++ == 0);
  return !text_.stopped();
}

absl::Status AnswerStream::Finish(GenerationResult& result) {
  WINNOW_RETURN_IF_ERROR(written_);
  v1::GenerateResponse response;
  v1::Finished* const finished = response.mutable_finished();
  finished->set_text(text_.Finish());
  if (text_.stopped()) {
    result.finish_reason = FinishReason::kStop;
  }
  if (result.finish_reason == FinishReason::kCancelled) {
    return absl::InternalError("decode ended the answer without saying why");
  }
  result.time_to_first_token = first_token_;
  result.total = parts_.clock.Monotonic() - parts_.began;
  ToWire(result, finished);
  written_ = write_(response);
  return written_;
}

void AnswerStream::Count(bool first) {
  const absl::Duration now = parts_.clock.Monotonic();
  const absl::Duration gap = now - last_at_;
  last_at_ = now;
  if (first) {
    first_token_ = gap;
  }
  if (parts_.metrics != nullptr) {
    (first ? parts_.metrics->time_to_first_token : parts_.metrics->inter_token)
        .Observe(absl::ToDoubleSeconds(gap));
    parts_.metrics->completion_tokens.Increment();
  }
}

}  // namespace winnow
