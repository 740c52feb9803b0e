// What the contract says beyond plain shapes: masks, infinities, precision, what is not read.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "problem.h"

namespace ifa::cpu::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr DataType kDataTypes[] = {DataType::kFloat32, DataType::kFloat16, DataType::kBFloat16};

ProblemSpec Spec(DataType dtype, int64_t kv_length) {
  ProblemSpec spec;
  spec.dtype = dtype;
  spec.batch = 2;
  spec.kv_heads = 2;
  spec.group = 3;
  spec.kv_length = kv_length;
  return spec;
}

void FullyMaskedRowIsTheMeanOfItsValues(DataType dtype) {
  ProblemSpec spec = Spec(dtype, 1000);
  spec.mask = Mask::kAll;
  spec.lengths = Lengths::kRandom;
  Problem(spec).RunAll("fully masked row");
  spec.pse = Pse::kMinusInfinity;
  Problem(spec).RunAll("fully masked row with -inf in pse_shift");
}

void MaskedPositionsWinOverLowerScores() {
  // Scores of visible positions below -1e12: the masked ones hold all the weight although they were first
  // left out.
  for (const DataType dtype : {DataType::kFloat32, DataType::kBFloat16}) {
    for (const double low : {-1e30, -kInfinity}) {
      ProblemSpec spec = Spec(dtype, 3000);
      spec.mask = Mask::kPrefix;
      spec.pse = Pse::kPerBatch;
      Problem problem(spec);
      for (int64_t head = 2; head < 5; ++head) {
        for (int64_t j = 0; j < spec.kv_length; ++j) {
          problem.SetPse(1, head, j, low);
        }
      }
      problem.RunAll("visible scores of " + std::to_string(low));
    }
  }
}

void RowOfMinusInfinityIsNan(DataType dtype) {
  ProblemSpec spec = Spec(dtype, 700);
  spec.pse = Pse::kPerBatch;
  Problem problem(spec);
  for (int64_t j = 0; j < spec.kv_length; ++j) {
    problem.SetPse(0, 1, j, -kInfinity);
  }
  problem.RunAll("row of -inf");
}

void RowOfLowestIsUniform() {
  // Adding such a number in fp32 leaves nothing of the dot products.
  ProblemSpec spec = Spec(DataType::kFloat32, 700);
  spec.pse = Pse::kPerBatch;
  Problem problem(spec);
  for (int64_t j = 0; j < spec.kv_length; ++j) {
    problem.SetPse(0, 1, j, std::numeric_limits<float>::lowest());
  }
  problem.RunAll("row of the lowest fp32");
}

void NanAndInfinitySpreadAsInTheReference(DataType dtype) {
  const struct {
    const char *name;
    void (*place)(Problem *);
  } kCases[] = {
      {"NaN in query", [](Problem *p) { p->SetQuery(0, 1, 5, kNan); }},
      {"inf in query", [](Problem *p) { p->SetQuery(1, 4, 5, kInfinity); }},
      {"NaN in key", [](Problem *p) { p->SetKey(0, 1, 77, 3, kNan); }},
      {"NaN in the first key", [](Problem *p) { p->SetKey(0, 1, 0, 3, kNan); }},
      {"NaN in the last key", [](Problem *p) { p->SetKey(0, 1, 599, 3, kNan); }},
      {"inf in key", [](Problem *p) { p->SetKey(1, 0, 321, 63, kInfinity); }},
      {"NaN in value", [](Problem *p) { p->SetValue(1, 0, 321, 63, kNan); }},
      {"inf in value", [](Problem *p) { p->SetValue(1, 0, 599, 63, -kInfinity); }},
      {"NaN in pse_shift", [](Problem *p) { p->SetPse(1, 3, 100, kNan); }},
      {"inf in pse_shift", [](Problem *p) { p->SetPse(1, 3, 100, kInfinity); }},
  };
  for (const int64_t group : {3, 8}) {
    for (const auto &c : kCases) {
      ProblemSpec spec = Spec(dtype, 600);
      spec.group = group;
      spec.pse = Pse::kPerBatch;
      Problem problem(spec);
      c.place(&problem);
      problem.RunAll(std::string(c.name) + ", " + spec.Name());
    }
  }
}

