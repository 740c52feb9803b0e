// Refuses arguments that the kernels could not work on.
#pragma once

#include "decode_attention.h"

namespace ifa::cpu {

/// @throws std::invalid_argument naming the field, what it holds and what is allowed.
void Validate(const DecodeAttentionArgs &args, const ExecutionOptions &options);

}  // namespace ifa::cpu
