#include "call_memory.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>

namespace ifa::cpu::test {
namespace {

constexpr double kLargest = 2;
constexpr double kLargestOffset = 8;
// Of the offset and any int8; a little less than it may be, because it is rounded to its type.
constexpr double kLargestScale = 0.985 * kLargest / (128 + kLargestOffset);

// Largest error of a result of at most 2 before it is rounded: of fp32 arithmetic, and of weights of 16 bits
// where the matrix unit computes, which is for no query of fp32.
double AllowedArithmetic(OperandType query) { return query == OperandType::kFloat32 ? 1e-5 : 2e-5; }

// Half a unit in the last place.
double AllowedRounding(OperandType output, double x) {
  return output == OperandType::kFloat32 ? 0.0 : 0.5 * UnitInTheLastPlace(CoreType(output), x);
}

double RoundedToInt8(double x) { return std::clamp(std::nearbyint(x), -128.0, 127.0); }

int64_t Elements(const Operand &operand) { return operand.present() ? ElementCount(operand.shape) : 0; }

Tensor Numbers(const Operand &operand, OperandType type) {
  return {CoreType(type), Elements(operand), GuardedBuffer::Guard::kBehind};
}
Tensor Numbers(const Operand &operand) { return Numbers(operand, operand.type); }

GuardedBuffer Bytes(const Operand &operand) {
  return {static_cast<size_t>(Elements(operand) * OperandTypeSize(operand.type)),
          GuardedBuffer::Guard::kBehind};
}

const std::byte *DataOf(const Operand &operand, const Tensor &tensor) {
  return operand.present() ? tensor.data() : nullptr;
}

}  // namespace

CallMemory::CallMemory(const OperatorCall &call, FuzzedDataProvider *data)
    : call_(call),
      batch_(call.query.shape[0]),
      kv_heads_(call.num_key_value_heads == 0 ? call.num_heads : call.num_key_value_heads),
      capacity_(call.block_table.present() ? call.block_table.shape[1] * call.block_size
                : call.input_layout == static_cast<int64_t>(cpu::Layout::kBsh) ? call.key.shape[1]
                                                                               : call.key.shape[2]),
      head_size_(ElementCount(call.query.shape) / batch_ / call.num_heads),
      query_(Numbers(call.query)),
      key_(Numbers(call.key)),
      value_(Numbers(call.value)),
      output_(Numbers(call.query, OutputType(call))),
      pse_(Numbers(call.pse_shift)),
      quant_scale_(Numbers(call.quant_scale2)),
      quant_offset_(Numbers(call.quant_offset2)),
      antiquant_scale_(Numbers(call.antiquant_scale)),
      antiquant_offset_(Numbers(call.antiquant_offset)),
      mask_(Bytes(call.attn_mask)),
      lengths_(Bytes(call.actual_seq_lengths)),
      table_(Bytes(call.block_table)),
      padding_(Bytes(call.kv_padding_size)) {
  FillNumbers(data->ConsumeIntegral<uint32_t>());
  DrawIntegers(data);
}

void CallMemory::FillNumbers(uint32_t seed) {
  std::mt19937 random(seed);
  const auto fill = [&](const Operand &operand, double largest, Tensor *tensor) {
    for (int64_t i = 0; i < Elements(operand); ++i) {
      tensor->Set(i, operand.type == OperandType::kInt8
                         ? static_cast<double>(random() % 256) - 128.0
                         : std::uniform_real_distribution(-largest, largest)(random));
    }
  };
  fill(call_.query, kLargest, &query_);
  fill(call_.key, kLargest, &key_);
  fill(call_.value, kLargest, &value_);
  fill(call_.pse_shift, kLargest, &pse_);
  fill(call_.antiquant_scale, kLargestScale, &antiquant_scale_);
  fill(call_.antiquant_offset, kLargestOffset, &antiquant_offset_);
  // An output of int8 that sometimes saturates.
  fill(call_.quant_scale2, 80, &quant_scale_);
  fill(call_.quant_offset2, 20, &quant_offset_);
}

void CallMemory::DrawIntegers(FuzzedDataProvider *data) {
  std::mt19937 random(data->ConsumeIntegral<uint32_t>());
  const uint32_t hidden_of_8 = data->ConsumeIntegralInRange<uint32_t>(0, 8);
  for (int64_t i = 0; i < Elements(call_.attn_mask); ++i) {
    mask_.data()[i] = static_cast<std::byte>(random() % 8 < hidden_of_8 ? 1 + random() % 255 : 0);
  }
  const auto draw = [&](const Operand &operand, const GuardedBuffer &memory, int64_t least, int64_t most) {
    for (int64_t i = 0; i < Elements(operand); ++i) {
      const bool wrong = data->ConsumeIntegralInRange(0, 15) == 15;
      const int64_t x = wrong ? data->ConsumeIntegral<int64_t>() : data->ConsumeIntegralInRange(least, most);
      std::memcpy(memory.data() + i * OperandTypeSize(operand.type), &x,
                  static_cast<size_t>(OperandTypeSize(operand.type)));
    }
  };
  draw(call_.actual_seq_lengths, lengths_, 0, capacity_);
  draw(call_.block_table, table_, 0, call_.key.shape[0] - 1);
  draw(call_.kv_padding_size, padding_, -1, capacity_);
}

void CallMemory::MakeInputsReadOnly() {
  for (Tensor *tensor : {&query_, &key_, &value_, &pse_, &quant_scale_, &quant_offset_, &antiquant_scale_,
                         &antiquant_offset_}) {
    tensor->MakeReadOnly();
  }
  for (GuardedBuffer *buffer : {&mask_, &lengths_, &table_, &padding_}) {
    buffer->SetWritable(false);
  }
}

void CallMemory::Run(DecodeAttentionArgs args, const ExecutionOptions &options) {
  MakeInputsReadOnly();
  args.query = query_.data();
  args.key = key_.data();
  args.value = value_.data();
  args.output = output_.data();
  args.pse_shift = DataOf(call_.pse_shift, pse_);
  args.antiquant_scale = DataOf(call_.antiquant_scale, antiquant_scale_);
  args.antiquant_offset = DataOf(call_.antiquant_offset, antiquant_offset_);
  args.quant_scale = reinterpret_cast<const float *>(DataOf(call_.quant_scale2, quant_scale_));
  args.quant_offset = reinterpret_cast<const float *>(DataOf(call_.quant_offset2, quant_offset_));
  if (call_.attn_mask.present()) {
    args.mask = reinterpret_cast<const uint8_t *>(mask_.data());
  }
  std::vector<int64_t> lengths;
  if (call_.actual_seq_lengths.present()) {
    lengths = ReadLengths(call_.actual_seq_lengths, lengths_.data(), args);
    args.lengths = lengths.data();
  }
  std::vector<int64_t> starts;
  if (IsLeftPadded(call_)) {
    starts = ReadStarts(padding_.data(), lengths, args);
    args.starts = starts.data();
  }
  if (call_.block_table.present()) {
    args.block_table = reinterpret_cast<const int32_t *>(table_.data());
  }
  DecodeAttention(args, options);
}

int64_t CallMemory::LengthOf(int64_t batch) const {
  const Operand &operand = call_.actual_seq_lengths;
  if (!operand.present()) {
    return capacity_;
  }
  const int64_t index = operand.shape[0] == 1 ? 0 : batch;
  return operand.type == OperandType::kInt32 ? reinterpret_cast<const int32_t *>(lengths_.data())[index]
                                             : reinterpret_cast<const int64_t *>(lengths_.data())[index];
}

// Where the positions start; negative if they do not fit.
int64_t CallMemory::FirstOf(int64_t batch) const {
  if (!IsLeftPadded(call_)) {
    return 0;
  }
  int64_t padding;
  std::memcpy(&padding, padding_.data(), sizeof(padding));
  return capacity_ - LengthOf(batch) - std::max<int64_t>(0, padding);
}

// Elements before the first channel of a position, by the shape of the cache alone.
int64_t CallMemory::RowOf(int64_t batch, int64_t kv_head, int64_t position) const {
  const std::vector<int64_t> &shape = call_.key.shape;
  int64_t outer = batch;
  if (call_.block_table.present()) {
    const auto *table = reinterpret_cast<const int32_t *>(table_.data());
    outer = table[batch * call_.block_table.shape[1] + position / call_.block_size];
    position %= call_.block_size;
  }
  return shape.size() == 3 ? ((outer * shape[1] + position) * kv_heads_ + kv_head) * head_size_
                           : ((outer * kv_heads_ + kv_head) * shape[2] + position) * head_size_;
}

// The positions of key (0) or value (1), dequantised: (length, D).
std::vector<double> CallMemory::Cache(int64_t which, int64_t batch, int64_t kv_head) const {
  const Tensor &cache = which == 0 ? key_ : value_;
  const auto parameter = [&](const Operand &operand, const Tensor &tensor, int64_t channel,
                             double otherwise) {
    if (!operand.present()) {
      return otherwise;
    }
    return tensor.Get(Elements(operand) == 2 ? which : (which * kv_heads_ + kv_head) * head_size_ + channel);
  };
  std::vector<double> rows;
  const int64_t first = FirstOf(batch);
  for (int64_t j = first; j < first + LengthOf(batch); ++j) {
    const int64_t row = RowOf(batch, kv_head, j);
    for (int64_t d = 0; d < head_size_; ++d) {
      rows.push_back((cache.Get(row + d) + parameter(call_.antiquant_offset, antiquant_offset_, d, 0)) *
                     parameter(call_.antiquant_scale, antiquant_scale_, d, 1));
    }
  }
  return rows;
}

// The float64 result of one query head, before it is quantised.
std::vector<double> CallMemory::Row(int64_t batch, int64_t head, const std::vector<double> &key,
                                    const std::vector<double> &value) const {
  std::vector<double> row(static_cast<size_t>(head_size_));
  std::vector<double> query;
  for (int64_t d = 0; d < head_size_; ++d) {
    query.push_back(query_.Get((batch * call_.num_heads + head) * head_size_ + d));
  }
  std::vector<double> scores;
  for (auto channels = key.begin(); channels != key.end(); channels += head_size_) {
    const int64_t j = FirstOf(batch) + static_cast<int64_t>(scores.size());
    double score = std::inner_product(query.begin(), query.end(), channels, 0.0) * call_.scale_value;
    if (call_.pse_shift.present()) {
      const std::vector<int64_t> &shape = call_.pse_shift.shape;
      score += pse_.Get(((shape[0] == 1 ? 0 : batch) * shape[1] + head) * shape[3] + j);
    }
    const bool hidden =
        call_.attn_mask.present() && mask_.data()[batch * call_.attn_mask.shape.back() + j] != std::byte{0};
    scores.push_back(hidden ? -1e12 : score);
  }
  const double max = scores.empty() ? 0 : *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double weight = std::exp(scores[i] - max);
    sum += weight;
    for (size_t d = 0; d < row.size(); ++d) {
      row[d] += weight * value[i * row.size() + d];
    }
  }
  std::for_each(row.begin(), row.end(), [sum](double &x) { x = sum == 0 ? 0 : x / sum; });
  return row;
}

