// Every head size, group and length of the contract's list, with the other properties drawn at random.
#include <random>

#include "check.h"
#include "problem.h"

namespace ifa::cpu::test {
namespace {

constexpr int64_t kHeadSizes[] = {1, 7, 16, 64, 72, 80, 96, 128, 192, 256, 512};
constexpr int64_t kGroups[] = {1, 2, 3, 4, 5, 8, 16, 64};
constexpr int64_t kLengths[] = {1, 15, 16, 17, 511, 512, 513, 2049, 8193};

// Multiply-adds of one problem at most: the float64 reference is slow.
constexpr int64_t kMostWork = 12'000'000;

ProblemSpec Draw(int64_t head_size, int64_t group, int64_t kv_length, std::mt19937_64 *random) {
  ProblemSpec spec = DrawSpec(random);
  spec.head_size = head_size;
  spec.group = group;
  spec.kv_length = kv_length;
  if (9 * group * kv_length * head_size >= kMostWork) {
    spec.batch = 1;
    spec.kv_heads = 1;
  }
  return spec;
}

}  // namespace

void TestShapes() {
  std::mt19937_64 random(20240);
  for (const int64_t head_size : kHeadSizes) {
    for (const int64_t group : kGroups) {
      for (const int64_t kv_length : kLengths) {
        if (group * kv_length * head_size <= kMostWork) {
          const ProblemSpec spec = Draw(head_size, group, kv_length, &random);
          RunOfGrid(spec);
        }
      }
    }
  }
  // Groups that the blocks of heads divide unevenly.
  for (const int64_t group : {6, 7, 9, 11, 13, 15, 17, 31}) {
    const ProblemSpec spec = Draw(64, group, 100, &random);
    RunOfGrid(spec);
  }
}

}  // namespace ifa::cpu::test
