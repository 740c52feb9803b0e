#include "problem.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <utility>

#include "check.h"
#include "element_types.h"

namespace ifa::cpu::test {
namespace {

constexpr double kUntouched = 12345.0;

bool IsPerChannel(Quantised quantised) {
  return quantised == Quantised::kPerChannel || quantised == Quantised::kPerChannelWithOffset;
}
bool HasOffset(Quantised quantised) {
  return quantised == Quantised::kPerTensorWithOffset || quantised == Quantised::kPerChannelWithOffset;
}

double RoundedToInt8(double x) { return std::isnan(x) ? 0 : std::clamp(std::nearbyint(x), -128.0, 127.0); }

}  // namespace

std::string ProblemSpec::Name() const {
  return std::string(DataTypeName(dtype)) + " B=" + std::to_string(batch) +
         " kvN=" + std::to_string(kv_heads) + " G=" + std::to_string(group) +
         " S=" + std::to_string(kv_length) + " D=" + std::to_string(head_size) +
         " layout=" + std::to_string(static_cast<int>(layout)) +
         " lengths=" + std::to_string(static_cast<int>(lengths)) +
         " mask=" + std::to_string(static_cast<int>(mask)) + " pse=" + std::to_string(static_cast<int>(pse)) +
         " starts=" + std::to_string(static_cast<int>(starts)) +
         " paging=" + std::to_string(static_cast<int>(paging)) + "x" + std::to_string(block_size) +
         " cache=" + std::to_string(static_cast<int>(cache)) +
         " output=" + std::to_string(static_cast<int>(output)) + " seed=" + std::to_string(seed);
}

ProblemSpec DrawSpec(std::mt19937_64 *random) {
  const auto below = [random](uint64_t n) { return static_cast<int>((*random)() % n); };
  ProblemSpec spec;
  spec.dtype = static_cast<DataType>(below(3));
  spec.cache = below(2) == 0 ? Quantised::kNo : static_cast<Quantised>(below(kQuantisedCount));
  spec.output = below(3) != 0 ? Quantised::kNo : static_cast<Quantised>(below(kQuantisedCount));
  spec.batch = 1 + below(3);
  spec.kv_heads = 1 + below(3);
  spec.layout = static_cast<Layout>(below(3));
  spec.lengths = static_cast<Lengths>(below(4));
  spec.mask = below(2) == 0 ? Mask::kNone : static_cast<Mask>(below(6));
  spec.pse = below(2) == 0 ? Pse::kNone : static_cast<Pse>(below(5));
  spec.guard = static_cast<GuardedBuffer::Guard>(below(2));
  spec.seed = (*random)();
  return spec;
}

Problem::Problem(const ProblemSpec &spec) : spec_(spec), heads_(spec.kv_heads * spec.group) {
  std::mt19937_64 random(spec.seed);
  DrawLengths(&random);
  DrawStarts(&random);
  const bool paged = spec.paging != Paging::kNone;
  if (paged) {
    DrawBlocks(&random);
  }
  // (outer, position): (batch, S), or (block, position within).
  const int64_t outer = paged ? block_count_ : spec.batch;
  const int64_t positions = paged ? spec.block_size : spec.kv_length;
  const int64_t rows = outer * spec.kv_heads * positions;
  const int64_t row = spec.head_size + (spec.layout == Layout::kPaddedRows ? 3 : 0);
  if (spec.layout == Layout::kBsh) {
    kv_strides_ = {positions * spec.kv_heads * row, row, spec.kv_heads * row};
  } else {
    kv_strides_ = {spec.kv_heads * positions * row, positions * row, row};
  }
  std::normal_distribution<double> normal;
  const auto fill = [&](Tensor *tensor, DataType dtype, int64_t elements) {
    *tensor = Tensor(dtype, elements, spec.guard);
    for (int64_t i = 0; i < elements; ++i) {
      tensor->Set(i, dtype == DataType::kInt8 ? static_cast<double>(random() % 256) - 128.0 : normal(random));
    }
  };
  // The last row ends with its last channel, without the padding.
  const int64_t kv_elements = rows * row - (row - spec.head_size);
  fill(&query_, spec.dtype, spec.batch * heads_ * spec.head_size);
  fill(&key_, CacheType(), kv_elements);
  fill(&value_, CacheType(), kv_elements);
  SpoilUnusedRows();
  output_ = Tensor(OutputType(), spec.batch * heads_ * spec.head_size, spec.guard);
  DrawQuantisation(&random);
  if (spec.mask != Mask::kNone) {
    mask_ = GuardedBuffer(static_cast<size_t>(spec.batch * spec.kv_length), spec.guard);
    for (int64_t b = 0; b < spec.batch; ++b) {
      const auto edge = static_cast<int64_t>(random() % static_cast<uint64_t>(spec.kv_length));
      for (int64_t j = 0; j < spec.kv_length; ++j) {
        const bool hidden = (spec.mask == Mask::kPrefix && j > edge) ||
                            (spec.mask == Mask::kSuffix && j < edge) ||
                            (spec.mask == Mask::kRandom && random() % 2 == 0) ||
                            (spec.mask == Mask::kSparse && random() % 100 != 0) || spec.mask == Mask::kAll;
        mask()[b * spec.kv_length + j] = hidden ? static_cast<uint8_t>(1 + random() % 255) : 0;
      }
    }
  }
  if (spec.pse != Pse::kNone) {
    pse_batch_stride_ = spec.pse == Pse::kShared ? 0 : heads_ * spec.kv_length;
    fill(&pse_, spec.dtype, (spec.pse == Pse::kShared ? 1 : spec.batch) * heads_ * spec.kv_length);
    const double low = spec.pse == Pse::kLowest ? (spec.dtype == DataType::kFloat16 ? -65504.0 : -3.38e38)
                                                : -std::numeric_limits<double>::infinity();
    if (spec.pse == Pse::kMinusInfinity || spec.pse == Pse::kLowest) {
      // Runs that cover whole tiles. One position that the mask shows is spared: near -65504 alone, scores in
      // fp32 would be 1/256 apart.
      for (int64_t i = 0; i < spec.batch * heads_ * spec.kv_length; ++i) {
        if ((i / 48) % 3 != 1 && i % spec.kv_length != FirstShown(i / (heads_ * spec.kv_length))) {
          pse_.Set(i, low);
        }
      }
    }
  }
}

int64_t Problem::FirstShown(int64_t batch) const {
  if (spec_.mask == Mask::kNone) {
    return 0;
  }
  const uint8_t *row = mask() + batch * spec_.kv_length;
  return std::find(row, row + spec_.kv_length, 0) - row;
}

DataType Problem::CacheType() const { return spec_.cache == Quantised::kNo ? spec_.dtype : DataType::kInt8; }

DataType Problem::OutputType() const {
  return spec_.output == Quantised::kNo ? spec_.dtype : DataType::kInt8;
}

// Scales that bring a cache of int8 to a deviation of 1, and an output to some 40, which sometimes saturates.
void Problem::DrawQuantisation(std::mt19937_64 *random) {
  std::normal_distribution<double> normal;
  const auto fill = [&](Tensor *tensor, DataType dtype, int64_t elements, double mean, double deviation) {
    *tensor = Tensor(dtype, elements, spec_.guard);
    for (int64_t i = 0; i < elements; ++i) {
      tensor->Set(i, mean + deviation * normal(*random));
    }
  };
  const int64_t antiquant = IsPerChannel(spec_.cache) ? 2 * spec_.kv_heads * spec_.head_size : 2;
  const int64_t quant = IsPerChannel(spec_.output) ? heads_ * spec_.head_size : 1;
  if (spec_.cache != Quantised::kNo) {
    fill(&antiquant_scale_, spec_.dtype, antiquant, 0.0135, 0.004);
  }
  if (HasOffset(spec_.cache)) {
    fill(&antiquant_offset_, spec_.dtype, antiquant, 0, 8);
  }
  if (spec_.output != Quantised::kNo) {
    fill(&quant_scale_, DataType::kFloat32, quant, 40, 40);
  }
  if (HasOffset(spec_.output)) {
    fill(&quant_offset_, DataType::kFloat32, quant, 3.5, 20);
  }
}

int64_t Problem::FirstOf(int64_t batch) const {
  return starts() == nullptr ? 0 : std::max<int64_t>(0, starts()[batch]);
}

int64_t Problem::LengthOf(int64_t batch) const {
  const bool beyond = starts() != nullptr && starts()[batch] < 0;
  return beyond ? 0 : lengths() == nullptr ? spec_.kv_length : lengths()[batch];
}

void Problem::DrawStarts(std::mt19937_64 *random) {
  if (spec_.starts == Starts::kNone) {
    return;
  }
  GuardedBuffer starts(static_cast<size_t>(spec_.batch) * 8, spec_.guard);
  auto *start = reinterpret_cast<int64_t *>(starts.data());
  for (int64_t b = 0; b < spec_.batch; ++b) {
    const int64_t most = spec_.kv_length - LengthOf(b);
    const auto some = static_cast<int64_t>((*random)() % static_cast<uint64_t>(most + 1));
    start[b] = spec_.starts == Starts::kRight ? most : some;
  }
  if (spec_.starts == Starts::kBeyond) {
    start[(*random)() % static_cast<uint64_t>(spec_.batch)] = -1;
  }
  starts_ = std::move(starts);
}

void Problem::DrawLengths(std::mt19937_64 *random) {
  if (spec_.lengths == Lengths::kNone) {
    return;
  }
  lengths_ = GuardedBuffer(static_cast<size_t>(spec_.batch) * 8, spec_.guard);
  for (int64_t b = 0; b < spec_.batch; ++b) {
    const auto some = static_cast<int64_t>(1 + (*random)() % static_cast<uint64_t>(spec_.kv_length));
    lengths()[b] = spec_.lengths == Lengths::kFull ? spec_.kv_length : some;
  }
  if (spec_.lengths == Lengths::kWithZero) {
    lengths()[(*random)() % static_cast<uint64_t>(spec_.batch)] = 0;
  }
}

// Every block that is needed, in random order, and in the other entries what must not be used.
void Problem::DrawBlocks(std::mt19937_64 *random) {
  const auto is_needed = [&](int64_t b, int64_t i) {
    const int64_t first = i * spec_.block_size;
    return LengthOf(b) > 0 && FirstOf(b) < first + spec_.block_size && first < FirstOf(b) + LengthOf(b);
  };
  int64_t all_needed = 0;
  for (int64_t b = 0; b < spec_.batch; ++b) {
    for (int64_t i = 0; i * spec_.block_size < spec_.kv_length; ++i) {
      all_needed += is_needed(b, i) ? 1 : 0;
    }
  }
  const bool shared = spec_.paging == Paging::kSharedBlocks;
  block_count_ = shared ? 1 + all_needed / 3 : std::max<int64_t>(1, all_needed);
  max_blocks_ =
      (spec_.kv_length + spec_.block_size - 1) / spec_.block_size + static_cast<int64_t>((*random)() % 3);
  std::vector<int32_t> unused(static_cast<size_t>(block_count_));
  std::iota(unused.begin(), unused.end(), 0);
  std::shuffle(unused.begin(), unused.end(), *random);
  block_table_ = GuardedBuffer(static_cast<size_t>(spec_.batch * max_blocks_) * 4, spec_.guard);
  for (int64_t b = 0; b < spec_.batch; ++b) {
    for (int64_t i = 0; i < max_blocks_; ++i) {
      int32_t &block = block_table()[b * max_blocks_ + i];
      if (!is_needed(b, i)) {
        block = (*random)() % 2 == 0 ? -1 : std::numeric_limits<int32_t>::max();
      } else if (shared) {
        block = static_cast<int32_t>((*random)() % static_cast<uint64_t>(block_count_));
      } else {
        block = unused.back();
        unused.pop_back();
      }
    }
  }
}

// NaN, or the largest int8, in the rows of the cache that no sequence holds: whoever reads one fails.
void Problem::SpoilUnusedRows() {
  const double spoilt = CacheType() == DataType::kInt8 ? 127.0 : std::numeric_limits<double>::quiet_NaN();
  const bool paged = spec_.paging != Paging::kNone;
  const int64_t outer = paged ? block_count_ : spec_.batch;
  const int64_t positions = paged ? spec_.block_size : spec_.kv_length;
  std::vector<bool> used(static_cast<size_t>(outer * positions));
  for (int64_t b = 0; b < spec_.batch; ++b) {
    for (int64_t j = FirstOf(b); j < FirstOf(b) + LengthOf(b); ++j) {
      const int64_t owner = paged ? block_table()[b * max_blocks_ + j / positions] : b;
      used[static_cast<size_t>(owner * positions + j % positions)] = true;
    }
  }
  for (int64_t row = 0; row < outer * positions; ++row) {
    for (int64_t i = 0; i < spec_.kv_heads * spec_.head_size && !used[static_cast<size_t>(row)]; ++i) {
      const int64_t offset = row / positions * kv_strides_.batch + i / spec_.head_size * kv_strides_.head +
                             row % positions * kv_strides_.position + i % spec_.head_size;
      key_.Set(offset, spoilt);
      value_.Set(offset, spoilt);
    }
  }
}

int64_t Problem::KvOffset(int64_t batch, int64_t kv_head, int64_t position) const {
  if (spec_.paging != Paging::kNone) {
    const int64_t block = block_table()[batch * max_blocks_ + position / spec_.block_size];
    return block * kv_strides_.batch + kv_head * kv_strides_.head +
           position % spec_.block_size * kv_strides_.position;
  }
  return batch * kv_strides_.batch + kv_head * kv_strides_.head + position * kv_strides_.position;
}

void Problem::SetQuery(int64_t batch, int64_t head, int64_t channel, double x) {
  query_.Set((batch * heads_ + head) * spec_.head_size + channel, x);
}
void Problem::SetKey(int64_t batch, int64_t kv_head, int64_t position, int64_t channel, double x) {
  key_.Set(KvOffset(batch, kv_head, position) + channel, x);
}
void Problem::SetValue(int64_t batch, int64_t kv_head, int64_t position, int64_t channel, double x) {
  value_.Set(KvOffset(batch, kv_head, position) + channel, x);
}
void Problem::SetPse(int64_t batch, int64_t head, int64_t position, double x) {
  pse_.Set(batch * pse_batch_stride_ + head * spec_.kv_length + position, x);
}

int64_t Problem::AntiquantIndex(int64_t tensor, int64_t kv_head, int64_t channel) const {
  return IsPerChannel(spec_.cache) ? (tensor * spec_.kv_heads + kv_head) * spec_.head_size + channel : tensor;
}

void Problem::SetAntiquant(Parameter parameter, int64_t tensor, int64_t kv_head, int64_t channel, double x) {
  (parameter == Parameter::kScale ? antiquant_scale_ : antiquant_offset_)
      .Set(AntiquantIndex(tensor, kv_head, channel), x);
}
void Problem::SetQuant(Parameter parameter, int64_t head, int64_t channel, double x) {
  (parameter == Parameter::kScale ? quant_scale_ : quant_offset_)
      .Set(IsPerChannel(spec_.output) ? head * spec_.head_size + channel : 0, x);
}

double Problem::Dequantised(int64_t tensor, int64_t kv_head, int64_t channel, double x) const {
  if (spec_.cache == Quantised::kNo) {
    return x;
  }
  const int64_t index = AntiquantIndex(tensor, kv_head, channel);
  return (x + (HasOffset(spec_.cache) ? antiquant_offset_.Get(index) : 0)) * antiquant_scale_.Get(index);
}

double Problem::QuantScale(int64_t head, int64_t channel) const {
  return spec_.output == Quantised::kNo
             ? 1
             : quant_scale_.Get(IsPerChannel(spec_.output) ? head * spec_.head_size + channel : 0);
}

double Problem::QuantOffset(int64_t head, int64_t channel) const {
  return HasOffset(spec_.output)
             ? quant_offset_.Get(IsPerChannel(spec_.output) ? head * spec_.head_size + channel : 0)
             : 0;
}

DecodeAttentionArgs Problem::Args() {
  for (int64_t i = 0; i < spec_.batch * heads_ * spec_.head_size; ++i) {
    output_.Set(i, kUntouched);
  }
  DecodeAttentionArgs args;
  args.dtype = spec_.dtype;
  args.kv_dtype = CacheType();
  args.output_dtype = OutputType();
  args.antiquant_scale = antiquant_scale_.data();
  args.antiquant_offset = antiquant_offset_.data();
  args.antiquant_per_tensor = !IsPerChannel(spec_.cache);
  args.quant_scale = reinterpret_cast<const float *>(quant_scale_.data());
  args.quant_offset = reinterpret_cast<const float *>(quant_offset_.data());
  args.quant_per_channel = IsPerChannel(spec_.output);
  args.batch = spec_.batch;
  args.query_heads = heads_;
  args.kv_heads = spec_.kv_heads;
  args.kv_length = spec_.kv_length;
  args.head_size = spec_.head_size;
  args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec_.head_size)));
  args.query = query_.data();
  args.key = key_.data();
  args.value = value_.data();
  args.output = output_.data();
  args.query_strides = {heads_ * spec_.head_size, spec_.head_size, 0};
  args.key_strides = kv_strides_;
  args.value_strides = kv_strides_;
  args.output_strides = args.query_strides;
  args.mask = mask();
  args.mask_batch_stride = spec_.kv_length;
  args.pse_shift = pse_.data();
  args.pse_batch_stride = pse_batch_stride_;
  args.pse_head_stride = spec_.kv_length;
  args.lengths = lengths();
  args.starts = starts();
  args.block_table = block_table();
  args.max_blocks = max_blocks_;
  args.block_size = spec_.block_size;
  args.block_count = block_count_;
  MakeInputsReadOnly();
  return args;
}

