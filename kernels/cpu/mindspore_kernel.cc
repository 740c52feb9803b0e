// IncreFlashAttention on MindSpore's CPU backend: the kernel under the primitive's own name, and an infer
// step for what MindSpore's own infer function refuses or cannot survive. What a call means and whether it is
// sound is decided in operator_call.h, the computation is in decode_attention.h; this file only translates.
#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "decode_attention.h"
#include "include/runtime/utils/runtime_conf/runtime_conf.h"
#include "kernel/cpu/cpu_kernel.h"
#include "kernels/ascendc/mindspore/decode_operator.h"
#include "operator_call.h"
#include "ops/ops_frontend_func_impl.h"
#include "utils/ms_context.h"

namespace ifa {
namespace {

using cpu::Operand;
using cpu::OperandType;
using cpu::OperatorCall;
using cpu::Refusal;
using cpu::RefusalKind;
using mindspore::TypeId;
using mindspore::kernel::KernelTensor;
using KernelTensors = std::vector<KernelTensor *>;

constexpr char kPrimitiveName[] = "IncreFlashAttention";
constexpr size_t kQueryIndex = 0;
constexpr size_t kKeyIndex = 1;
constexpr size_t kValueIndex = 2;
constexpr size_t kMaskIndex = 3;
constexpr size_t kLengthsIndex = 4;
constexpr size_t kPseShiftIndex = 5;
constexpr size_t kQuantScaleIndex = 9;
constexpr size_t kQuantOffsetIndex = 10;
constexpr size_t kAntiquantScaleIndex = 11;
constexpr size_t kAntiquantOffsetIndex = 12;
constexpr size_t kBlockTableIndex = 13;
constexpr size_t kPaddingIndex = 14;
constexpr size_t kNumHeadsIndex = 15;
constexpr size_t kLayoutIndex = 16;
constexpr size_t kScaleIndex = 17;
constexpr size_t kKvHeadsIndex = 18;
constexpr size_t kBlockSizeIndex = 19;
constexpr size_t kInnerPreciseIndex = 20;
constexpr size_t kInputCount = 21;

[[noreturn]] void Raise(RefusalKind kind, const std::string &message) {
  switch (kind) {
    case RefusalKind::kTypeError:
      MS_EXCEPTION(mindspore::TypeError) << message;
    case RefusalKind::kValueError:
      MS_EXCEPTION(mindspore::ValueError) << message;
    default:
      MS_EXCEPTION(mindspore::RuntimeError) << message;
  }
}

/// MindSpore turns its own exceptions into Python's; of any other it loses the class or the message.
template <typename Function>
auto RaisingInPython(const Function &function) {
  std::optional<Refusal> refusal;
  try {
    return function();
  } catch (const Refusal &error) {
    refusal = error;
  } catch (const std::invalid_argument &error) {
    refusal = Refusal(RefusalKind::kRuntimeError, std::string(kPrimitiveName) + ": " + error.what());
  } catch (const std::bad_alloc &) {
    refusal = Refusal(RefusalKind::kRuntimeError, std::string(kPrimitiveName) + ": out of memory.");
  }
  Raise(refusal->kind(), refusal->what());
}

OperandType TypeOf(TypeId type) {
  switch (type) {
    case mindspore::kNumberTypeBool:
      return OperandType::kBool;
    case mindspore::kNumberTypeInt8:
      return OperandType::kInt8;
    case mindspore::kNumberTypeUInt8:
      return OperandType::kUInt8;
    case mindspore::kNumberTypeInt32:
      return OperandType::kInt32;
    case mindspore::kNumberTypeInt64:
      return OperandType::kInt64;
    case mindspore::kNumberTypeFloat16:
      return OperandType::kFloat16;
    case mindspore::kNumberTypeBFloat16:
      return OperandType::kBFloat16;
    case mindspore::kNumberTypeFloat32:
      return OperandType::kFloat32;
    case mindspore::kMetaTypeNone:
      return OperandType::kAbsent;
    default:
      return OperandType::kOther;
  }
}

Operand OperandOf(const KernelTensor &tensor) {
  Operand operand;
  operand.type = TypeOf(tensor.dtype_id());
  operand.type_name = mindspore::TypeIdToString(tensor.dtype_id());
  operand.shape = tensor.GetShapeVector();
  return operand;
}

template <typename T>
T Attribute(KernelTensor *tensor, const char *name) {
  const std::optional<T> value = tensor->GetValue<T>();
  if (!value.has_value()) {
    throw Refusal(RefusalKind::kRuntimeError,
                  std::string(kPrimitiveName) + ": " + name + " must be a constant, but it has no value.");
  }
  return *value;
}

OperatorCall CallOf(const KernelTensors &inputs) {
  if (inputs.size() != kInputCount) {
    throw Refusal(RefusalKind::kRuntimeError,
                  std::string(kPrimitiveName) + ": key and value must be sequences of exactly one tensor; " +
                      std::to_string(kInputCount) + " inputs are expected, but got " +
                      std::to_string(inputs.size()) + ".");
  }
  OperatorCall call;
  const std::array<Operand *, kNumHeadsIndex> operands = {&call.query,
                                                          &call.key,
                                                          &call.value,
                                                          &call.attn_mask,
                                                          &call.actual_seq_lengths,
                                                          &call.pse_shift,
                                                          &call.dequant_scale1,
                                                          &call.quant_scale1,
                                                          &call.dequant_scale2,
                                                          &call.quant_scale2,
                                                          &call.quant_offset2,
                                                          &call.antiquant_scale,
                                                          &call.antiquant_offset,
                                                          &call.block_table,
                                                          &call.kv_padding_size};
  for (size_t i = 0; i < operands.size(); ++i) *operands[i] = OperandOf(*inputs[i]);
  call.num_heads = Attribute<int64_t>(inputs[kNumHeadsIndex], "num_heads");
  call.input_layout = Attribute<int64_t>(inputs[kLayoutIndex], "input_layout");
  call.scale_value = Attribute<float>(inputs[kScaleIndex], "scale_value");
  call.num_key_value_heads = Attribute<int64_t>(inputs[kKvHeadsIndex], "num_key_value_heads");
  call.block_size = Attribute<int64_t>(inputs[kBlockSizeIndex], "block_size");
  call.inner_precise = Attribute<int64_t>(inputs[kInnerPreciseIndex], "inner_precise");
  return call;
}

/// The memory of a tensor, once it is sure to hold what its shape and type say.
void *MemoryOf(const KernelTensor &tensor, const char *name) {
  const Operand operand = OperandOf(tensor);
  const auto needed =
      static_cast<size_t>(cpu::ElementCount(operand.shape) * cpu::OperandTypeSize(operand.type));
  void *memory = tensor.device_ptr();
  if (memory == nullptr || tensor.size() < needed) {
    throw Refusal(RefusalKind::kRuntimeError,
                  std::string(kPrimitiveName) + ": " + name + " must hold " + std::to_string(needed) +
                      " bytes, but got " + std::to_string(memory == nullptr ? 0 : tensor.size()) + ".");
  }
  return memory;
}

void CheckOutput(const OperatorCall &call, const KernelTensor &output) {
  const Operand operand = OperandOf(output);
  if (operand.type != cpu::OutputType(call) || operand.shape != call.query.shape) {
    throw Refusal(RefusalKind::kRuntimeError,
                  std::string(kPrimitiveName) +
                      ": the output must have the shape of query, and its data type or, with quant_scale2, "
                      "Int8, but got " +
                      operand.type_name + ".");
  }
}

/// Threads for one call. MindSpore's thread pool holds a single thread in PyNative mode and is shared with
/// the graph's other operators in graph mode, so the kernel brings its own; of MindSpore it takes the number,
/// where the user gave one: `device_context.cpu.op_tuning.threads_num`, or the older
/// `set_context(runtime_num_threads=...)`. 0, the core's default (OMP_NUM_THREADS, or the CPUs of the
/// process), where the user said nothing.
int ConfiguredThreads() {
  const auto runtime = mindspore::runtime::RuntimeConf::GetInstance();
  if (runtime != nullptr && runtime->IsOpThreadsNumConfigured()) {
    return static_cast<int>(runtime->op_threads_num());
  }
  const auto context = mindspore::MsContext::GetInstance();
  if (context == nullptr) return 0;
  const auto threads = context->get_param<uint32_t>(mindspore::MS_CTX_RUNTIME_NUM_THREADS);
  const uint32_t unset = std::min(30U, std::thread::hardware_concurrency());  // MsContext's initial value
  return threads == unset ? 0 : static_cast<int>(threads);
}

void GiveQuantisation(const OperatorCall &call, const KernelTensors &inputs, cpu::DecodeAttentionArgs *args) {
  const auto memory = [&](const Operand &operand, size_t index, const char *name) {
    return operand.present() ? MemoryOf(*inputs[index], name) : nullptr;
  };
  args->antiquant_scale = memory(call.antiquant_scale, kAntiquantScaleIndex, "antiquant_scale");
  args->antiquant_offset = memory(call.antiquant_offset, kAntiquantOffsetIndex, "antiquant_offset");
  args->quant_scale = static_cast<const float *>(memory(call.quant_scale2, kQuantScaleIndex, "quant_scale2"));
  args->quant_offset =
      static_cast<const float *>(memory(call.quant_offset2, kQuantOffsetIndex, "quant_offset2"));
}

void Run(const KernelTensors &inputs, KernelTensor *output) {
  const OperatorCall call = CallOf(inputs);
  cpu::DecodeAttentionArgs args = cpu::PlanCall(call);
  CheckOutput(call, *output);
  args.query = MemoryOf(*inputs[kQueryIndex], "query");
  args.key = MemoryOf(*inputs[kKeyIndex], "key");
  args.value = MemoryOf(*inputs[kValueIndex], "value");
  args.output = MemoryOf(*output, "the output");
  if (call.attn_mask.present()) {
    args.mask = static_cast<const uint8_t *>(MemoryOf(*inputs[kMaskIndex], "attn_mask"));
  }
  if (call.pse_shift.present()) args.pse_shift = MemoryOf(*inputs[kPseShiftIndex], "pse_shift");
  GiveQuantisation(call, inputs, &args);
  std::vector<int64_t> lengths;
  if (call.actual_seq_lengths.present()) {
    lengths = cpu::ReadLengths(call.actual_seq_lengths,
                               MemoryOf(*inputs[kLengthsIndex], "actual_seq_lengths"), args);
    args.lengths = lengths.data();
  }
  std::vector<int64_t> starts;
  if (cpu::IsLeftPadded(call)) {
    starts = cpu::ReadStarts(MemoryOf(*inputs[kPaddingIndex], "kv_padding_size"), lengths, args);
    args.starts = starts.data();
  }
  if (call.block_table.present()) {
    args.block_table = static_cast<const int32_t *>(MemoryOf(*inputs[kBlockTableIndex], "block_table"));
  }
  cpu::ExecutionOptions options;
  options.threads = ConfiguredThreads();
  cpu::DecodeAttention(args, options);
}

/// Holds no state between calls: PyNative mode shares one kernel object among calls of different shapes.
class IncreFlashAttentionCpuKernel : public mindspore::kernel::NativeCpuKernelMod {
 public:
  bool Init(const KernelTensors & /*inputs*/, const KernelTensors & /*outputs*/) override { return true; }

