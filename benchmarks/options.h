// The command line of ifa_cpu_bench.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "decode_attention.h"

namespace ifa::cpu::bench {

struct Shape {
  int64_t batch, query_heads, kv_heads, kv_length, head_size;
};

struct Options {
  std::vector<Shape> shapes;
  std::vector<DataType> dtypes;  ///< of the cache; int8 with an fp16 query
  int threads = 0;
  int rounds = 15;
  int block_size = 0;  ///< of a paged cache, or 0
  std::optional<InstructionSet> isa;
  std::string json;  ///< a file to write, or empty
};

extern const char *const kUsage;

/// @throws std::invalid_argument naming the argument, what was given and what is allowed.
Options ParseOptions(int argc, char **argv);

}  // namespace ifa::cpu::bench