void NanBeyondTheLengthOrUnderAMaskedTileDoesNotMatter(DataType dtype) {
  ProblemSpec spec = Spec(dtype, 1000);
  spec.lengths = Lengths::kFull;
  spec.mask = Mask::kRandom;
  Problem problem(spec);
  const std::vector<double> expected = [&] {
    problem.lengths()[0] = 333;
    problem.lengths()[1] = 900;
    std::memset(problem.mask() + 1000 + 100, 1, 800);
    return problem.Reference();
  }();
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t j = b == 0 ? 333 : 100; j < 1000; ++j) {
      problem.SetKey(b, 1, j, 0, kNan);
      problem.SetValue(b, 1, j, 0, kNan);
    }
  }
  DecodeAttention(problem.Args());
  Report("NaN in what is not read", problem.Compare(expected));
}

// One head of NaN only: what the mask hides from the others stays unread.
void NanInOneHeadReadsNoMaskedTiles(DataType dtype) {
  ProblemSpec spec = Spec(dtype, 1000);
  spec.mask = Mask::kRandom;
  Problem problem(spec);
  problem.SetQuery(0, 4, 0, kNan);
  std::memset(problem.mask() + 100, 1, 900);
  const std::vector<double> expected = problem.Reference();
  for (int64_t j = 100; j < 1000; ++j) {
    problem.SetValue(0, 1, j, 0, kNan);
  }
  for (const InstructionSet isa : UsableInstructionSets()) {
    ExecutionOptions options;
    options.isa = &isa;
    DecodeAttention(problem.Args(), options);
    Report(std::string("masked NaN beside a head of NaN ") + InstructionSetName(isa),
           problem.Compare(expected));
  }
}

// Several at once, of all kinds and in all operands, under masks and lengths, in every size of block of
// heads.
void StrewnNanAndInfinitySpreadAsInTheReference() {
  std::mt19937_64 random(31);
  const auto below = [&random](int64_t n) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  };
  constexpr double kKinds[] = {kNan, kInfinity, -kInfinity};
  for (const int64_t group : {1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 64}) {
    for (const int64_t kv_length : {1, 16, 37, 700, 2500}) {
      ProblemSpec spec = Spec(kDataTypes[below(3)], kv_length);
      spec.group = group;
      spec.head_size = below(2) == 0 ? 64 : 1 + below(80);
      spec.mask = below(2) == 0 ? Mask::kNone : static_cast<Mask>(below(6));
      spec.pse = Pse::kPerBatch;
      spec.lengths = below(2) == 0 ? Lengths::kNone : Lengths::kRandom;
      spec.seed = random();
      Problem problem(spec);
      for (int64_t count = 1 + below(4); count > 0; --count) {
        const int64_t b = below(2);
        const int64_t h = below(2);
        const int64_t n = h * group + below(group);
        const int64_t d = below(spec.head_size);
        const int64_t j = below(problem.lengths() == nullptr ? kv_length : problem.lengths()[b]);
        const double x = kKinds[below(3)];
        const bool hidden = problem.mask() != nullptr && problem.mask()[b * kv_length + j] != 0;
        switch (below(4)) {
          case 0:
            problem.SetQuery(b, n, d, x);
            break;
          case 1:
            problem.SetKey(b, h, j, d, x);
            break;
          case 2:
            problem.SetPse(b, n, j, x);
            break;
          default:  // a hidden value may be read or not, and spreads only if it is
            problem.SetValue(b, h, j, d, hidden ? 0.0 : x);
        }
      }
      problem.RunAll("strewn NaN and inf, " + spec.Name());
    }
  }
}

void PrefixMaskReadsThePrefixOnly(DataType dtype) {
  // K and V end with position 99, with an unreadable page behind; the mask hides the other 3,996.
  ProblemSpec spec;
  spec.dtype = dtype;
  spec.group = 4;
  spec.kv_length = 100;
  spec.mask = Mask::kSparse;
  Problem problem(spec);
  problem.mask()[99] = 0;
  const std::vector<double> expected = problem.Reference();
  std::vector<uint8_t> mask(4096, 1);
  std::memcpy(mask.data(), problem.mask(), 100);
  for (const InstructionSet isa : UsableInstructionSets()) {
    DecodeAttentionArgs args = problem.Args();
    args.kv_length = 4096;
    args.mask = mask.data();
    ExecutionOptions options;
    options.isa = &isa;
    options.threads = 2;
    DecodeAttention(args, options);
    Report("prefix mask", problem.Compare(expected));
  }
}

