// Counts cases; a failing one prints a line of its own.
#pragma once

#include <string>

namespace ifa::cpu::test {

/// One case: passed when `problem` is empty, else `name: problem` is printed.
void Report(const std::string &name, const std::string &problem);

/// Prints how many cases passed and failed.
bool AllPassed();

void TestShapes();
void TestBehaviour();
void TestProcess();
void TestPadding();
void TestPaging();
void TestValidation();
void TestPlan();
void TestQuantisation();
void TestOperatorCall();

}  // namespace ifa::cpu::test
