#pragma once

#include <string>

#include "cache_store/plan/head_profile.h"
#include "cache_store/plan/plan.h"
#include "tests/golden.h"
#include <nlohmann/json.hpp>

namespace winnow {

inline constexpr HeadGrid kGoldenGrid = {.num_layers = 30, .num_kv_heads = 3};

// The scores in a file that tests/golden/extract.py made of SmolLM2's.
inline std::vector<HeadScores> GoldenScores(const nlohmann::json& json) {
  std::vector<HeadScores> scores;
  for (size_t layer = 0; layer < json["echo"].size(); ++layer) {
    for (size_t head = 0; head < json["echo"][layer].size(); ++head) {
      scores.push_back(
          {.echo = json["echo"][layer][head].get<float>(),
           .induction = json["induction"][layer][head].get<float>()});
    }
  }
  return scores;
}

// [[layer, KV head], ...] as classes.
inline std::vector<bool> GoldenClasses(const nlohmann::json& pairs) {
  std::vector<bool> classes(kGoldenGrid.size());
  for (const nlohmann::json& pair : pairs) {
    classes[pair[0].get<size_t>() * 3 + pair[1].get<size_t>()] = true;
  }
  return classes;
}

// A profile of SmolLM2's golden scores; the weights are made up.
inline HeadProfile GoldenProfile() {
  const nlohmann::json json = ReadGoldenJson("smollm2/profile_scores.json");
  HeadProfile profile;
  profile.model_digest.fill(0xab);
  profile.model_name = "SmolLM2-135M-Instruct";
  profile.num_layers = 30;
  profile.num_heads = 9;
  profile.num_kv_heads = 3;
  profile.scores = GoldenScores(json);
  profile.retrieval = SelectRetrievalHeads(profile.scores, 30, 9, 3, {});
  for (int head = 0; head < kGoldenGrid.size(); ++head) {
    profile.weights.push_back(static_cast<float>(head) / 7);
  }
  profile.calibration_block = 500;
  profile.calibration_repeats = 4;
  profile.calibration_seed = 42;
  return profile;
}

}  // namespace winnow