void PrefixOfFinitePseShiftIsAllThatIsRead(DataType dtype) {
  // K and V end with position 95, with an unreadable page behind; pse_shift is -inf at the other 4,000.
  constexpr int64_t kLength = 4096;
  ProblemSpec spec = Spec(dtype, 96);
  spec.batch = spec.kv_heads = 1;
  spec.group = 4;
  Problem problem(spec);
  ProblemSpec shift_spec = spec;
  shift_spec.kv_length = kLength;
  shift_spec.pse = Pse::kPerBatch;
  Problem shift(shift_spec);
  for (int64_t n = 0; n < spec.group; ++n) {
    for (int64_t j = 0; j < kLength; ++j) {
      shift.SetPse(0, n, j, j < spec.kv_length ? 0.0 : -kInfinity);
    }
  }
  const std::vector<double> expected = problem.Reference();
  for (const InstructionSet isa : UsableInstructionSets()) {
    DecodeAttentionArgs args = problem.Args();
    args.kv_length = kLength;
    args.pse_shift = shift.Args().pse_shift;
    args.pse_batch_stride = shift.Args().pse_batch_stride;
    args.pse_head_stride = shift.Args().pse_head_stride;
    ExecutionOptions options;
    options.isa = &isa;
    options.threads = 2;
    DecodeAttention(args, options);
    Report("prefix of finite pse_shift", problem.Compare(expected));
  }
}

// -inf from `first` to `last` in all heads hides them, in all but one it does not.
void RunsOfMinusInfinityInPseShift() {
  for (const Mask mask : {Mask::kNone, Mask::kRandom, Mask::kPrefix, Mask::kAll}) {
    for (const Paging paging : {Paging::kNone, Paging::kOwnBlocks}) {
      for (const DataType dtype : kDataTypes) {
        ProblemSpec spec = Spec(dtype, 640);
        spec.group = 3;
        spec.mask = mask;
        spec.paging = paging;
        spec.lengths = Lengths::kFull;
        spec.pse = Pse::kPerBatch;
        Problem problem(spec);
        for (int64_t n = 0; n < spec.kv_heads * spec.group; ++n) {
          for (int64_t j = 0; j < spec.kv_length; ++j) {
            const bool of_all = j < 50 || (j >= 200 && j < 333) || j == 400;
            const bool of_two = j >= 450 && j < 600 && n % spec.group != 1;
            if (of_all || of_two) {
              problem.SetPse(0, n, j, -kInfinity);
            }
          }
        }
        problem.RunAll("runs of -inf in pse_shift, " + spec.Name());
      }
    }
  }
}

// Subnormal numbers carry the scores (K) and are the values (V): read or written as 0, they leave nothing.
void SubnormalNumbersCount() {
  constexpr double kSmallest = 0x1p-24;
  ProblemSpec spec = Spec(DataType::kFloat16, 40);
  Problem problem(spec);
  for (int64_t b = 0; b < spec.batch; ++b) {
    for (int64_t n = 0; n < spec.kv_heads * spec.group; ++n) {
      for (int64_t d = 0; d < spec.head_size; ++d) {
        problem.SetQuery(b, n, d, 1024.0 * static_cast<double>((n + d) % 5 - 2));
      }
    }
    for (int64_t h = 0; h < spec.kv_heads; ++h) {
      for (int64_t j = 0; j < spec.kv_length; ++j) {
        for (int64_t d = 0; d < spec.head_size; ++d) {
          problem.SetKey(b, h, j, d, kSmallest * static_cast<double>((7 * j + 3 * d + h) % 2001 - 1000));
          problem.SetValue(b, h, j, d, kSmallest * static_cast<double>((31 * j + 11 * d + b) % 1023 + 1));
        }
      }
    }
  }
  problem.RunAll("subnormal numbers");
}

void MaskRowsMayLieApart(DataType dtype) {
  ProblemSpec spec = Spec(dtype, 600);
  spec.mask = Mask::kRandom;
  Problem problem(spec);
  const int64_t stride = spec.kv_length + 37;
  std::vector<uint8_t> mask(static_cast<size_t>(spec.batch * stride), 1);
  for (int64_t b = 0; b < spec.batch; ++b) {
    std::memcpy(mask.data() + b * stride, problem.mask() + b * spec.kv_length, 600);
  }
  DecodeAttentionArgs args = problem.Args();
  args.mask = mask.data();
  args.mask_batch_stride = stride;
  DecodeAttention(args);
  Report("mask rows with a gap", problem.Compare(problem.Reference()));
}