void Problem::MakeInputsReadOnly() {
  for (Tensor *tensor : {&query_, &key_, &value_, &pse_, &antiquant_scale_, &antiquant_offset_, &quant_scale_,
                         &quant_offset_}) {
    tensor->MakeReadOnly();
  }
  for (GuardedBuffer *buffer : {&mask_, &lengths_, &starts_, &block_table_}) {
    buffer->SetWritable(false);
  }
}

std::vector<double> Problem::Reference() const {
  const int64_t size = spec_.head_size;
  const double scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(size)));
  std::vector<double> result(static_cast<size_t>(spec_.batch * heads_ * size), 0.0);
  std::vector<double> key(static_cast<size_t>(spec_.kv_length * size));
  std::vector<double> value(key.size());
  std::vector<double> query(static_cast<size_t>(size));
  std::vector<double> score(static_cast<size_t>(spec_.kv_length));
  for (int64_t b = 0; b < spec_.batch; ++b) {
    const int64_t first = FirstOf(b);
    const int64_t length = LengthOf(b);
    for (int64_t h = 0; h < spec_.kv_heads; ++h) {
      for (int64_t i = 0; i < length * size; ++i) {
        const int64_t offset = KvOffset(b, h, first + i / size) + i % size;
        key[static_cast<size_t>(i)] = Dequantised(0, h, i % size, key_.Get(offset));
        value[static_cast<size_t>(i)] = Dequantised(1, h, i % size, value_.Get(offset));
      }
      for (int64_t n = h * spec_.group; n < (h + 1) * spec_.group && length > 0; ++n) {
        for (int64_t d = 0; d < size; ++d) {
          query[static_cast<size_t>(d)] = query_.Get((b * heads_ + n) * size + d);
        }
        for (int64_t j = 0; j < length; ++j) {
          double dot = 0;
          for (int64_t d = 0; d < size; ++d) {
            dot += query[static_cast<size_t>(d)] * key[static_cast<size_t>(j * size + d)];
          }
          double &s = score[static_cast<size_t>(j)];
          s = dot * scale;
          if (pse_.data() != nullptr) {
            s += pse_.Get(b * pse_batch_stride_ + n * spec_.kv_length + first + j);
          }
          if (mask() != nullptr && mask()[b * spec_.kv_length + first + j] != 0) {
            s = -1e12;
          }
        }
        const double max = *std::max_element(score.begin(), score.begin() + length);
        double sum = 0;
        double *row = result.data() + (b * heads_ + n) * size;
        for (int64_t j = 0; j < length; ++j) {
          const double weight = std::exp(score[static_cast<size_t>(j)] - max);
          sum += weight;
          for (int64_t d = 0; d < size; ++d) {
            row[d] += weight * value[static_cast<size_t>(j * size + d)];
          }
        }
        for (int64_t d = 0; d < size; ++d) {
          row[d] /= sum;
        }
      }
    }
  }
  for (int64_t i = 0; i < spec_.batch * heads_ * size; ++i) {
    double &x = result[static_cast<size_t>(i)];
    x = x * QuantScale(i / size % heads_, i % size) + QuantOffset(i / size % heads_, i % size);
  }
  return result;
}

