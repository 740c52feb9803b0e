// What the machine offers, found another way than the core finds it, so that neither hides a fault of the
// other.
#pragma once

#include "decode_attention.h"

namespace ifa::cpu::test {

/// Whether the processor has what the code for `isa` needs, and the operating system lets it be used.
/// @throws std::runtime_error if the system does not tell.
bool ProcessorHas(InstructionSet isa);

}  // namespace ifa::cpu::test
