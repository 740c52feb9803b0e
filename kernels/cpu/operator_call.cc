#include "operator_call.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <utility>

#include "operator_quantisation.h"
#include "operator_refusal.h"

namespace ifa::cpu {
namespace {

// Limits of the operator, not of this kernel: a call within them runs wherever the operator does.
constexpr int64_t kMaxBatch = 65536;
constexpr int64_t kMaxKvHeads = 256;
constexpr int64_t kMaxGroup = 64;
constexpr int64_t kMaxHeadSize = 512;

// Of a tensor; more than any memory holds, and few enough that sizes and bytes of it fit 64 bits.
constexpr int64_t kMaxElements = INT64_MAX / 8;

// Of paged caches.
constexpr int64_t kBlockAlignment = 16;
constexpr int64_t kInt8BlockAlignment = 32;
constexpr int64_t kMaxBlockSize = 512;
constexpr int64_t kMaxBlocks = 16 * 1024;  // of a sequence
constexpr int64_t kMaxPagedHidden = 65535;

bool IsOneOf(OperandType type, std::initializer_list<OperandType> allowed) {
  return std::find(allowed.begin(), allowed.end(), type) != allowed.end();
}

bool IsHalf(OperandType type) { return IsOneOf(type, {OperandType::kFloat16, OperandType::kBFloat16}); }

void RequireType(const char *name, const Operand &operand, std::initializer_list<OperandType> allowed,
                 const char *allowed_text) {
  if (operand.present() && !IsOneOf(operand.type, allowed)) {
    Refuse(RefusalKind::kTypeError, name, " must be a tensor of ", allowed_text, ", but got ",
           operand.type_name, ".");
  }
}

/// Float32 is an extension: query and a cache that is not Int8 are both of it, and so is what belongs to
/// them.
/// @param types the allowed ones but Float32.
/// @param float32_text when Float32 is allowed.
void RequireFloat(const char *name, const Operand &operand, bool takes_float32, const char *types,
                  const char *float32_text) {
  if (!IsHalf(operand.type) && !(takes_float32 && operand.type == OperandType::kFloat32)) {
    Refuse(RefusalKind::kTypeError, name, " must be a tensor of ", types, " (Float32 ", float32_text,
           "), but got ", operand.type_name, ".");
  }
}

/// What the operator itself never takes. By its document a quant_scale1 of another type than Float32 is the
/// graver fault.
void RefuseReserved(const OperatorCall &call) {
  const std::pair<const char *, const Operand *> reserved[] = {{"dequant_scale1", &call.dequant_scale1},
                                                               {"dequant_scale2", &call.dequant_scale2},
                                                               {"quant_scale1", &call.quant_scale1}};
  for (const auto &[name, operand] : reserved) {
    if (!operand->present()) continue;
    const bool wrong_type = operand == &call.quant_scale1 && operand->type != OperandType::kFloat32;
    Refuse(wrong_type ? RefusalKind::kTypeError : RefusalKind::kRuntimeError, name,
           " must be None, but got a tensor of ", operand->type_name, ".");
  }
}

void CheckTypes(const OperatorCall &call) {
  const bool query_is_float32 = call.query.type == OperandType::kFloat32;
  const auto require_float = [&](const char *name, const Operand &operand, const char *types) {
    RequireFloat(name, operand, query_is_float32, types, "with a query of Float32");
  };
  RequireType("quant_scale2", call.quant_scale2, {OperandType::kFloat32}, "Float32");
  RequireType("quant_offset2", call.quant_offset2, {OperandType::kFloat32}, "Float32");
  for (const auto &[name, operand] : {std::pair{"antiquant_scale", &call.antiquant_scale},
                                      {"antiquant_offset", &call.antiquant_offset},
                                      {"pse_shift", &call.pse_shift}}) {
    if (operand->present()) require_float(name, *operand, "Float16 or BFloat16");
  }
  RequireType("attn_mask", call.attn_mask, {OperandType::kBool, OperandType::kInt8, OperandType::kUInt8},
              "Bool, Int8 or UInt8");
  RequireType("actual_seq_lengths", call.actual_seq_lengths, {OperandType::kInt32, OperandType::kInt64},
              "Int32 or Int64");
  RequireType("block_table", call.block_table, {OperandType::kInt32}, "Int32");
  RequireType("kv_padding_size", call.kv_padding_size, {OperandType::kInt64}, "Int64");
  for (const auto &[name, operand] : {std::pair{"key", &call.key}, {"value", &call.value}}) {
    if (operand->type != OperandType::kInt8) require_float(name, *operand, "Float16, BFloat16 or Int8");
  }
  if (call.key.type != call.value.type) {
    Refuse(RefusalKind::kTypeError, "key and value must have one data type, but got ", call.key.type_name,
           " and ", call.value.type_name, ".");
  }
  RequireFloat("query", call.query, !IsHalf(call.key.type), "Float16 or BFloat16",
               "with key and value of Float32 or Int8");
  if (call.key.type != call.query.type && call.key.type != OperandType::kInt8) {
    Refuse(RefusalKind::kRuntimeError, "key and value must have the data type of query, ",
           call.query.type_name, ", or Int8, but got ", call.key.type_name, ".");
  }
}

Layout CheckAttributes(const OperatorCall &call) {
  if (call.num_heads <= 0) {
    Refuse(RefusalKind::kRuntimeError, "num_heads must be greater than 0, but got ", call.num_heads, ".");
  }
  if (call.num_key_value_heads < 0) {
    Refuse(RefusalKind::kRuntimeError, "num_key_value_heads must not be negative, but got ",
           call.num_key_value_heads, ".");
  }
  if (call.inner_precise != 0 && call.inner_precise != 1) {
    Refuse(RefusalKind::kRuntimeError, "inner_precise must be 0 or 1, but got ", call.inner_precise, ".");
  }
  if (call.input_layout != static_cast<int64_t>(Layout::kBsh) &&
      call.input_layout != static_cast<int64_t>(Layout::kBnsd)) {
    Refuse(RefusalKind::kValueError, "input_layout must be 'BSH' or 'BNSD', but got the layout number ",
           call.input_layout, ".");
  }
  return static_cast<Layout>(call.input_layout);
}

void RequireRankAndContent(const char *name, const Operand &operand, size_t rank, const char *form) {
  if (operand.shape.size() != rank) {
    Refuse(RefusalKind::kRuntimeError, name, " must have the shape ", form, ", but got ",
           ShapeText(operand.shape), ".");
  }
  if (std::any_of(operand.shape.begin(), operand.shape.end(), [](int64_t size) { return size <= 0; })) {
    Refuse(RefusalKind::kRuntimeError, name, " must not be empty, but got the shape ",
           ShapeText(operand.shape), ".");
  }
}

/// Before sizes are multiplied.
void CheckElementCounts(const OperatorCall &call) {
  const bool paged = call.block_table.present();
  const struct {
    const char *name;
    const Operand &operand;
    bool is_paged;
  } operands[] = {{"query", call.query, false},
                  {"key", call.key, paged},
                  {"value", call.value, paged},
                  {"attn_mask", call.attn_mask, false},
                  {"pse_shift", call.pse_shift, false}};
  for (const auto &[name, operand, is_paged] : operands) {
    const int64_t allowed = is_paged ? INT32_MAX : kMaxElements;
    int64_t left = allowed;
    for (const int64_t size : operand.shape) {
      left /= std::max<int64_t>(1, size);
    }
    if (left == 0) {
      Refuse(RefusalKind::kRuntimeError, name, " must have at most ", allowed, " elements",
             is_paged ? " with block_table" : "", ", but got the shape ", ShapeText(operand.shape), ".");
    }
  }
}

void CheckGroups(const OperatorCall &call, int64_t kv_heads) {
  if (call.num_heads % kv_heads != 0) {
    Refuse(RefusalKind::kValueError, "num_heads must be a multiple of num_key_value_heads, but got ",
           call.num_heads, " and ", kv_heads, ".");
  }
}

/// The head size, from query (B, 1, N * D) or (B, N, 1, D).
int64_t MeasureQuery(const OperatorCall &call, Layout layout, const DecodeAttentionArgs &args) {
  if (layout == Layout::kBnsd) {
    if (call.query.shape[1] != args.query_heads) {
      Refuse(RefusalKind::kRuntimeError, "query's dimension 1 must be num_heads, but got ",
             call.query.shape[1], " and ", args.query_heads, ".");
    }
    return call.query.shape[3];
  }
  const int64_t hidden = call.query.shape[2];
  if (hidden % args.query_heads != 0) {
    Refuse(RefusalKind::kValueError, "query's last dimension must be a multiple of num_heads, but got ",
           hidden, " and ", args.query_heads, ".");
  }
  return hidden / args.query_heads;
}

/// The head size, from key (B, S, kvN * D) or (B, kvN, S, D); S and the strides into `args`. Of a paged cache
/// B is the number of blocks and S the block size.
int64_t MeasureCache(const OperatorCall &call, Layout layout, DecodeAttentionArgs *args) {
  const std::vector<int64_t> &shape = call.key.shape;
  const char *heads_name = call.num_key_value_heads == 0 ? "num_heads" : "num_key_value_heads";
  if (layout == Layout::kBnsd) {
    if (shape[1] != args->kv_heads) {
      Refuse(RefusalKind::kRuntimeError, "key's dimension 1 must be ", heads_name, ", but got ", shape[1],
             " and ", args->kv_heads, ".");
    }
    args->kv_length = shape[2];
    args->key_strides = {shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3]};
    return shape[3];
  }
  const int64_t hidden = shape[2];
  if (hidden % args->kv_heads != 0) {
    Refuse(RefusalKind::kRuntimeError, "key's last dimension must be a multiple of ", heads_name,
           ", but got ", hidden, " and ", args->kv_heads, ".");
  }
  args->kv_length = shape[1];
  args->key_strides = {shape[1] * hidden, hidden / args->kv_heads, hidden};
  return hidden / args->kv_heads;
}

/// How the heads and positions of key and value lie in memory: as those of query, but of a paged cache the
/// rank decides.
Layout CacheLayout(const OperatorCall &call, Layout layout) {
  if (!call.block_table.present()) {
    return layout;
  }
  const size_t rank = call.key.shape.size();
  if (rank != 3 && (rank != 4 || layout != Layout::kBnsd)) {
    Refuse(RefusalKind::kRuntimeError, "key must have the shape (blocks, block_size, kvH)",
           layout == Layout::kBnsd ? " or (blocks, kvN, block_size, D)" : " in layout BSH",
           " with block_table, but got ", ShapeText(call.key.shape), ".");
  }
  return rank == 3 ? Layout::kBsh : Layout::kBnsd;
}

/// The block table and what it demands of the others; before, `args->kv_length` is the block length of key.
void MeasureBlocks(const OperatorCall &call, Layout cache_layout, DecodeAttentionArgs *args) {
  const int64_t block_size = call.block_size;
  const int64_t alignment = call.key.type == OperandType::kInt8 ? kInt8BlockAlignment : kBlockAlignment;
  if (block_size < alignment || block_size > kMaxBlockSize || block_size % alignment != 0) {
    Refuse(RefusalKind::kRuntimeError, "block_size must be a multiple of ", alignment, " from ", alignment,
           " to ", kMaxBlockSize, " with block_table and a cache of ", call.key.type_name, ", but got ",
           block_size, ".");
  }
  if (!call.actual_seq_lengths.present()) {
    Refuse(RefusalKind::kRuntimeError, "actual_seq_lengths must be given with block_table, but got None.");
  }
  if (args->kv_length != block_size) {
    Refuse(RefusalKind::kRuntimeError, "key's dimension ", cache_layout == Layout::kBsh ? 1 : 2,
           " must be block_size, ", block_size, ", with block_table, but got ", ShapeText(call.key.shape),
           ".");
  }
  if (cache_layout == Layout::kBsh && call.key.shape[2] > kMaxPagedHidden) {
    Refuse(RefusalKind::kRuntimeError, "key's last dimension must be at most ", kMaxPagedHidden,
           " with block_table, but got ", call.key.shape[2], ".");
  }
  const std::vector<int64_t> &table = call.block_table.shape;
  RequireRankAndContent("block_table", call.block_table, 2, "(B, blocks of a sequence)");
  if (table[0] != args->batch || table[1] > kMaxBlocks) {
    Refuse(RefusalKind::kRuntimeError,
           "block_table must have the shape (B, blocks of a sequence) with B = ", args->batch,
           " and at most ", kMaxBlocks, " blocks, but got ", ShapeText(table), ".");
  }
  args->block_size = block_size;
  args->block_count = call.key.shape[0];
  args->max_blocks = table[1];
  args->kv_length = table[1] * block_size;
}

void CheckLimits(const OperatorCall &call, const DecodeAttentionArgs &args) {
  const struct {
    const char *what;
    int64_t number;
    int64_t most;
  } limits[] = {
      {"query's batch size", args.batch, kMaxBatch},
      {call.num_key_value_heads == 0 ? "num_heads, without num_key_value_heads," : "num_key_value_heads",
       args.kv_heads, kMaxKvHeads},
      {"num_heads / num_key_value_heads", args.query_heads / args.kv_heads, kMaxGroup},
      {"query's head size", args.head_size, kMaxHeadSize},
  };
  for (const auto &[what, number, most] : limits) {
    if (number > most) {
      Refuse(RefusalKind::kRuntimeError, what, " must be at most ", most, ", but got ", number, ".");
    }
  }
}

/// Query, key and value: everything about them but their types.
DecodeAttentionArgs Measure(const OperatorCall &call, Layout layout) {
  DecodeAttentionArgs args;
  args.query_heads = call.num_heads;
  args.kv_heads = call.num_key_value_heads == 0 ? call.num_heads : call.num_key_value_heads;
  const bool bsh = layout == Layout::kBsh;
  const bool paged = call.block_table.present();
  const Layout cache_layout = CacheLayout(call, layout);
  RequireRankAndContent("query", call.query, bsh ? 3 : 4, bsh ? "(B, 1, H)" : "(B, N, 1, D)");
  cache_layout == Layout::kBsh
      ? RequireRankAndContent("key", call.key, 3, paged ? "(blocks, block_size, kvH)" : "(B, S, kvH)")
      : RequireRankAndContent("key", call.key, 4, paged ? "(blocks, kvN, block_size, D)" : "(B, kvN, S, D)");
  args.head_size = MeasureQuery(call, layout, args);
  const int64_t cache_head_size = MeasureCache(call, cache_layout, &args);
  CheckGroups(call, args.kv_heads);
  if (cache_head_size != args.head_size) {
    Refuse(RefusalKind::kRuntimeError, "key and query must have one head size, but got ", cache_head_size,
           " and ", args.head_size, ".");
  }
  if (const int64_t positions = call.query.shape[bsh ? 1 : 2]; positions != 1) {
    Refuse(RefusalKind::kRuntimeError, "query must hold one position, in dimension ", bsh ? 1 : 2,
           ", but got ", positions, ".");
  }
  args.batch = call.query.shape[0];
  CheckLimits(call, args);
  if (paged) {
    MeasureBlocks(call, cache_layout, &args);
  } else if (call.key.shape[0] != args.batch) {
    Refuse(RefusalKind::kRuntimeError, "key's dimension 0 must be query's, ", args.batch, ", but got ",
           call.key.shape[0], ".");
  }
  if (call.key.shape != call.value.shape) {
    Refuse(RefusalKind::kRuntimeError, "key and value must have one shape, but got ",
           ShapeText(call.key.shape), " and ", ShapeText(call.value.shape), ".");
  }
  args.value_strides = args.key_strides;
  // With one position both layouts of query and output are (B, N, D).
  args.query_strides = {args.query_heads * args.head_size, args.head_size, 0};
  args.output_strides = args.query_strides;
  return args;
}

/// Whether `size` is the length of a row of attn_mask or pse_shift; with a block table it may be longer than
/// S.
bool IsRowLength(const OperatorCall &call, int64_t size, const DecodeAttentionArgs &args) {
  return size == args.kv_length || (call.block_table.present() && size > args.kv_length);
}

const char *OrMore(const OperatorCall &call) { return call.block_table.present() ? " or more" : ""; }

void CheckPseShift(const OperatorCall &call, DecodeAttentionArgs *args) {
  if (!call.pse_shift.present()) return;
  const std::vector<int64_t> &shape = call.pse_shift.shape;
  const bool fits = shape.size() == 4 && (shape[0] == 1 || shape[0] == args->batch) &&
                    shape[1] == args->query_heads && shape[2] == 1 && IsRowLength(call, shape[3], *args);
  if (!fits) {
    Refuse(RefusalKind::kRuntimeError, "pse_shift must have the shape (1 or B, N, 1, S) = (1 or ",
           args->batch, ", ", args->query_heads, ", 1, ", args->kv_length, OrMore(call), "), but got ",
           ShapeText(shape), ".");
  }
  if (call.pse_shift.type != call.query.type) {
    Refuse(RefusalKind::kRuntimeError, "pse_shift must have the data type of query, ", call.query.type_name,
           ", but got ", call.pse_shift.type_name, ".");
  }
  args->pse_head_stride = shape[3];
  args->pse_batch_stride = shape[0] == 1 ? 0 : shape[1] * shape[3];
}

void CheckMask(const OperatorCall &call, DecodeAttentionArgs *args) {
  if (!call.attn_mask.present()) return;
  const std::vector<int64_t> &shape = call.attn_mask.shape;
  const bool fits = shape.size() >= 2 && shape.size() <= 4 && shape.front() == args->batch &&
                    IsRowLength(call, shape.back(), *args) &&
                    std::all_of(shape.begin() + 1, shape.end() - 1, [](int64_t size) { return size == 1; });
  if (!fits) {
    Refuse(RefusalKind::kRuntimeError,
           "attn_mask must have the shape (B, S), (B, 1, S) or (B, 1, 1, S) with B = ", args->batch,
           " and S = ", args->kv_length, OrMore(call), ", but got ", ShapeText(shape), ".");
  }
  args->mask_batch_stride = shape.back();
}

void CheckLengthsShape(const OperatorCall &call, const DecodeAttentionArgs &args) {
  if (!call.actual_seq_lengths.present()) return;
  const std::vector<int64_t> &shape = call.actual_seq_lengths.shape;
  if (shape.size() != 1 || (shape[0] != 1 && shape[0] != args.batch)) {
    Refuse(RefusalKind::kValueError,
           "actual_seq_lengths must have the shape (1,) or (B,) with B = ", args.batch, ", but got ",
           ShapeText(shape), ".");
  }
}

void CheckPaddingShape(const OperatorCall &call) {
  const std::vector<int64_t> &shape = call.kv_padding_size.shape;
  if (call.kv_padding_size.present() && !shape.empty() && (shape.size() != 1 || shape[0] != 1)) {
    Refuse(RefusalKind::kRuntimeError, "kv_padding_size must have the shape () or (1,), but got ",
           ShapeText(shape), ".");
  }
}

}  // namespace

