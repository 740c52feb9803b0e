// Small kernels that break one rule of the device, or calculate something that a plain loop can check.
#pragma once

#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "kernel_operator.h"
#include "sim/launch.h"

namespace ifa::sim::test {

/// One case: passed when `problem` is empty, else `name: problem` is printed.
void Report(const std::string &name, const std::string &problem);
/// Prints how many cases passed and failed.
bool AllPassed();

constexpr uint64_t kGlobalBytes = 64 * 1024;

/// The tensors of every small kernel: an input with the numbers that Number gives, a result and a workspace
/// of kGlobalBytes each, the latter two not written yet.
struct Tensors {
  std::vector<uint8_t> input = std::vector<uint8_t>(kGlobalBytes);
  std::vector<uint8_t> output = std::vector<uint8_t>(kGlobalBytes, 0xee);
  std::vector<uint8_t> workspace = std::vector<uint8_t>(kGlobalBytes, 0xee);

  /// The numbers of the input, when it is read as T.
  template <typename T>
  void Fill();
  template <typename T>
  std::vector<T> Output(size_t count) const {
    std::vector<T> values(count);
    std::memcpy(values.data(), output.data(), count * sizeof(T));
    return values;
  }
};

/// A different number for every index, small enough for every type: eighths from -16 to 16, whole for whole
/// types.
template <typename T>
T Number(size_t index) {
  const auto step = static_cast<int>(index * 37 % 257) - 128;
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(step);
  } else {
    return static_cast<T>(static_cast<float>(step) / 8);
  }
}

template <typename T>
void Tensors::Fill() {
  for (size_t i = 0; i < kGlobalBytes / sizeof(T); ++i) {
    const T value = Number<T>(i);
    std::memcpy(input.data() + i * sizeof(T), &value, sizeof(T));
  }
}

/// Runs a kernel on its own tensors.
LaunchResult Run(Tensors &tensors, const LaunchOptions &options, const std::function<void()> &kernel);

/// The tensors of the launch that runs, as a kernel sees them.
Tensors &Current();
template <typename T>
AscendC::GlobalTensor<T> Global(std::vector<uint8_t> &bytes) {
  AscendC::GlobalTensor<T> tensor;
  tensor.SetGlobalBuffer(reinterpret_cast<T *>(bytes.data()), kGlobalBytes / sizeof(T));
  return tensor;
}
template <typename T>
AscendC::GlobalTensor<T> Input() {
  return Global<T>(Current().input);
}
template <typename T>
AscendC::GlobalTensor<T> Output() {
  return Global<T>(Current().output);
}
template <typename T>
AscendC::GlobalTensor<T> Workspace() {
  return Global<T>(Current().workspace);
}

/// Says that the statement in the next line is the one that breaks the rule.
void BreaksHere(int line = __builtin_LINE());

/// A kernel that breaks a rule when it is asked to, in the line after BreaksHere, and is right when it is
/// not.
void Breaks(const std::string &name, Check check, const LaunchOptions &options,
            const std::function<void(bool broken)> &kernel);

/// Launches of one core, and of one group of a cube core and two vector cores.
LaunchOptions OneVectorCore();
LaunchOptions OneGroup();

/// Everything issued so far is done before what follows.
inline void Settle() { AscendC::PipeBarrier<PIPE_ALL>(); }

/// A buffer of the unified buffer that holds the start of the input.
template <typename T>
AscendC::LocalTensor<T> Loaded(AscendC::TBuf<> &buffer, uint32_t count) {
  auto tensor = buffer.Get<T>();
  AscendC::DataCopy(tensor, Input<T>(), count);
  Settle();
  return tensor;
}

/// Runs a kernel on the numbers of T, and compares the first elements of the output with `expected`, which
/// may differ by `tolerance` relative to 1 and to the expected number.
template <typename T, typename R = T>
void Gives(const std::string &name, const std::vector<R> &expected,
           const std::function<void(AscendC::TPipe &)> &kernel, double tolerance = 0) {
  Tensors tensors;
  tensors.Fill<T>();
  Run(tensors, OneVectorCore(), [&] {
    AscendC::TPipe pipe;
    kernel(pipe);
  });
  const auto got = tensors.Output<R>(expected.size());
  std::string problem;
  for (size_t i = 0; i < expected.size() && problem.empty(); ++i) {
    const auto value = static_cast<double>(got[i]);
    const auto wanted = static_cast<double>(expected[i]);
    if (std::memcmp(&got[i], &expected[i], sizeof(R)) != 0 &&
        !(std::fabs(value - wanted) <= tolerance * (1 + std::fabs(wanted)))) {
      problem = "element " + std::to_string(i) + " is " + std::to_string(value) + " instead of " +
                std::to_string(wanted);
    }
  }
  Report(name, problem);
}

/// The numbers of the input at `index(0)`, `index(1)` and so on.
template <typename T>
std::vector<T> Numbers(size_t count, const std::function<size_t(size_t)> &index) {
  std::vector<T> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = Number<T>(index(i));
  }
  return values;
}

void TestLimits();
void TestOrder();
void TestQueues();
void TestCores();
void TestCopies();
void TestVector();
void TestCube();
void TestTime();

}  // namespace ifa::sim::test
