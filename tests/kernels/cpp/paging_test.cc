// Paged caches: block sizes, lengths that end a block exactly or miss its end by one, and what is not read.
#include <limits>
#include <random>
#include <stdexcept>

#include "check.h"
#include "problem.h"

namespace ifa::cpu::test {
namespace {

ProblemSpec Draw(int64_t block_size, int64_t kv_length, std::mt19937_64 *random) {
  const auto below = [random](uint64_t n) { return static_cast<int>((*random)() % n); };
  ProblemSpec spec = DrawSpec(random);
  spec.group = 1 + below(9);
  spec.kv_length = kv_length;
  spec.head_size = 8 * (1 + below(20));
  spec.block_size = block_size;
  return spec;
}

void EveryBlockSizeAndRemainder() {
  std::mt19937_64 random(7);
  for (const int64_t block_size : {1, 16, 32, 48, 64, 128, 512}) {
    for (const int64_t remainder : {int64_t{0}, int64_t{1}, block_size - 1}) {
      for (const Layout layout : {Layout::kBnsd, Layout::kBsh, Layout::kPaddedRows}) {
        for (const Paging paging : {Paging::kOwnBlocks, Paging::kSharedBlocks}) {
          const auto blocks = static_cast<int64_t>(1 + random() % 4);
          ProblemSpec spec = Draw(block_size, blocks * block_size + remainder, &random);
          spec.layout = layout;
          spec.paging = paging;
          RunOfGrid(spec);
        }
      }
    }
  }
}

// Enough positions for several ranges and for threads.
void LongSequences() {
  std::mt19937_64 random(8);
  for (const int64_t block_size : {16, 64, 80, 512}) {
    for (const Mask mask : {Mask::kNone, Mask::kPrefix, Mask::kSuffix, Mask::kSparse, Mask::kAll}) {
      ProblemSpec spec = Draw(block_size, 6001, &random);
      spec.mask = mask;
      spec.paging = Paging::kOwnBlocks;
      RunOfGrid(spec);
    }
  }
}

void NeededBlockThatIsNotInTheCacheIsRefused() {
  ProblemSpec spec;
  spec.batch = 2;
  spec.kv_length = 40;
  spec.paging = Paging::kOwnBlocks;
  spec.lengths = Lengths::kFull;
  for (const int32_t wrong :
       {-1, 6, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()}) {
    Problem problem(spec);
    DecodeAttentionArgs args = problem.Args();
    problem.block_table()[args.max_blocks + 2] = wrong;
    const std::vector<double> untouched = problem.Output();
    std::string message = "no exception";
    try {
      DecodeAttention(args);
    } catch (const std::invalid_argument &error) {
      message = error.what();
    }
    const std::string expected = "block_table[1, 2] is " + std::to_string(wrong) + "; it must be 0 to 5";
    Report("block " + std::to_string(wrong), message.find(expected) == std::string::npos ? message : "");
    Report("output after it", problem.Output() == untouched ? "" : "the output was written to");
    problem.lengths()[1] = 32;  // two blocks: now nobody needs it
    const std::vector<double> reference = problem.Reference();
    DecodeAttention(problem.Args());
    Report("block that is not needed", problem.Compare(reference));
  }
}

}  // namespace

void TestPaging() {
  EveryBlockSizeAndRemainder();
  LongSequences();
  NeededBlockThatIsNotInTheCacheIsRefused();
}

}  // namespace ifa::cpu::test