void LongSequenceKeepsItsPrecision() {
  ProblemSpec spec;
  spec.group = 4;
  spec.kv_length = 32768;
  Problem(spec).RunAll("S=32768");
  spec.dtype = DataType::kFloat16;
  Problem(spec).RunAll("S=32768 fp16");
}

// NaN for every scale that is not a number or not finite: some scores are inf, and inf - inf is NaN.
void ScaleMayBeAnything(DataType dtype) {
  Problem problem(Spec(dtype, 50));
  for (const float scale :
       {0.0F, -1.0F, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    for (const InstructionSet isa : UsableInstructionSets()) {
      DecodeAttentionArgs args = problem.Args();
      args.scale = scale;
      ExecutionOptions options;
      options.isa = &isa;
      DecodeAttention(args, options);
      const std::vector<double> output = problem.Output();
      const bool right = std::all_of(output.begin(), output.end(),
                                     [&](double x) { return std::isnan(x) == !std::isfinite(scale); });
      Report("scale " + std::to_string(scale) + " " + InstructionSetName(isa),
             right ? "" : "NaN where none belongs or none where one does");
    }
  }
}

// All visible scores are -inf: a masked position, whose score is finite, has all the weight.
void InfiniteScaleLeavesMaskedScores() {
  ProblemSpec spec;
  spec.kv_length = 40;
  spec.mask = Mask::kSparse;
  Problem problem(spec);
  for (int64_t j = 0; j < spec.kv_length; ++j) {
    problem.mask()[j] = j == 7 ? 1 : 0;
    for (int64_t d = 0; d < spec.head_size; ++d) {
      problem.SetQuery(0, 0, d, 1);
      problem.SetKey(0, 0, j, d, 1);
      problem.SetValue(0, 0, j, d, static_cast<double>(j));
    }
  }
  DecodeAttentionArgs args = problem.Args();
  args.scale = -std::numeric_limits<float>::infinity();
  DecodeAttention(args);
  Report("scale of -inf beside a masked score",
         problem.Output() == std::vector<double>(64, 7.0) ? "" : "not the masked value");
}

void ResultsDoNotDependOnTiming() {
  ProblemSpec spec = Spec(DataType::kFloat32, 5000);
  Problem problem(spec);
  ExecutionOptions options;
  options.threads = 4;
  const DecodeAttentionArgs args = problem.Args();
  const auto elements = static_cast<size_t>(spec.batch * spec.kv_heads * spec.group * spec.head_size);
  std::vector<float> first(elements);
  bool same = true;
  for (int repeat = 0; repeat < 20; ++repeat) {
    DecodeAttention(args, options);
    if (repeat == 0) {
      std::memcpy(first.data(), args.output, elements * sizeof(float));
    }
    same &= std::memcmp(first.data(), args.output, elements * sizeof(float)) == 0;
  }
  Report("repeated call", same ? "" : "two calls differ");
}

}  // namespace

void TestBehaviour() {
  for (const DataType dtype : kDataTypes) {
    FullyMaskedRowIsTheMeanOfItsValues(dtype);
    RowOfMinusInfinityIsNan(dtype);
    NanAndInfinitySpreadAsInTheReference(dtype);
    NanBeyondTheLengthOrUnderAMaskedTileDoesNotMatter(dtype);
    PrefixMaskReadsThePrefixOnly(dtype);
    PrefixOfFinitePseShiftIsAllThatIsRead(dtype);
    MaskRowsMayLieApart(dtype);
    NanInOneHeadReadsNoMaskedTiles(dtype);
    ScaleMayBeAnything(dtype);
  }
  MaskedPositionsWinOverLowerScores();
  StrewnNanAndInfinitySpreadAsInTheReference();
  RunsOfMinusInfinityInPseShift();
  RowOfLowestIsUniform();
  SubnormalNumbersCount();
  LongSequenceKeepsItsPrecision();
  InfiniteScaleLeavesMaskedScores();
  ResultsDoNotDependOnTiming();
}

}  // namespace ifa::cpu::test
