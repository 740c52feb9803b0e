#include "call_memory.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "problem.h"

namespace ifa::cpu::test {
namespace {

DataType DataTypeOf(OperandType type) {
  return type == OperandType::kFloat16    ? DataType::kFloat16
         : type == OperandType::kBFloat16 ? DataType::kBFloat16
                                          : DataType::kFloat32;
}

// Largest error of a result that is below 2 in magnitude: half a unit in the last place, and fp32 arithmetic.
double Allowed(OperandType type) {
  return 1e-5 + (type == OperandType::kFloat16 ? 0x1p-11 : type == OperandType::kBFloat16 ? 0x1p-8 : 0.0);
}

GuardedBuffer Allocate(const Operand &operand) {
  const int64_t bytes = operand.present() ? ElementCount(operand.shape) * OperandTypeSize(operand.type) : 0;
  return {static_cast<size_t>(bytes), GuardedBuffer::Guard::kBehind};
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
      query_(Allocate(call.query)),
      key_(Allocate(call.key)),
      value_(Allocate(call.value)),
      output_(Allocate(call.query)),
      mask_(Allocate(call.attn_mask)),
      pse_(Allocate(call.pse_shift)),
      lengths_(Allocate(call.actual_seq_lengths)),
      table_(Allocate(call.block_table)),
      padding_(Allocate(call.kv_padding_size)) {
  std::mt19937 random(data->ConsumeIntegral<uint32_t>());
  const auto fill = [&](const Operand &operand, const GuardedBuffer &memory) {
    for (int64_t i = 0; operand.present() && i < ElementCount(operand.shape); ++i) {
      FromDouble(DataTypeOf(operand.type), std::uniform_real_distribution(-2.0, 2.0)(random),
                 memory.data() + i * OperandTypeSize(operand.type));
    }
  };
  fill(call.query, query_);
  fill(call.key, key_);
  fill(call.value, value_);
  fill(call.pse_shift, pse_);
  const uint32_t hidden_of_8 = data->ConsumeIntegralInRange<uint32_t>(0, 8);
  for (int64_t i = 0; call.attn_mask.present() && i < ElementCount(call.attn_mask.shape); ++i) {
    mask_.data()[i] = static_cast<std::byte>(random() % 8 < hidden_of_8 ? 1 + random() % 255 : 0);
  }
  const auto draw = [&](const Operand &operand, const GuardedBuffer &memory, int64_t least, int64_t most) {
    for (int64_t i = 0; operand.present() && i < ElementCount(operand.shape); ++i) {
      const bool wrong = data->ConsumeIntegralInRange(0, 15) == 15;
      const int64_t x = wrong ? data->ConsumeIntegral<int64_t>() : data->ConsumeIntegralInRange(least, most);
      std::memcpy(memory.data() + i * OperandTypeSize(operand.type), &x,
                  static_cast<size_t>(OperandTypeSize(operand.type)));
    }
  };
  draw(call.actual_seq_lengths, lengths_, 0, capacity_);
  draw(call.block_table, table_, 0, call.key.shape[0] - 1);
  draw(call.kv_padding_size, padding_, -1, capacity_);
}

void CallMemory::Run(DecodeAttentionArgs args, const ExecutionOptions &options) {
  args.query = query_.data();
  args.key = key_.data();
  args.value = value_.data();
  args.output = output_.data();
  args.pse_shift = call_.pse_shift.present() ? pse_.data() : nullptr;
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

// Elements before the first channel of a position, by the shape of the cache alone.
int64_t CallMemory::RowOf(const Operand &cache, int64_t batch, int64_t kv_head, int64_t position) const {
  int64_t outer = batch;
  if (call_.block_table.present()) {
    const auto *table = reinterpret_cast<const int32_t *>(table_.data());
    outer = table[batch * call_.block_table.shape[1] + position / call_.block_size];
    position %= call_.block_size;
  }
  return cache.shape.size() == 3 ? ((outer * cache.shape[1] + position) * kv_heads_ + kv_head) * head_size_
                                 : ((outer * kv_heads_ + kv_head) * cache.shape[2] + position) * head_size_;
}

double CallMemory::Number(const Operand &operand, const GuardedBuffer &memory, int64_t index) const {
  return ToDouble(DataTypeOf(operand.type), memory.data() + index * OperandTypeSize(operand.type));
}

// The float64 result of one query head.
std::vector<double> CallMemory::Row(int64_t batch, int64_t head) const {
  std::vector<double> row(static_cast<size_t>(head_size_));
  const int64_t length = LengthOf(batch);
  int64_t first = 0;
  if (IsLeftPadded(call_)) {
    int64_t padding;
    std::memcpy(&padding, padding_.data(), sizeof(padding));
    first = capacity_ - length - std::max<int64_t>(0, padding);
  }
  if (first < 0 || length == 0) {
    return row;
  }
  const int64_t kv_head = head / (call_.num_heads / kv_heads_);
  std::vector<double> scores;
  for (int64_t j = first; j < first + length; ++j) {
    double dot = 0;
    for (int64_t d = 0; d < head_size_; ++d) {
      dot += Number(call_.query, query_, (batch * call_.num_heads + head) * head_size_ + d) *
             Number(call_.key, key_, RowOf(call_.key, batch, kv_head, j) + d);
    }
    double score = dot * call_.scale_value;
    if (call_.pse_shift.present()) {
      const std::vector<int64_t> &shape = call_.pse_shift.shape;
      score += Number(call_.pse_shift, pse_, ((shape[0] == 1 ? 0 : batch) * shape[1] + head) * shape[3] + j);
    }
    const bool hidden =
        call_.attn_mask.present() && mask_.data()[batch * call_.attn_mask.shape.back() + j] != std::byte{0};
    scores.push_back(hidden ? -1e12 : score);
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (int64_t j = 0; j < length; ++j) {
    const double weight = std::exp(scores[static_cast<size_t>(j)] - max);
    sum += weight;
    for (int64_t d = 0; d < head_size_ && weight > 0; ++d) {
      row[static_cast<size_t>(d)] +=
          weight * Number(call_.value, value_, RowOf(call_.value, batch, kv_head, first + j) + d);
    }
  }
  std::for_each(row.begin(), row.end(), [sum](double &x) { x /= sum; });
  return row;
}

std::string CallMemory::Compare() const {
  for (int64_t b = 0; b < batch_; ++b) {
    for (int64_t n = 0; n < call_.num_heads; ++n) {
      const std::vector<double> row = Row(b, n);
      for (int64_t d = 0; d < head_size_; ++d) {
        const double out = Number(call_.query, output_, (b * call_.num_heads + n) * head_size_ + d);
        const double expected = row[static_cast<size_t>(d)];
        if (!(std::abs(out - expected) <= Allowed(call_.query.type))) {
          return "output[" + std::to_string(b) + ", " + std::to_string(n) + ", " + std::to_string(d) +
                 "] is " + std::to_string(out) + ", expected " + std::to_string(expected);
        }
      }
    }
  }
  return "";
}

}  // namespace ifa::cpu::test
