// Decides how the AscendC operator computes a call: which of its two paths, in tiles of how many positions,
// and which core works on which part of the rows. Plain C++ that knows nothing of CANN.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/ascendc/op_kernel/decode_tiling_data.h"
#include "kernels/cpu/operator_call.h"

namespace ifa::ascendc {

/// Cores of the processor that a call may use, each at least 1; more than kMaxCores are not used.
struct CoreCounts {
  uint32_t cube = 24;
  uint32_t vector = 48;
};

/// Plans a call.
/// @param lengths of all sequences, as cpu::ReadLengths gives them, where the host knows them; else empty.
/// @throws cpu::Refusal naming the argument, what it holds and what is allowed, if the operator or this
/// kernel does not take the call.
DecodeTiling MakeTiling(const cpu::OperatorCall &call, const std::vector<int64_t> &lengths,
                        const CoreCounts &cores);

/// Which instance of the kernel computes the call: one of kKey...
uint64_t TilingKey(const cpu::OperatorCall &call, const DecodeTiling &tiling);

}  // namespace ifa::ascendc
