// What must hold for every call of the operator, however broken: a valid one is computed right, another one
// is refused with a sentence that names an argument, and nothing is read or written outside of the tensors.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "call_drawing.h"
#include "call_memory.h"
#include "problem.h"

namespace ifa::cpu::test {
namespace {

// Multiply-adds of a call at most; a call that a change made larger is only planned.
constexpr int64_t kMostWork = 1'000'000;

const char *const kArguments[] = {"query",
                                  "key",
                                  "value",
                                  "attn_mask",
                                  "actual_seq_lengths",
                                  "pse_shift",
                                  "dequant_scale",
                                  "quant_scale",
                                  "quant_offset2",
                                  "antiquant_scale",
                                  "antiquant_offset",
                                  "block_table",
                                  "kv_padding_size",
                                  "num_heads",
                                  "num_key_value_heads",
                                  "input_layout",
                                  "block_size",
                                  "inner_precise"};

void Require(bool holds, const OperatorCall &call, const std::string &what) {
  if (!holds) {
    std::fprintf(stderr, "%s\nthe call: %s\n", what.c_str(), Description(call).c_str());
    std::abort();
  }
}

void RequireSentence(const OperatorCall &call, const std::string &message) {
  const bool names = std::any_of(std::begin(kArguments), std::end(kArguments), [&](const char *argument) {
    return message.find(argument) != std::string::npos;
  });
  Require(names && message.back() == '.', call, "a refusal that names no argument: " + message);
}

bool IsSmall(const DecodeAttentionArgs &args) {
  const double work = static_cast<double>(args.batch) * static_cast<double>(args.query_heads) *
                      static_cast<double>(args.kv_length) * static_cast<double>(args.head_size);
  const double cache = static_cast<double>(args.block_count) * static_cast<double>(args.block_size) *
                       static_cast<double>(args.kv_heads * args.head_size);
  return work <= kMostWork && cache <= kMostWork;
}

void RunOne(FuzzedDataProvider *data) {
  OperatorCall call = DrawValidCall(data);
  const int changes = data->ConsumeIntegralInRange(0, 3);
  for (int i = 0; i < changes; ++i) {
    Change(&call, data);
  }
  try {
    const DecodeAttentionArgs args = PlanCall(call);
    if (!IsSmall(args)) {
      return;
    }
    static const std::vector<InstructionSet> usable = UsableInstructionSets();
    const InstructionSet isa = usable[data->ConsumeIntegralInRange<size_t>(0, usable.size() - 1)];
    ExecutionOptions options;
    options.isa = &isa;
    options.threads = data->ConsumeIntegralInRange(1, 4);
    CallMemory memory(call, data);
    try {
      memory.Run(args, options);
    } catch (const std::exception &refusal) {  // a length or a block
      return RequireSentence(call, refusal.what());
    }
    const std::string difference = memory.Compare();
    Require(difference.empty(), call, difference);
  } catch (const Refusal &refusal) {
    Require(changes > 0, call, std::string("a valid call was refused: ") + refusal.what());
    RequireSentence(call, refusal.what());
  }
}

}  // namespace
}  // namespace ifa::cpu::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  ifa::cpu::test::RunOne(&data);
  return 0;
}