DataType CoreType(OperandType type) {
  switch (type) {
    case OperandType::kFloat16:
      return DataType::kFloat16;
    case OperandType::kBFloat16:
      return DataType::kBFloat16;
    case OperandType::kInt8:
      return DataType::kInt8;
    default:
      return DataType::kFloat32;
  }
}

int64_t OperandTypeSize(OperandType type) {
  switch (type) {
    case OperandType::kBool:
    case OperandType::kInt8:
    case OperandType::kUInt8:
      return 1;
    case OperandType::kFloat16:
    case OperandType::kBFloat16:
      return 2;
    case OperandType::kInt32:
    case OperandType::kFloat32:
      return 4;
    case OperandType::kInt64:
      return 8;
    default:
      return 0;
  }
}

int64_t ElementCount(const std::vector<int64_t> &shape) {
  int64_t count = 1;
  for (int64_t size : shape) {
    if (__builtin_mul_overflow(count, size, &count)) return INT64_MAX;
  }
  return count;
}

OperandType OutputType(const OperatorCall &call) {
  return call.quant_scale2.present() ? OperandType::kInt8 : call.query.type;
}

DecodeAttentionArgs PlanCall(const OperatorCall &call) {
  // Types before shapes, as MindSpore's own checks; attributes before anything is divided by them.
  RefuseReserved(call);
  CheckTypes(call);
  const Layout layout = CheckAttributes(call);
  CheckElementCounts(call);
  DecodeAttentionArgs args = Measure(call, layout);
  CheckPseShift(call, &args);
  CheckMask(call, &args);
  CheckLengthsShape(call, args);
  CheckPaddingShape(call);
  PlanAntiquantisation(call, &args);
  PlanOutputQuantisation(call, &args);
  args.dtype = CoreType(call.query.type);
  args.kv_dtype = CoreType(call.key.type);
  args.output_dtype = CoreType(OutputType(call));
  args.scale = call.scale_value;
  return args;
}

