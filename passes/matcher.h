// From a softmax to the attention around it: up to the score matmul, down to the value matmul, and out to the
// tensors that query, key and value come from.
#pragma once

#include <variant>

#include "passes/attention_site.h"

namespace ifa::passes {

struct NotAttention {};
using Match = std::variant<NotAttention, Refusal, AttentionSite>;

/// @param strict rows in which every position is masked must keep their value.
Match MatchAttention(const mindspore::CNodePtr &softmax, bool strict);

}  // namespace ifa::passes
