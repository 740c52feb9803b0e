#include "validation.h"

#include <stdexcept>
#include <string>

#include "element_types.h"
#include "instruction_set.h"
#include "split_plan.h"

namespace ifa::cpu {
namespace {

constexpr int64_t kMaxHeadSize = 512;
constexpr int64_t kMaxCount = INT32_MAX;  // of anything counted, so that products of two fit 64 bits

[[noreturn]] void Refuse(const std::string &field, const std::string &holds, const std::string &allowed) {
  throw std::invalid_argument("DecodeAttention: " + field + " is " + holds + "; it must be " + allowed + ".");
}

void CheckCount(const char *field, int64_t count, int64_t most = kMaxCount) {
  if (count < 1 || count > most) {
    Refuse(field, std::to_string(count), "1 to " + std::to_string(most));
  }
}

void CheckPointer(const char *field, const void *pointer) {
  if (pointer == nullptr) {
    Refuse(field, "null", "the address of a tensor");
  }
}

std::string NameOf(DataType dtype) {
  return std::string(DataTypeName(dtype)) + " (" + std::to_string(static_cast<int>(dtype)) + ")";
}

// `dtype` itself, or int8.
void CheckQuantisable(const char *field, DataType dtype, const DecodeAttentionArgs &args) {
  if (dtype != args.dtype && dtype != DataType::kInt8) {
    Refuse(field, NameOf(dtype), "dtype, which is " + NameOf(args.dtype) + ", or int8");
  }
}

void CheckOnlyWith(const char *when, bool holds, const char *field, const void *pointer) {
  if (pointer != nullptr && !holds) {
    Refuse(field, "given", std::string("null without ") + when);
  }
}

void CheckTypes(const DecodeAttentionArgs &args) {
  if (args.dtype != DataType::kFloat32 && args.dtype != DataType::kFloat16 &&
      args.dtype != DataType::kBFloat16) {
    Refuse("dtype", NameOf(args.dtype), "fp32, fp16 or bf16");
  }
  CheckQuantisable("kv_dtype", args.kv_dtype, args);
  CheckQuantisable("output_dtype", args.output_dtype, args);
}

void CheckQuantisation(const DecodeAttentionArgs &args) {
  const bool int8_cache = args.kv_dtype == DataType::kInt8;
  const bool int8_output = args.output_dtype == DataType::kInt8;
  if (int8_cache) {
    CheckPointer("antiquant_scale", args.antiquant_scale);
  }
  if (int8_output) {
    CheckPointer("quant_scale", args.quant_scale);
  }
  CheckOnlyWith("a kv_dtype of int8", int8_cache, "antiquant_scale", args.antiquant_scale);
  CheckOnlyWith("a kv_dtype of int8", int8_cache, "antiquant_offset", args.antiquant_offset);
  CheckOnlyWith("an output_dtype of int8", int8_output, "quant_scale", args.quant_scale);
  CheckOnlyWith("an output_dtype of int8", int8_output, "quant_offset", args.quant_offset);
}

void CheckHeads(const DecodeAttentionArgs &args) {
  CheckCount("query_heads", args.query_heads);
  CheckCount("kv_heads", args.kv_heads);
  if (args.query_heads % args.kv_heads != 0) {
    Refuse("query_heads", std::to_string(args.query_heads),
           "a multiple of kv_heads, which is " + std::to_string(args.kv_heads));
  }
}

void CheckLengths(const DecodeAttentionArgs &args) {
  for (int64_t b = 0; args.lengths != nullptr && b < args.batch; ++b) {
    if (args.lengths[b] < 0 || args.lengths[b] > args.kv_length) {
      Refuse("lengths[" + std::to_string(b) + "]", std::to_string(args.lengths[b]),
             "0 to kv_length, which is " + std::to_string(args.kv_length));
    }
  }
  for (int64_t b = 0; args.starts != nullptr && b < args.batch; ++b) {
    const int64_t length = args.lengths == nullptr ? args.kv_length : args.lengths[b];
    if (args.starts[b] > args.kv_length - length) {
      Refuse("starts[" + std::to_string(b) + "]", std::to_string(args.starts[b]),
             "at most kv_length - length, which are " + std::to_string(args.kv_length) + " and " +
                 std::to_string(length));
    }
  }
}

void CheckBlocks(const DecodeAttentionArgs &args) {
  if (args.block_table == nullptr) {
    return;
  }
  CheckCount("max_blocks", args.max_blocks);
  CheckCount("block_size", args.block_size);
  CheckCount("block_count", args.block_count);
  if (args.max_blocks * args.block_size < args.kv_length) {
    Refuse("max_blocks", std::to_string(args.max_blocks),
           "at least kv_length / block_size, which are " + std::to_string(args.kv_length) + " and " +
               std::to_string(args.block_size));
  }
  for (int64_t b = 0; b < args.batch; ++b) {
    const PositionRange range = PositionsOf(args, b);
    for (int64_t i = range.first / args.block_size; i * args.block_size < range.last; ++i) {
      const int64_t block = args.block_table[b * args.max_blocks + i];
      if (block < 0 || block >= args.block_count) {
        Refuse("block_table[" + std::to_string(b) + ", " + std::to_string(i) + "]", std::to_string(block),
               "0 to " + std::to_string(args.block_count - 1) + ", a block of the cache, because batch " +
                   std::to_string(b) + " has " + std::to_string(range.count()) + " positions");
      }
    }
  }
}

std::string UsableNames() {
  std::string names;
  for (const auto isa : kInstructionSets) {
    if (UsableKernels(isa) != nullptr) {
      names += (names.empty() ? "" : ", ") + std::string(InstructionSetName(isa));
    }
  }
  return names;
}

void CheckOptions(const ExecutionOptions &options) {
  if (options.threads < 0) {
    Refuse("threads", std::to_string(options.threads), "0 for the default, or more");
  }
  if (options.isa != nullptr && UsableKernels(*options.isa) == nullptr) {
    Refuse("isa", InstructionSetName(*options.isa), "one that this machine runs: " + UsableNames());
  }
}

}  // namespace

void Validate(const DecodeAttentionArgs &args, const ExecutionOptions &options) {
  CheckTypes(args);
  CheckCount("batch", args.batch);
  CheckHeads(args);
  CheckCount("kv_length", args.kv_length);
  CheckCount("head_size", args.head_size, kMaxHeadSize);
  CheckPointer("query", args.query);
  CheckPointer("key", args.key);
  CheckPointer("value", args.value);
  CheckPointer("output", args.output);
  CheckQuantisation(args);
  CheckLengths(args);
  CheckBlocks(args);
  CheckOptions(options);
}

}  // namespace ifa::cpu