std::vector<int64_t> ReadLengths(const Operand &operand, const void *data, const DecodeAttentionArgs &args) {
  const bool one_for_all = operand.shape[0] == 1;
  std::vector<int64_t> lengths(static_cast<size_t>(args.batch));
  for (int64_t b = 0; b < args.batch; ++b) {
    const int64_t index = one_for_all ? 0 : b;
    const int64_t length = operand.type == OperandType::kInt32 ? static_cast<const int32_t *>(data)[index]
                                                               : static_cast<const int64_t *>(data)[index];
    if (length < 0 || length > args.kv_length) {
      Refuse(RefusalKind::kRuntimeError, "actual_seq_lengths must lie in [0, S] with S = ", args.kv_length,
             ", but element ", index, " is ", length, ".");
    }
    lengths[static_cast<size_t>(b)] = length;
  }
  return lengths;
}

bool IsLeftPadded(const OperatorCall &call) {
  return call.kv_padding_size.present() && call.actual_seq_lengths.present() && !call.block_table.present();
}

std::vector<int64_t> ReadStarts(const void *data, const std::vector<int64_t> &lengths,
                                const DecodeAttentionArgs &args) {
  const int64_t padding = std::max<int64_t>(*static_cast<const int64_t *>(data), 0);
  std::vector<int64_t> starts;
  for (const int64_t length : lengths) {
    starts.push_back(args.kv_length - length - padding);
  }
  return starts;
}

}  // namespace ifa::cpu