  int Resize(const KernelTensors &inputs, const KernelTensors &outputs) override {
    const int status = KernelMod::Resize(inputs, outputs);
    if (status != mindspore::kernel::KRET_OK) return status;  // a dimension is not known yet
    RaisingInPython([&] { return cpu::PlanCall(CallOf(inputs)); });
    return status;
  }

  bool Launch(const KernelTensors &inputs, const KernelTensors & /*workspace*/,
              const KernelTensors &outputs) override {
    RaisingInPython([&] { Run(inputs, outputs.at(0)); });
    return true;
  }

  std::vector<mindspore::kernel::KernelAttr> GetOpSupport() override {
    return {mindspore::kernel::KernelAttr().AddSkipCheckAttr(true)};  // PlanCall checks the types
  }
};

/// Runs in the front end before MindSpore's own infer function and, by returning null, leaves the call to it.
class IncreFlashAttentionInfer : public mindspore::ops::OpFrontendFuncImpl {
 public:
  using Abstracts = std::vector<mindspore::AbstractBasePtr>;

  mindspore::AbstractBasePtr InferAbstract(const mindspore::PrimitivePtr & /*primitive*/,
                                           const Abstracts &inputs) const override {
    if (inputs.size() != kInputCount) return nullptr;
    RefuseWhatCrashes(inputs);
    if (!TakesFloat32(inputs)) return nullptr;
    const bool quantised = !inputs[kQuantScaleIndex]->isa<mindspore::abstract::AbstractNone>();
    return std::make_shared<mindspore::abstract::AbstractTensor>(
        quantised ? mindspore::kInt8 : mindspore::kFloat32, inputs[kQueryIndex]->GetShape()->Clone());
  }

