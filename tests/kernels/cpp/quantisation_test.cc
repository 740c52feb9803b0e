// int8 caches and int8 output: every way to give scales and offsets, extreme offsets, rounding and
// saturation.
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "problem.h"

namespace ifa::cpu::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr Quantised kWithOffset[] = {Quantised::kPerTensorWithOffset, Quantised::kPerChannelWithOffset};

void EveryFormOfParameters() {
  std::mt19937_64 random(11);
  for (int form = 1; form < kQuantisedCount; ++form) {
    for (const int64_t head_size : {1, 7, 16, 64, 72, 80, 128, 200, 512}) {
      for (const DataType dtype : {DataType::kFloat32, DataType::kFloat16, DataType::kBFloat16}) {
        ProblemSpec spec;
        spec.dtype = dtype;
        spec.batch = 2;
        spec.kv_heads = 1 + static_cast<int64_t>(random() % 3);
        spec.group = 1 + static_cast<int64_t>(random() % 9);
        spec.kv_length = 1 + static_cast<int64_t>(random() % 300);
        spec.head_size = head_size;
        spec.lengths = Lengths::kWithZero;
        spec.mask = static_cast<Mask>(random() % 6);
        spec.cache = static_cast<Quantised>(form);
        spec.seed = random();
        Problem(spec).RunAll(spec.Name());
        spec.output = static_cast<Quantised>(1 + random() % (kQuantisedCount - 1));
        Problem(spec).RunAll(spec.Name());
        spec.cache = Quantised::kNo;
        spec.output = static_cast<Quantised>(form);
        Problem(spec).RunAll(spec.Name());
      }
    }
  }
}

// One position has all the weight: the output is its value.
void EveryInt8IsRead() {
  ProblemSpec spec;
  spec.head_size = 256;
  spec.cache = Quantised::kPerTensorWithOffset;
  Problem problem(spec);
  for (int64_t d = 0; d < spec.head_size; ++d) {
    problem.SetValue(0, 0, 0, d, static_cast<double>(d - 128));
  }
  problem.RunAll("every int8");
}

ProblemSpec MaskedSpec(Quantised cache, Mask mask) {
  ProblemSpec spec;
  spec.group = 3;
  spec.kv_length = 2000;
  spec.head_size = 72;
  spec.mask = mask;
  spec.cache = cache;
  return spec;
}

// Head 0 has channels of one sign, head 1 of another, head 2 of both.
void GiveHeadsSigns(double sign_0, double sign_1, int64_t head_size, Problem *problem) {
  for (int64_t d = 0; d < head_size; ++d) {
    problem->SetQuery(0, 0, d, sign_0 * (0.01 + 0.001 * static_cast<double>(d % 7)));
    problem->SetQuery(0, 1, d, sign_1 * (0.02 + 0.001 * static_cast<double>(d % 5)));
  }
}

// An offset of key adds the same to all scores but the masked ones, which are what they are.
void KeyOffsetCountsBesideMaskedScores() {
  for (const double offset : {1e4, 1e10, -1e10, kInfinity, -kInfinity, kNan}) {
    for (const Mask mask : {Mask::kNone, Mask::kPrefix, Mask::kRandom}) {
      for (const Quantised cache : kWithOffset) {
        const ProblemSpec spec = MaskedSpec(cache, mask);
        Problem problem(spec);
        GiveHeadsSigns(1, -1, spec.head_size, &problem);
        problem.SetAntiquant(Parameter::kOffset, 0, 0, 70, offset);
        problem.RunAll("key offset " + std::to_string(offset) + " " + spec.Name());
      }
    }
  }
  // Far below the masked scores; as far above, float64 too would keep nothing of the dot products.
  for (const Mask mask : {Mask::kPrefix, Mask::kRandom}) {
    for (const Quantised cache : kWithOffset) {
      const ProblemSpec spec = MaskedSpec(cache, mask);
      Problem problem(spec);
      GiveHeadsSigns(-1, -1, spec.head_size, &problem);
      for (int64_t d = 0; d < spec.head_size; ++d) {
        problem.SetQuery(0, 2, d, 0);
      }
      problem.SetAntiquant(Parameter::kOffset, 0, 0, 70, 1e30);
      problem.RunAll("huge key offset " + spec.Name());
    }
  }
}