std::vector<double> Problem::Output() const {
  std::vector<double> output(static_cast<size_t>(spec_.batch * heads_ * spec_.head_size));
  for (size_t i = 0; i < output.size(); ++i) {
    output[i] = output_.Get(static_cast<int64_t>(i));
  }
  return output;
}

std::string Problem::Compare(const std::vector<double> &reference) const {
  return OutputType() == DataType::kInt8 ? CompareInt8(reference) : CompareFloats(reference);
}

// Rounding may go either way where fp32 arithmetic cannot tell on which side of a half the number lies.
std::string Problem::CompareInt8(const std::vector<double> &reference) const {
  double squares = 0;
  for (const double x : reference) {
    squares += std::isfinite(x) ? x * x : 0;
  }
  const double slack = 2e-5 * std::sqrt(squares / static_cast<double>(reference.size()));
  for (size_t i = 0; i < reference.size(); ++i) {
    const double out = output_.Get(static_cast<int64_t>(i));
    const double low = RoundedToInt8(reference[i] - slack);
    const double high = RoundedToInt8(reference[i] + slack);
    if (out < low || out > high) {
      return "element " + std::to_string(i) + " is " + std::to_string(out) + ", expected " +
             std::to_string(reference[i]) + " rounded";
    }
  }
  return "";
}

