#include "bench.h"

#include <chrono>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "decode_attention.h"
#include "read_probe.h"

namespace ifa::cpu::bench {
namespace {

thread_local std::string last_error;

template <typename Work>
double Microseconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

InstructionSet InstructionSetOf(const std::string &name) {
  for (const InstructionSet isa : kInstructionSets) {
    if (name == InstructionSetName(isa)) {
      return isa;
    }
  }
  throw std::invalid_argument("isa is '" + name + "'; it must be portable, neon, avx2, avx512 or amx.");
}

DecodeAttentionArgs ArgsOf(const IfaBenchCall &call) {
  DecodeAttentionArgs args;
  args.dtype = args.output_dtype = static_cast<DataType>(call.dtype);
  args.kv_dtype = static_cast<DataType>(call.kv_dtype);
  args.batch = call.batch;
  args.query_heads = call.query_heads;
  args.kv_heads = call.kv_heads;
  args.kv_length = call.kv_length;
  args.head_size = call.head_size;
  args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(call.head_size)));
  args.query = call.query;
  args.key = call.key;
  args.value = call.value;
  args.antiquant_scale = call.antiquant_scale;
  args.lengths = call.lengths;
  args.starts = call.starts;
  args.mask = call.mask;
  args.mask_batch_stride = call.kv_length;
  args.output = call.output;
  args.query_strides = args.output_strides = {call.query_heads * call.head_size, call.head_size, 0};
  int64_t rows = call.kv_length;  // of a head, before the next head starts
  if (call.block_size > 0) {
    rows = args.block_size = call.block_size;
    args.block_table = call.block_table;
    args.max_blocks = call.kv_length / call.block_size;
    args.block_count = call.batch * args.max_blocks;
  }
  args.key_strides = {call.kv_heads * rows * call.head_size, rows * call.head_size, call.head_size};
  args.value_strides = args.key_strides;
  return args;
}

double Attend(const IfaBenchCall &call) {
  const DecodeAttentionArgs args = ArgsOf(call);
  const InstructionSet isa = call.isa ? InstructionSetOf(call.isa) : BestInstructionSet();
  ExecutionOptions options;
  options.threads = static_cast<int>(call.threads);
  options.isa = &isa;
  return Microseconds([&] { DecodeAttention(args, options); });
}

}  // namespace
}  // namespace ifa::cpu::bench

double ifa_bench_attend(const IfaBenchCall *call) {
  try {
    return ifa::cpu::bench::Attend(*call);
  } catch (const std::exception &error) {
    ifa::cpu::bench::last_error = error.what();
    return -1;
  }
}

double ifa_bench_read(const void *key, const void *value, int64_t bytes, int64_t threads, int64_t pattern) {
  using namespace ifa::cpu::bench;
  volatile uint64_t keep = 0;  // what was read must be used, or the compiler need not read it
  const std::vector<Span> spans = {{static_cast<const std::byte *>(key), bytes},
                                   {static_cast<const std::byte *>(value), bytes}};
  return Microseconds(
      [&] { keep = ReadAll(spans, static_cast<int>(threads), static_cast<ReadPattern>(pattern)); });
}

const char *ifa_bench_best_isa() { return InstructionSetName(ifa::cpu::BestInstructionSet()); }

const char *ifa_bench_error() { return ifa::cpu::bench::last_error.c_str(); }
