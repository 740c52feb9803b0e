#include "options.h"

#include <cstdio>
#include <stdexcept>

namespace ifa::cpu::bench {
namespace {

// Multi-head, grouped-query and multi-query models, short and long contexts, head sizes 64 to 256.
const std::vector<Shape> kUsualShapes = {
    {1, 32, 32, 4096, 128}, {1, 32, 8, 4096, 128}, {1, 32, 8, 32768, 128}, {8, 32, 8, 2048, 128},
    {16, 16, 2, 1024, 64},  {1, 8, 1, 8192, 256},  {32, 32, 8, 512, 128}};

[[noreturn]] void Refuse(const std::string &argument, const std::string &given, const std::string &allowed) {
  throw std::invalid_argument(argument + " is '" + given + "'; it must be " + allowed + ".");
}

Shape ParseShape(const std::string &text) {
  Shape shape;
  char rest;
  long long b, n, kv, s, d;
  if (std::sscanf(text.c_str(), "%lld,%lld,%lld,%lld,%lld%c", &b, &n, &kv, &s, &d, &rest) != 5 || b < 1 ||
      n < 1 || kv < 1 || s < 1 || d < 1 || d > 512 || n % kv != 0) {
    Refuse("--shape", text, "B,N,kvN,S,D: five numbers above 0, N a multiple of kvN, D up to 512");
  }
  shape = {b, n, kv, s, d};
  return shape;
}

std::vector<DataType> ParseDataTypes(const std::string &text) {
  if (text == "fp16") {
    return {DataType::kFloat16};
  }
  if (text == "bf16") {
    return {DataType::kBFloat16};
  }
  if (text == "fp32") {
    return {DataType::kFloat32};
  }
  if (text == "int8") {
    return {DataType::kInt8};
  }
  if (text == "all") {
    return {DataType::kFloat16, DataType::kBFloat16, DataType::kFloat32, DataType::kInt8};
  }
  Refuse("--dtype", text, "fp16, bf16, fp32, int8 or all");
}

int ParseCount(const std::string &argument, const std::string &text) {
  size_t used = 0;
  int count = 0;
  try {
    count = std::stoi(text, &used);
  } catch (const std::exception &) {
    used = 0;
  }
  if (used == 0 || used != text.size() || count < 1) {
    Refuse(argument, text, "a number above 0");
  }
  return count;
}

InstructionSet ParseInstructionSet(const std::string &text) {
  for (const auto isa : kInstructionSets) {
    if (text == InstructionSetName(isa)) {
      return isa;
    }
  }
  Refuse("--isa", text, "portable, neon, avx2 or avx512");
}

}  // namespace

const char *const kUsage =
    "usage: ifa_cpu_bench [--shape B,N,kvN,S,D]... [--dtype fp16|bf16|fp32|int8|all] [--threads N]\n"
    "                     [--isa portable|neon|avx2|avx512] [--rounds N] [--json FILE]\n"
    "                     [--block-size N]  a paged cache, its blocks in random order\n";

Options ParseOptions(int argc, char **argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string argument = argv[i];
    const std::string value = i + 1 < argc ? argv[i + 1] : "";
    if (argument == "--shape") {
      options.shapes.push_back(ParseShape(value));
    } else if (argument == "--dtype") {
      options.dtypes = ParseDataTypes(value);
    } else if (argument == "--threads") {
      options.threads = ParseCount(argument, value);
    } else if (argument == "--rounds") {
      options.rounds = ParseCount(argument, value);
    } else if (argument == "--block-size") {
      options.block_size = ParseCount(argument, value);
    } else if (argument == "--isa") {
      options.isa = ParseInstructionSet(value);
    } else if (argument == "--json") {
      options.json = value;
    } else {
      Refuse("argument", argument, "one of those below");
    }
  }
  if (options.shapes.empty()) {
    options.shapes = kUsualShapes;
  }
  if (options.dtypes.empty()) {
    options.dtypes = {DataType::kFloat16};
  }
  for (const Shape &shape : options.shapes) {
    if (options.block_size > 0 && shape.kv_length % options.block_size != 0) {
      Refuse("--block-size", std::to_string(options.block_size),
             "a divisor of S, " + std::to_string(shape.kv_length));
    }
  }
  if (options.threads == 0) {
    options.threads = ThreadCount();
  }
  return options;
}

}  // namespace ifa::cpu::bench
