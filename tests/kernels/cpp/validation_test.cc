// Bad arguments: an exception that names the field, what it holds and what is allowed; nothing is written.
#include <cstring>
#include <functional>
#include <stdexcept>

#include "check.h"
#include "problem.h"

namespace ifa::cpu::test {
namespace {

struct Case {
  const char *name;
  std::function<void(DecodeAttentionArgs *, ExecutionOptions *)> spoil;
  std::vector<std::string> words;  // that the message must hold
};

const InstructionSet kNoInstructionSet = static_cast<InstructionSet>(77);
const int64_t kLengthsTooLong[] = {4, 11};
const int64_t kLengthsNegative[] = {-1, 10};
const int64_t kStartsTooLate[] = {0, 7};
const int64_t kLengthsShort[] = {4, 4};
const int32_t kBlocks[] = {0, 1};
const float kParameters[] = {1.0F, 1.0F};

// One block of 16 positions for each of the two sequences.
void Page(DecodeAttentionArgs *args) {
  args->block_table = kBlocks;
  args->max_blocks = 1;
  args->block_size = 16;
  args->block_count = 2;
}

std::vector<Case> Cases() {
  using Args = DecodeAttentionArgs;
  using Options = ExecutionOptions;
  return {
      {"batch 0", [](Args *a, Options *) { a->batch = 0; }, {"batch is 0", "1 to"}},
      {"query_heads 0", [](Args *a, Options *) { a->query_heads = 0; }, {"query_heads is 0", "1 to"}},
      {"query_heads negative",
       [](Args *a, Options *) { a->query_heads = -4; },
       {"query_heads is -4", "1 to"}},
      {"kv_heads 0", [](Args *a, Options *) { a->kv_heads = 0; }, {"kv_heads is 0", "1 to"}},
      {"kv_heads negative", [](Args *a, Options *) { a->kv_heads = -2; }, {"kv_heads is -2", "1 to"}},
      {"kv_heads does not divide",
       [](Args *a, Options *) { a->kv_heads = 4; },
       {"query_heads is 6", "kv_heads", "4"}},
      {"kv_length 0", [](Args *a, Options *) { a->kv_length = 0; }, {"kv_length is 0", "1 to"}},
      {"head_size 0", [](Args *a, Options *) { a->head_size = 0; }, {"head_size is 0", "1 to 512"}},
      {"head_size 513", [](Args *a, Options *) { a->head_size = 513; }, {"head_size is 513", "1 to 512"}},
      {"batch huge",
       [](Args *a, Options *) { a->batch = INT64_MAX; },
       {"batch is 9223372036854775807", "1 to"}},
      {"query null", [](Args *a, Options *) { a->query = nullptr; }, {"query is null"}},
      {"key null", [](Args *a, Options *) { a->key = nullptr; }, {"key is null"}},
      {"value null", [](Args *a, Options *) { a->value = nullptr; }, {"value is null"}},
      {"output null", [](Args *a, Options *) { a->output = nullptr; }, {"output is null"}},
      {"dtype unknown",
       [](Args *a, Options *) { a->dtype = static_cast<DataType>(9); },
       {"dtype is unknown (9)", "fp32, fp16 or bf16"}},
      {"dtype int8", [](Args *a, Options *) { a->dtype = DataType::kInt8; }, {"dtype is int8"}},
      {"kv_dtype of another float",
       [](Args *a, Options *) { a->kv_dtype = DataType::kFloat16; },
       {"kv_dtype is fp16", "fp32", "int8"}},
      {"output_dtype of another float",
       [](Args *a, Options *) { a->output_dtype = DataType::kBFloat16; },
       {"output_dtype is bf16", "fp32", "int8"}},
      {"int8 cache without a scale",
       [](Args *a, Options *) { a->kv_dtype = DataType::kInt8; },
       {"antiquant_scale is null"}},
      {"int8 output without a scale",
       [](Args *a, Options *) { a->output_dtype = DataType::kInt8; },
       {"quant_scale is null"}},
      {"antiquant_scale without an int8 cache",
       [](Args *a, Options *) { a->antiquant_scale = kParameters; },
       {"antiquant_scale is given", "kv_dtype"}},
      {"antiquant_offset without an int8 cache",
       [](Args *a, Options *) { a->antiquant_offset = kParameters; },
       {"antiquant_offset is given", "kv_dtype"}},
      {"quant_scale without an int8 output",
       [](Args *a, Options *) { a->quant_scale = kParameters; },
       {"quant_scale is given", "output_dtype"}},
      {"quant_offset without an int8 output",
       [](Args *a, Options *) { a->quant_offset = kParameters; },
       {"quant_offset is given", "output_dtype"}},
      {"length too long",
       [](Args *a, Options *) { a->lengths = kLengthsTooLong; },
       {"lengths[1] is 11", "0 to", "10"}},
      {"length negative",
       [](Args *a, Options *) { a->lengths = kLengthsNegative; },
       {"lengths[0] is -1", "0 to"}},
      {"start too late",
       [](Args *a, Options *) {
         a->lengths = kLengthsShort;
         a->starts = kStartsTooLate;
       },
       {"starts[1] is 7", "at most", "10 and 4"}},
      {"start without lengths",
       [](Args *a, Options *) { a->starts = kStartsTooLate; },
       {"starts[1] is 7", "at most", "10 and 10"}},
      {"max_blocks too few",
       [](Args *a, Options *) {
         Page(a);
         a->block_size = 4;
       },
       {"max_blocks is 1", "kv_length / block_size", "10 and 4"}},
      {"max_blocks 0",
       [](Args *a, Options *) {
         Page(a);
         a->max_blocks = 0;
       },
       {"max_blocks is 0", "1 to"}},
      {"block_size 0",
       [](Args *a, Options *) {
         Page(a);
         a->block_size = 0;
       },
       {"block_size is 0", "1 to"}},
      {"block_count 0",
       [](Args *a, Options *) {
         Page(a);
         a->block_count = 0;
       },
       {"block_count is 0", "1 to"}},
      {"block behind the cache",
       [](Args *a, Options *) {
         Page(a);
         a->block_count = 1;
       },
       {"block_table[1, 0] is 1", "0 to 0", "batch 1", "10 positions"}},
      {"threads negative", [](Args *, Options *o) { o->threads = -1; }, {"threads is -1"}},
      {"isa unknown", [](Args *, Options *o) { o->isa = &kNoInstructionSet; }, {"isa is", "portable"}},
  };
}

std::string Problems(const Case &c) {
  ProblemSpec spec;
  spec.batch = 2;
  spec.kv_heads = 2;
  spec.group = 3;
  spec.kv_length = 10;
  Problem problem(spec);
  DecodeAttentionArgs args = problem.Args();
  void *output = args.output;
  const size_t bytes = sizeof(float) * 2 * 6 * 64;
  std::vector<char> before(bytes);
  std::memcpy(before.data(), output, bytes);
  ExecutionOptions options;
  c.spoil(&args, &options);
  try {
    DecodeAttention(args, options);
  } catch (const std::invalid_argument &error) {
    for (const std::string &word : c.words) {
      if (std::string(error.what()).find(word) == std::string::npos) {
        return "the message does not say '" + word + "': " + error.what();
      }
    }
    return std::memcmp(before.data(), output, bytes) == 0 ? "" : "the output was written to";
  }
  return "no exception";
}

}  // namespace

void TestValidation() {
  for (const Case &c : Cases()) {
    Report(c.name, Problems(c));
  }
}

}  // namespace ifa::cpu::test
