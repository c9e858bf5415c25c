#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace winnow {

// Writes a GGUF file as a test wants it, right or wrong.
class GgufWriter {
 public:
  explicit GgufWriter(uint32_t version = 3, uint64_t alignment = 32)
      : version_(version), alignment_(alignment) {}

  template <typename T>
  static std::string Bytes(T value) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
  }
  static std::string String(const std::string& text) {
    return Bytes<uint64_t>(text.size()) + text;
  }

  // `value` as it stands in the file, after the type.
  GgufWriter& Raw(const std::string& key, uint32_t type,
                  const std::string& value) {
    entries_.push_back({key, String(key) + Bytes(type) + value});
    return *this;
  }
  GgufWriter& U32(const std::string& key, uint32_t value) {
    return Raw(key, 4, Bytes(value));
  }
  GgufWriter& F32(const std::string& key, float value) {
    return Raw(key, 6, Bytes(value));
  }
  GgufWriter& Bool(const std::string& key, bool value) {
    return Raw(key, 7, std::string(1, value ? '\1' : '\0'));
  }
  GgufWriter& Text(const std::string& key, const std::string& value) {
    return Raw(key, 8, String(value));
  }
  GgufWriter& Texts(const std::string& key,
                    const std::vector<std::string>& values) {
    std::string bytes = Bytes<uint32_t>(8) + Bytes<uint64_t>(values.size());
    for (const std::string& value : values) {
      bytes += String(value);
    }
    return Raw(key, 9, bytes);
  }
  GgufWriter& I32s(const std::string& key, const std::vector<int32_t>& values) {
    std::string bytes = Bytes<uint32_t>(5) + Bytes<uint64_t>(values.size());
    for (const int32_t value : values) {
      bytes += Bytes(value);
    }
    return Raw(key, 9, bytes);
  }
  // Takes an entry away again.
  GgufWriter& Without(const std::string& key) {
    std::erase_if(entries_,
                  [&](const auto& entry) { return entry.first == key; });
    return *this;
  }

  // `dims` in the file's order: along a row first.
  GgufWriter& Tensor(const std::string& name, const std::vector<uint64_t>& dims,
                     uint32_t type, const std::string& bytes) {
    data_.resize((data_.size() + alignment_ - 1) / alignment_ * alignment_);
    TensorAt(name, dims, type, data_.size());
    data_ += bytes;
    return *this;
  }
  GgufWriter& TensorAt(const std::string& name,
                       const std::vector<uint64_t>& dims, uint32_t type,
                       uint64_t offset) {
    std::string bytes =
        String(name) + Bytes(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) {
      bytes += Bytes(dim);
    }
    tensors_.push_back(bytes + Bytes(type) + Bytes(offset));
    return *this;
  }
  // A float32 tensor whose elements are 1, 2, 3, ...
  GgufWriter& Counting(const std::string& name,
                       const std::vector<uint64_t>& dims) {
    uint64_t count = 1;
    for (const uint64_t dim : dims) {
      count *= dim;
    }
    std::string bytes;
    for (uint64_t i = 1; i <= count; ++i) {
      bytes += Bytes(static_cast<float>(i));
    }
    return Tensor(name, dims, 0, bytes);
  }

  std::string Write() const {
    std::string file = "GGUF" + Bytes(version_) +
                       Bytes<uint64_t>(tensors_.size()) +
                       Bytes<uint64_t>(entries_.size());
    for (const auto& [key, bytes] : entries_) {
      file += bytes;
    }
    for (const std::string& tensor : tensors_) {
      file += tensor;
    }
    file.resize((file.size() + alignment_ - 1) / alignment_ * alignment_);
    return file + data_;
  }

 private:
  const uint32_t version_;
  const uint64_t alignment_;
  std::vector<std::pair<std::string, std::string>> entries_;
  std::vector<std::string> tensors_;
  std::string data_;
};

inline std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// A whole model: 2 layers, hidden 32, 2 heads and 1 KV head of 16, 8 tokens.
inline GgufWriter TinyGguf(const std::string& architecture) {
  const std::string a = architecture + ".";
  GgufWriter writer;
  writer.Text("general.architecture", architecture)
      .Text("general.name", "tiny")
      .U32(a + "block_count", 2)
      .U32(a + "context_length", 128)
      .U32(a + "embedding_length", 32)
      .U32(a + "feed_forward_length", 64)
      .U32(a + "attention.head_count", 2)
      .U32(a + "attention.head_count_kv", 1)
      .F32(a + "attention.layer_norm_rms_epsilon", 1e-5f)
      .F32(a + "rope.freq_base", 10000)
      .Text("tokenizer.ggml.model", "gpt2")
      .Text("tokenizer.ggml.pre", "smollm")
      .Texts("tokenizer.ggml.tokens",
             {"<|end|>", "a", "b", "ab", "c", "abc", "\xC4\xA0", "d"})
      .I32s("tokenizer.ggml.token_type", {3, 1, 1, 1, 1, 1, 1, 5})
      .Texts("tokenizer.ggml.merges", {"a b", "ab c"})
      .U32("tokenizer.ggml.bos_token_id", 0)
      .Bool("tokenizer.ggml.add_bos_token", true)
      .U32("tokenizer.ggml.eos_token_id", 0)
      .U32("tokenizer.ggml.eot_token_id", 7)
      .Text("tokenizer.chat_template", "{{ messages }}")
      .Counting("token_embd.weight", {32, 8});
  for (int i = 0; i < 2; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    writer.Counting(layer + "attn_norm.weight", {32})
        .Counting(layer + "attn_q.weight", {32, 32})
        .Counting(layer + "attn_k.weight", {32, 16})
        .Counting(layer + "attn_v.weight", {32, 16})
        .Counting(layer + "attn_output.weight", {32, 32})
        .Counting(layer + "ffn_norm.weight", {32})
        .Counting(layer + "ffn_gate.weight", {32, 64})
        .Counting(layer + "ffn_up.weight", {32, 64})
        .Counting(layer + "ffn_down.weight", {64, 32});
    if (architecture == "qwen2") {
      writer.Counting(layer + "attn_q.bias", {32})
          .Counting(layer + "attn_k.bias", {16})
          .Counting(layer + "attn_v.bias", {16});
    }
    if (architecture == "qwen3") {
      writer.Counting(layer + "attn_q_norm.weight", {16})
          .Counting(layer + "attn_k_norm.weight", {16});
    }
  }
  return writer.Counting("output_norm.weight", {32});
}

}  // namespace winnow
