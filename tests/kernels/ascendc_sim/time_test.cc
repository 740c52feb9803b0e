// The model of time, and what a launch counts.
#include <algorithm>

#include "small_kernel.h"

namespace ifa::sim::test {

using namespace AscendC;

namespace {

// Without what is assumed and not published, so that rates alone are left.
LaunchOptions OnlyRates() {
  LaunchOptions options = OneVectorCore();
  options.trace = true;
  Costs &costs = options.costs;
  costs.scalar_call = costs.scalar_global = costs.vector_latency = costs.cube_latency =
      costs.local_copy_latency = costs.global_latency = costs.copy_start = costs.cross_core_latency = 0;
  return options;
}

double Busy(const LaunchResult &result, const std::string &pipe) {
  double cycles = 0;
  for (const auto &time : result.pipes) {
    cycles += time.pipe == pipe ? time.busy : 0;
  }
  return cycles;
}

void Equal(const std::string &name, double got, double expected) {
  Report(name, std::fabs(got - expected) <= 1e-9 * std::fabs(expected)
                   ? ""
                   : "is " + std::to_string(got) + " instead of " + std::to_string(expected));
}

constexpr uint32_t kTile = 4096;  // bytes
constexpr uint32_t kTiles = 8;

// Copies tiles in, and adds 1 to each 6 times, which takes 6 cycles for every 256 bytes.
void Stream(uint8_t buffers) {
  TPipe pipe;
  TQue<TPosition::VECIN, 1> queue;
  pipe.InitBuffer(queue, buffers, kTile);
  for (uint32_t i = 0; i < kTiles; ++i) {
    auto tensor = queue.AllocTensor<float>();
    DataCopy(tensor, Input<float>()[i * kTile / 4], kTile / 4);
    queue.EnQue(tensor);
    tensor = queue.DeQue<float>();
    for (int step = 0; step < 6; ++step) {
      Adds(tensor, tensor, 1.0f, kTile / 4);
      PipeBarrier<PIPE_V>();
    }
    queue.FreeTensor(tensor);
  }
}

void TestRates() {
  Tensors tensors;
  tensors.Fill<float>();
  LaunchOptions options = OnlyRates();
  options.hbm_readers = 48;
  const double share = 1.6e12 / 48 / 1.8e9;
  const double copy = kTile / share;
  const double work = kTile / 256 * 6;
  const LaunchResult single = Run(tensors, options, [] { Stream(1); });
  Equal("copies from HBM", Busy(single, "MTE2"), kTiles * copy);
  Equal("repeats of the vector unit", Busy(single, "V"), kTiles * work);
  Equal("one buffer: one after the other", single.cycles, kTiles * (copy + work));
  const LaunchResult twice = Run(tensors, options, [] { Stream(2); });
  Equal("two buffers: the copies alone", twice.cycles, kTiles * copy + work);
  Equal("seconds", twice.seconds, twice.cycles / 1.8e9);
  options.hbm_readers = 1;
  Equal("one reader is held up by the rate of a core", Busy(Run(tensors, options, [] { Stream(2); }), "MTE2"),
        kTiles * kTile / 110.0);
}

void TestCounts() {
  Tensors tensors;
  tensors.Fill<float>();
  const LaunchResult result = Run(tensors, OnlyRates(), [] {
    Stream(2);
    TPipe pipe;
    TBuf<> buffer;
    pipe.InitBuffer(buffer, 256);
    const auto tensor = Loaded<float>(buffer, 64);
    DataCopyPad(Output<float>(), tensor, {1, 100, 0, 0, 0});
  });
  const auto is = [](const std::string &name, uint64_t got, uint64_t expected) {
    Report(name, got == expected ? "" : std::to_string(got) + " instead of " + std::to_string(expected));
  };
  is("bytes read of the input", result.tensors[0].bytes_read, kTiles * kTile + 256);
  is("bytes written of the output", result.tensors[1].bytes_written, 100);
  is("bytes of a pipe", result.bytes.at("global to UB"), kTiles * kTile + 256);
  is("bytes of another pipe", result.bytes.at("UB to global"), 100);
  is("repeats", result.repeats.at("Adds"), kTiles * 6 * kTile / 256);
  is("flags", result.flags.at("SetFlag"), 2 * kTiles);
  is("barriers", result.flags.at("PipeBarrier"), 6 * kTiles + 1);
}

void TestTrace() {
  Tensors tensors;
  tensors.Fill<float>();
  const LaunchResult result = Run(tensors, OnlyRates(), [] { Stream(2); });
  Report("entries of the trace",
         result.trace.size() == 7 * kTiles ? "" : std::to_string(result.trace.size()));
  double copied = 0;
  double calculated = 0;
  std::string problem;
  for (const auto &entry : result.trace) {
    double &end = entry.pipe == "V" ? calculated : copied;
    problem = entry.start < end || entry.end < entry.start ? "an instruction starts before the last one ends"
                                                           : problem;
    end = entry.end;
  }
  Report("one instruction of a pipe at a time", problem);
  LaunchOptions quiet = OnlyRates();
  quiet.trace = false;
  Report("no trace unless it is asked for",
         Run(tensors, quiet, [] { Stream(2); }).trace.empty() ? "" : "there is one");
}

// A core that waits for a flag of another goes on when that is set there, however late.
void TestAcrossCores() {
  LaunchOptions options = OneGroup();
  options.costs = OnlyRates().costs;
  options.costs.cross_core_latency = 50;
  Tensors tensors;
  tensors.Fill<float>();
  const LaunchResult result = Run(tensors, options, [] {
    if (ASCEND_IS_AIC) {
      CrossCoreWaitFlag<2>(0);
      CrossCoreSetFlag<2, PIPE_FIX>(1);
      return;
    }
    if (GetSubBlockIdx() == 1) {
      Stream(1);
    }
    CrossCoreSetFlag<2, PIPE_V>(0);
    CrossCoreWaitFlag<2>(1);
  });
  const double copy = kTile / 110.0;
  Equal("a chain over three cores", result.cycles, kTiles * (copy + kTile / 256 * 6) + 2 * 50);
}

// The same launch takes the same time in every run, and its cores take their turns in the same order.
void TestRepeatable() {
  LaunchOptions options = OneVectorCore();
  options.blocks = 7;
  options.trace = true;
  const auto trace = [&] {
    Tensors tensors;
    tensors.Fill<float>();
    std::string text;
    for (const auto &entry : Run(tensors, options, [] { Stream(2), SyncAll(), Stream(1); }).trace) {
      text += entry.core + entry.pipe + entry.name + std::to_string(entry.start) + "\n";
    }
    return text;
  };
  Report("two runs of one launch", trace() == trace() ? "" : "differ");
}

}  // namespace

void TestTime() {
  TestRates();
  TestCounts();
  TestTrace();
  TestAcrossCores();
  TestRepeatable();
}

}  // namespace ifa::sim::test
