// How the checks of an operator call refuse it: one form for every message.
#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "operator_call.h"

namespace ifa::cpu {

template <typename... Parts>
[[noreturn]] void Refuse(RefusalKind kind, const Parts &...parts) {
  std::ostringstream text;
  text << "IncreFlashAttention: ";
  (text << ... << parts);
  throw Refusal(kind, text.str());
}

inline std::string ShapeText(const std::vector<int64_t> &shape) {
  std::ostringstream text;
  text << "(";
  for (size_t i = 0; i < shape.size(); ++i) text << (i == 0 ? "" : ", ") << shape[i];
  text << (shape.size() == 1 ? ",)" : ")");
  return text.str();
}

}  // namespace ifa::cpu