std::string Problem::CompareFloats(const std::vector<double> &reference) const {
  double squares = 0;
  double error_squares = 0;
  int64_t finite = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double out = output_.Get(static_cast<int64_t>(i));
    if (!std::isfinite(reference[i])) {
      const bool same = std::isnan(reference[i]) ? std::isnan(out) : out == reference[i];
      if (!same) {
        return "element " + std::to_string(i) + " is " + std::to_string(out) + ", expected " +
               std::to_string(reference[i]);
      }
      continue;
    }
    ++finite;
    squares += reference[i] * reference[i];
    error_squares += (out - reference[i]) * (out - reference[i]);
  }
  if (spec_.dtype == DataType::kFloat32) {
    const double relative = std::sqrt(error_squares / std::max(squares, 1e-300));
    return relative <= 5e-6 ? "" : "relative RMS error " + std::to_string(relative * 1e6) + "e-6";
  }
  const double rms = std::sqrt(squares / static_cast<double>(std::max<int64_t>(1, finite)));
  for (size_t i = 0; i < reference.size(); ++i) {
    const double out = output_.Get(static_cast<int64_t>(i));
    // Half a unit for the rounding, and what fp32 arithmetic may be off before it.
    const double allowed = 0.5 * UnitInTheLastPlace(spec_.dtype, reference[i]) + 2e-5 * rms;
    if (std::isfinite(reference[i]) && !(std::abs(out - reference[i]) <= allowed)) {
      return "element " + std::to_string(i) + " is " + std::to_string(out) + ", expected " +
             std::to_string(reference[i]) + " within " + std::to_string(allowed);
    }
  }
  return "";
}

