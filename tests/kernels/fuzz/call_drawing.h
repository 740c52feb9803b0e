// Draws calls of the operator from a fuzzer's bytes: first a valid one, then changes that may break it.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <string>

#include "operator_call.h"

namespace ifa::cpu::test {

/// At most 3 sequences of 192 positions, 3 KV heads with 9 query heads each, and a head size of 64; half of
/// the caches and of the outputs are int8.
OperatorCall DrawValidCall(FuzzedDataProvider *data);

/// Changes one type, rank, dimension or attribute; what comes out may be valid all the same.
void Change(OperatorCall *call, FuzzedDataProvider *data);

/// The types and shapes of the operands that are present, and the attributes.
std::string Description(const OperatorCall &call);

}  // namespace ifa::cpu::test
