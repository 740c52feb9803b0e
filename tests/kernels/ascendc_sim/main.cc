#include "small_kernel.h"

int main() {
  using namespace ifa::sim::test;
  TestLimits();
  TestOrder();
  TestQueues();
  TestCores();
  TestCopies();
  TestVector();
  TestCube();
  TestTime();
  return AllPassed() ? 0 : 1;
}