void Problem::RunAll(const std::string &name) {
  const std::vector<double> reference = Reference();
  for (const InstructionSet isa : UsableInstructionSets()) {
    for (const int threads : {1, 3}) {
      ExecutionOptions options;
      options.isa = &isa;
      options.threads = threads;
      DecodeAttention(Args(), options);
      Report(name + " " + InstructionSetName(isa) + " threads=" + std::to_string(threads),
             Compare(reference));
    }
  }
}

void RunOfGrid(const ProblemSpec &spec) {
  static const char *text = std::getenv("IFA_TEST_EVERY");
  static const int every = text == nullptr ? 1 : std::max(1, std::atoi(text));
  static int drawn = 0;
  if (drawn++ % every == 0) {
    Problem(spec).RunAll(spec.Name());
  }
}

std::vector<InstructionSet> UsableInstructionSets() {
  std::vector<InstructionSet> usable;
  for (const auto isa : kInstructionSets) {
    ProblemSpec spec;
    static Problem problem(spec);
    ExecutionOptions options;
    options.isa = &isa;
    try {
      DecodeAttention(problem.Args(), options);
      usable.push_back(isa);
    } catch (const std::invalid_argument &) {
      // Not on this machine.
    }
  }
  return usable;
}

}  // namespace ifa::cpu::test