void ValueOffsetMayBeAnything() {
  for (const double offset : {1e4, 1e30, kInfinity, -kInfinity, kNan}) {
    for (const Quantised cache : kWithOffset) {
      const ProblemSpec spec = MaskedSpec(cache, Mask::kNone);
      Problem problem(spec);
      problem.SetAntiquant(Parameter::kOffset, 1, 0, 70, offset);
      problem.RunAll("value offset " + std::to_string(offset) + " " + spec.Name());
    }
  }
}

std::string Difference(const std::vector<double> &output, const std::vector<double> &expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (output[i] != expected[i]) {
      return "element " + std::to_string(i) + " is " + std::to_string(output[i]) + ", not " +
             std::to_string(expected[i]);
    }
  }
  return "";
}

void RunExactly(const std::string &name, Problem *problem, const std::vector<double> &expected) {
  for (const InstructionSet isa : UsableInstructionSets()) {
    ExecutionOptions options;
    options.isa = &isa;
    DecodeAttention(problem->Args(), options);
    Report(name + " " + InstructionSetName(isa), Difference(problem->Output(), expected));
  }
}

void OutputIsRoundedHalfToEvenAndSaturated() {
  const std::vector<std::pair<double, double>> cases = {
      {0.5, 0},     {1.5, 2},     {2.5, 2},      {-0.5, 0},         {-1.5, -2},       {-2.5, -2},
      {0.49, 0},    {126.5, 126}, {127.49, 127}, {127.5, 127},      {128, 127},       {-127.5, -128},
      {-128, -128}, {-129, -128}, {1e30, 127},   {-1e30, -128},     {kInfinity, 127}, {-kInfinity, -128},
      {kNan, 0},    {100, 100},   {-100, -100},  {2147483648, 127}, {-3e9, -128}};
  ProblemSpec spec;
  spec.head_size = static_cast<int64_t>(cases.size());
  spec.output = Quantised::kPerTensor;
  Problem problem(spec);
  problem.SetQuant(Parameter::kScale, 0, 0, 1);
  std::vector<double> expected;
  for (size_t d = 0; d < cases.size(); ++d) {
    problem.SetValue(0, 0, 0, static_cast<int64_t>(d), cases[d].first);
    expected.push_back(cases[d].second);
  }
  RunExactly("rounding", &problem, expected);
}

// Neither the offset of value nor anything but the offset of the output shows.
void EmptyRowIsTheRoundedOffset() {
  ProblemSpec spec;
  spec.kv_length = 5;
  spec.head_size = 20;
  spec.lengths = Lengths::kWithZero;
  spec.cache = Quantised::kPerTensorWithOffset;
  Problem floats(spec);
  RunExactly("empty row", &floats, std::vector<double>(20, 0.0));
  for (const auto &[offset, expected] : {std::pair{3.5, 4.0}, {2.5, 2.0}, {-300.0, -128.0}}) {
    for (const Quantised output : kWithOffset) {
      spec.output = output;
      Problem problem(spec);
      for (int64_t d = 0; d < spec.head_size; ++d) {
        problem.SetQuant(Parameter::kOffset, 0, d, offset);
      }
      RunExactly("empty row of int8", &problem, std::vector<double>(20, expected));
    }
  }
}

}  // namespace

void TestQuantisation() {
  EveryFormOfParameters();
  EveryInt8IsRead();
  KeyOffsetCountsBesideMaskedScores();
  ValueOffsetMayBeAnything();
  OutputIsRoundedHalfToEvenAndSaturated();
  EmptyRowIsTheRoundedOffset();
}

}  // namespace ifa::cpu::test