 private:
  /// MindSpore's infer function divides by num_heads and indexes shapes unchecked, which ends the process.
  static void RefuseWhatCrashes(const Abstracts &inputs) {
    const std::optional<int64_t> num_heads = Constant(inputs[kNumHeadsIndex]);
    if (num_heads.has_value() && *num_heads <= 0) {
      Raise(RefusalKind::kRuntimeError, std::string(kPrimitiveName) +
                                            ": num_heads must be greater than 0, but got " +
                                            std::to_string(*num_heads) + ".");
    }
    const bool paged = !inputs[kBlockTableIndex]->isa<mindspore::abstract::AbstractNone>();
    if (paged) return;  // MindSpore looks at no shape then
    const size_t rank = Constant(inputs[kLayoutIndex]) == static_cast<int64_t>(cpu::Layout::kBsh) ? 3 : 4;
    RefuseRank("query", inputs[kQueryIndex], rank, rank, RefusalKind::kRuntimeError);
    RefuseRank("key", OnlyElement(inputs[kKeyIndex]), rank, rank, RefusalKind::kRuntimeError);
    RefuseRank("value", OnlyElement(inputs[kValueIndex]), rank, rank, RefusalKind::kRuntimeError);
    RefuseRank("attn_mask", inputs[kMaskIndex], 2, 4, RefusalKind::kRuntimeError);
    RefuseRank("actual_seq_lengths", inputs[kLengthsIndex], 1, 1, RefusalKind::kValueError);
    RefuseRank("pse_shift", inputs[kPseShiftIndex], 4, 4, RefusalKind::kRuntimeError);
  }

