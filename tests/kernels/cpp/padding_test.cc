// Left padding: positions that start anywhere, and batches whose positions start before 0.
#include <random>

#include "check.h"
#include "problem.h"

namespace ifa::cpu::test {

void TestPadding() {
  std::mt19937_64 random(9);
  const auto below = [&random](uint64_t n) { return static_cast<int>(random() % n); };
  for (const int64_t kv_length : {1, 16, 17, 100, 513, 5000}) {
    for (const Starts starts : {Starts::kRight, Starts::kRandom, Starts::kBeyond}) {
      for (const Mask mask :
           {Mask::kNone, Mask::kPrefix, Mask::kSuffix, Mask::kRandom, Mask::kSparse, Mask::kAll}) {
        ProblemSpec spec = DrawSpec(&random);
        spec.group = 1 + below(5);
        spec.kv_length = kv_length;
        spec.head_size = 8 * (1 + below(12));
        spec.mask = mask;
        spec.starts = starts;
        spec.paging = static_cast<Paging>(below(3));
        spec.block_size = 16 * (1 + below(5));
        RunOfGrid(spec);
      }
    }
  }
}

}  // namespace ifa::cpu::test
