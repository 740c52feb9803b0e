#include <exception>

#include "small_kernel.h"

int main() {
  using namespace ifa::sim::test;
  for (const auto test :
       {TestLimits, TestOrder, TestQueues, TestCores, TestCopies, TestVector, TestCube, TestTime}) {
    try {
      test();
    } catch (const std::exception &error) {
      Report("a group of tests", std::string("ends with ") + error.what());
    }
  }
  return AllPassed() ? 0 : 1;
}