  static void RefuseRank(const char *name, const mindspore::AbstractBasePtr &abstract, size_t least,
                         size_t most, RefusalKind kind) {
    if (abstract == nullptr || !abstract->isa<mindspore::abstract::AbstractTensor>()) return;
    const auto &shape = abstract->GetShape()->GetShapeVector();
    if (mindspore::IsDynamicRank(shape) || (shape.size() >= least && shape.size() <= most)) return;
    const std::string allowed = std::to_string(least) + (least == most ? "" : " to " + std::to_string(most));
    Raise(kind, std::string(kPrimitiveName) + ": " + name + " must have rank " + allowed + ", but got rank " +
                    std::to_string(shape.size()) + ".");
  }

  static std::optional<int64_t> Constant(const mindspore::AbstractBasePtr &abstract) {
    const auto value = abstract->GetValue();
    if (value == nullptr || !value->isa<mindspore::Int64Imm>()) return std::nullopt;
    return mindspore::GetValue<int64_t>(value);
  }

  /// MindSpore's infer function knows no fp32, which the CPU kernel takes. Whether the rest agrees is checked
  /// by the kernel, when it is resized.
  static bool TakesFloat32(const Abstracts &inputs) {
    const auto cache_types = {mindspore::kNumberTypeFloat32, mindspore::kNumberTypeInt8};
    const auto context = mindspore::MsContext::GetInstance();
    return context != nullptr &&
           context->get_param<std::string>(mindspore::MS_CTX_DEVICE_TARGET) == mindspore::kCPUDevice &&
           IsOneOf(inputs[kQueryIndex], {mindspore::kNumberTypeFloat32}) &&
           IsOneOf(OnlyElement(inputs[kKeyIndex]), cache_types) &&
           IsOneOf(OnlyElement(inputs[kValueIndex]), cache_types);
  }

  static mindspore::AbstractBasePtr OnlyElement(const mindspore::AbstractBasePtr &sequence) {
    const auto elements = sequence->cast<mindspore::abstract::AbstractSequencePtr>();
    if (elements == nullptr || elements->dynamic_len() || elements->elements().size() != 1) return nullptr;
    return elements->elements()[0];
  }

  static bool IsOneOf(const mindspore::AbstractBasePtr &abstract, std::initializer_list<TypeId> types) {
    if (abstract == nullptr) return false;
    const auto type = abstract->GetType()->cast<mindspore::TensorTypePtr>();
    return type != nullptr &&
           std::find(types.begin(), types.end(), type->element()->type_id()) != types.end();
  }
};

/// Runs when the library is loaded. Registering a name twice throws, and so would end the process: a second
/// copy of the library, or a MindSpore that brings a CPU kernel of its own, keeps what was there first.
bool RegisterWithMindSpore() {
  auto &kernels = mindspore::kernel::Factory<mindspore::kernel::NativeCpuKernelMod>::Instance();
  // Graphs for the AscendC kernel run on a CPU as well: their operator has the same operands.
  if (!kernels.IsRegistered(kDecodeOperator)) {
    kernels.Register(kDecodeOperator, [] { return std::make_shared<IncreFlashAttentionCpuKernel>(); });
  }
  if (kernels.IsRegistered(kPrimitiveName)) return false;
  kernels.Register(kPrimitiveName, [] { return std::make_shared<IncreFlashAttentionCpuKernel>(); });
  if (mindspore::ops::GetOpFrontendFuncImplPtr(kPrimitiveName) == nullptr) {
    mindspore::ops::RegFrontendFuncImplHelper(kPrimitiveName, std::make_shared<IncreFlashAttentionInfer>());
  }
  return true;
}

[[maybe_unused]] const bool registered = RegisterWithMindSpore();

}  // namespace
}  // namespace ifa