std::string CallMemory::CompareRow(int64_t batch, int64_t head, const std::vector<double> &row) const {
  for (int64_t d = 0; d < head_size_; ++d) {
    const double out = output_.Get((batch * call_.num_heads + head) * head_size_ + d);
    double expected = row[static_cast<size_t>(d)];
    double slack = AllowedArithmetic(call_.query.type);
    bool right = std::abs(out - expected) <= slack + AllowedRounding(call_.query.type, expected);
    if (call_.quant_scale2.present()) {
      const int64_t channel = Elements(call_.quant_scale2) == 1 ? 0 : head * head_size_ + d;
      const double scale = quant_scale_.Get(channel);
      expected = expected * scale + (call_.quant_offset2.present() ? quant_offset_.Get(channel) : 0);
      slack *= 1 + std::abs(scale);
      right = RoundedToInt8(expected - slack) <= out && out <= RoundedToInt8(expected + slack);
    }
    if (!right) {
      return "output[" + std::to_string(batch) + ", " + std::to_string(head) + ", " + std::to_string(d) +
             "] is " + std::to_string(out) + ", expected " + std::to_string(expected);
    }
  }
  return "";
}

std::string CallMemory::Compare() const {
  const int64_t group = call_.num_heads / kv_heads_;
  for (int64_t b = 0; b < batch_; ++b) {
    for (int64_t h = 0; h < kv_heads_; ++h) {
      const bool fits = FirstOf(b) >= 0;
      const std::vector<double> key = fits ? Cache(0, b, h) : std::vector<double>{};
      const std::vector<double> value = fits ? Cache(1, b, h) : std::vector<double>{};
      for (int64_t n = h * group; n < (h + 1) * group; ++n) {
        const std::string difference = CompareRow(b, n, Row(b, n, key, value));
        if (!difference.empty()) {
          return difference;
        }
      }
    }
  }
  return "";
}

}  // namespace ifa::cpu::test
