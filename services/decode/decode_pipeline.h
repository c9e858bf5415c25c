#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/manifest.h"
#include "cache_store/store/kv_store.h"
#include "gpu/base/clock.h"
#include "gpu/model/sampler.h"
#include "gpu/model/transformer.h"
#include "services/common/decoder.h"
#include "services/common/sequence_loader.h"

namespace winnow {

struct DecodeOptions {
  absl::Duration lease_ttl = absl::Minutes(2);  // where a lease is taken anew
  const Clock* clock = &Clock::Real();
};

// Generates tokens from a cache that a store holds.
//
// Takes over the lease of the manifest, or a new one if that has ended; reads
// tiles in place; the lease ends with the call.
// Memory: partial blocks, the growth of the sequence, one step's activations.
// Not thread-safe; backend, model and store outlive it.
class DecodePipeline final : public Decoder {
 public:
  // `identity` is that of the caches this pipeline may read.
  static absl::StatusOr<std::unique_ptr<DecodePipeline>> Create(
      Backend& backend, const Model& model, const CacheIdentity& identity,
      KvStore& store, const DecodeOptions& options);

  absl::StatusOr<DecodeResult> Run(const DecodeRequest& request,
                                   const Call& call, TokenSink sink) override;

 private:
  DecodePipeline(Backend& backend, const Model& model,
                 const CacheIdentity& identity, KvStore& store,
                 const DecodeOptions& options)
      : backend_(backend),
        model_(model),
        identity_(identity),
        store_(store),
        options_(options) {}
  absl::Status Check(const DecodeRequest& request) const;
  absl::StatusOr<LeaseHandle> TakeLease(const Manifest& manifest);
  absl::StatusOr<LoadedSequence> Load(const DecodeRequest& request,
                                      LeaseId lease, DecodeResult& result);
  absl::Status Generate(const DecodeRequest& request, KvSequence& sequence,
                        TokenSink sink, DecodeResult& result);
  absl::StatusOr<TokenChoice> Step(KvSequence& sequence, int32_t id,
                                   Sampler& sampler,
                                   std::span<const int32_t> previous,
                                   std::optional<int32_t> forced);
  bool IsEndOfText(int32_t id) const;

  Backend& backend_;
  const Model& model_;
  const CacheIdentity identity_;
  KvStore& store_;
  const DecodeOptions options_;
  std::unique_ptr<Transformer> transformer_;
  std::vector<float> logits_;  // [vocabulary]
};

}  // namespace winnow
