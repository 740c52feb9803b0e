// The kernel of Custom_ifa_decode in MindSpore's Ascend backend: hands the operands of a node to CANN's
// interface of the operator IfaDecode. A library of its own, because the place where it registers is in
// MindSpore's Ascend libraries, which a machine without CANN can't load.
#include <memory>
#include <string>
#include <vector>

#include "include/kernel/ascend/custom/kernel_mod_impl/custom_kernel_factory.h"
#include "include/runtime/hardware_abstract/kernel_base/common_utils.h"
#include "kernels/ascendc/mindspore/aclnn.h"
#include "kernels/ascendc/mindspore/decode_operator.h"

namespace ifa::ascend {
namespace {

using mindspore::TypeId;
using mindspore::kernel::KernelTensor;
using KernelTensors = std::vector<KernelTensor *>;

/// In the order of decode_operator.h.
enum OperandIndex : size_t {
  kQuery,
  kKey,
  kValue,
  kMask,
  kLengths,
  kPseShift,
  kDequantScale1,
  kQuantScale1,
  kDequantScale2,
  kQuantScale2,
  kQuantOffset2,
  kAntiquantScale,
  kAntiquantOffset,
  kBlockTable,
  kPadding,
  kNumHeads,
  kLayout,
  kScale,
  kKvHeads,
  kBlockSize,
  kInnerPrecise
};

Aclnn aclnn;  // set before the kernel is registered

[[noreturn]] void Raise(const std::string &message) {
  MS_EXCEPTION(mindspore::RuntimeError) << kDecodeOperator << ": " << message;
}

void Check(int status, const char *function) {
  if (status == 0) return;
  const char *detail = aclnn.recent_error();
  Raise(std::string(function) + " must return 0, but got " + std::to_string(status) + ": " +
        (detail == nullptr ? "" : detail));
}

/// aclDataType
int AclTypeOf(TypeId type) {
  switch (type) {
    case mindspore::kNumberTypeFloat32:
      return 0;
    case mindspore::kNumberTypeFloat16:
      return 1;
    case mindspore::kNumberTypeInt8:
      return 2;
    case mindspore::kNumberTypeInt32:
      return 3;
    case mindspore::kNumberTypeUInt8:
      return 4;
    case mindspore::kNumberTypeInt64:
      return 9;
    case mindspore::kNumberTypeBool:
      return 12;
    case mindspore::kNumberTypeBFloat16:
      return 27;
    default:
      Raise("an operand has the data type " + mindspore::TypeIdToString(type) + ", which it does not take.");
  }
}

std::vector<int64_t> ContiguousStrides(const std::vector<int64_t> &shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

/// A node's tensors and lengths as CANN takes them, for as long as this lives.
class Operands {
 public:
  /// @param in_memory  whether the tensors have memory yet
  explicit Operands(bool in_memory) : in_memory_(in_memory) {}
  ~Operands() {
    for (const aclTensor *tensor : tensors_) aclnn.destroy_tensor(tensor);
    for (const aclIntArray *array : arrays_) aclnn.destroy_int_array(array);
  }
  Operands(const Operands &) = delete;
  Operands &operator=(const Operands &) = delete;

  /// Null for None.
  const aclTensor *Tensor(const KernelTensor &tensor) {
    if (tensor.dtype_id() == mindspore::kMetaTypeNone) return nullptr;
    constexpr int kFormatNd = 2;  // aclFormat
    const auto &shape = tensor.GetShapeVector();
    const auto view = tensor.tensor_storage_info();
    const auto strides = view == nullptr ? ContiguousStrides(shape) : view->strides;
    const auto storage = view == nullptr ? shape : view->ori_shape;
    const auto offset = view == nullptr ? 0 : static_cast<int64_t>(view->storage_offset);
    const aclTensor *made = aclnn.create_tensor(shape.data(), shape.size(), AclTypeOf(tensor.dtype_id()),
                                                strides.data(), offset, kFormatNd, storage.data(),
                                                storage.size(), in_memory_ ? tensor.device_ptr() : nullptr);
    if (made == nullptr) Raise("CANN did not take an operand.");
    tensors_.push_back(made);
    return made;
  }

  const aclIntArray *Lengths(const std::vector<int64_t> &lengths) {
    const aclIntArray *made = aclnn.create_int_array(lengths.data(), lengths.size());
    if (made == nullptr) Raise("CANN did not take actual_seq_lengths.");
    arrays_.push_back(made);
    return made;
  }

 private:
  bool in_memory_;
  std::vector<const aclTensor *> tensors_;
  std::vector<const aclIntArray *> arrays_;
};

std::vector<int64_t> LengthsOf(KernelTensor *tensor) {
  if (tensor->dtype_id() == mindspore::kNumberTypeInt64) {
    return tensor->GetValueWithCheck<std::vector<int64_t>>();
  }
  const auto narrow = tensor->GetValueWithCheck<std::vector<int32_t>>();
  return {narrow.begin(), narrow.end()};
}

struct Plan {
  uint64_t workspace_bytes = 0;
  aclOpExecutor *executor = nullptr;
};

class IfaDecodeKernel : public mindspore::kernel::KernelMod {
 public:
  bool Init(const KernelTensors & /*inputs*/, const KernelTensors & /*outputs*/) override { return true; }

  int Resize(const KernelTensors &inputs, const KernelTensors &outputs) override {
    const int status = KernelMod::Resize(inputs, outputs);
    if (status != mindspore::kernel::KRET_OK) return status;  // a dimension is not known yet
    has_lengths_ = inputs.at(kLengths)->dtype_id() != mindspore::kMetaTypeNone;
    lengths_ = has_lengths_ ? LengthsOf(inputs[kLengths]) : std::vector<int64_t>();
    Operands operands(false);
    const Plan plan = PlanCall(inputs, *outputs.at(0), &operands);
    workspace_size_list_.assign(plan.workspace_bytes == 0 ? 0 : 1, plan.workspace_bytes);
    return status;
  }

  /// Plans again: CANN's plans are good for one call, and hold the addresses of its tensors.
  bool Launch(const KernelTensors &inputs, const KernelTensors &workspace, const KernelTensors &outputs,
              void *stream) override {
    Operands operands(true);
    const Plan plan = PlanCall(inputs, *outputs.at(0), &operands);
    const size_t given = workspace.empty() ? 0 : workspace[0]->size();
    if (plan.workspace_bytes > given) {
      Raise("the workspace must hold " + std::to_string(plan.workspace_bytes) + " bytes, but got " +
            std::to_string(given) + ".");
    }
    void *memory = workspace.empty() ? nullptr : workspace[0]->device_ptr();
    Check(aclnn.run(memory, plan.workspace_bytes, plan.executor, stream), "aclnnIfaDecode");
    return true;
  }

  std::vector<mindspore::kernel::KernelAttr> GetOpSupport() override { return {}; }
  void set_fullname(const std::string & /*name*/) override {}

 private:
  Plan PlanCall(const KernelTensors &inputs, const KernelTensor &output, Operands *operands) const {
    const auto tensor = [&](OperandIndex index) { return operands->Tensor(*inputs.at(index)); };
    const auto integer = [&](OperandIndex index) { return inputs.at(index)->GetValueWithCheck<int64_t>(); };
    std::string layout = integer(kLayout) == 0 ? "BSH" : "BNSD";
    Plan plan;
    Check(
        aclnn.plan(tensor(kQuery), tensor(kKey), tensor(kValue), tensor(kPseShift), tensor(kMask),
                   has_lengths_ ? operands->Lengths(lengths_) : nullptr, tensor(kDequantScale1),
                   tensor(kQuantScale1), tensor(kDequantScale2), tensor(kQuantScale2), tensor(kQuantOffset2),
                   tensor(kAntiquantScale), tensor(kAntiquantOffset), tensor(kBlockTable), tensor(kPadding),
                   integer(kNumHeads), inputs.at(kScale)->GetValueWithCheck<float>(), layout.data(),
                   integer(kKvHeads), integer(kBlockSize), integer(kInnerPrecise), operands->Tensor(output),
                   &plan.workspace_bytes, &plan.executor),
        "aclnnIfaDecodeGetWorkspaceSize");
    return plan;
  }

  bool has_lengths_ = false;
  std::vector<int64_t> lengths_;
};

}  // namespace
}  // namespace ifa::ascend

/// Gives the kernel to MindSpore's Ascend backend, once for all calls.
/// @param operator_library the path of the operator package's libcust_opapi.so
/// @return nullptr, or what is missing; valid until the next call.
extern "C" __attribute__((visibility("default"))) const char *ifa_register_ascend_kernel(
    const char *operator_library) {
  static std::string missing;
  missing = ifa::ascend::Load(operator_library, &ifa::ascend::aclnn);
  if (!missing.empty()) return missing.c_str();
  auto &kernels = mindspore::kernel::CustomKernelFactory::Instance();
  if (!kernels.IsRegistered(ifa::kDecodeOperator)) {
    kernels.Register(ifa::kDecodeOperator, [] { return std::make_shared<ifa::ascend::IfaDecodeKernel>(); });
  }
  return nullptr;
}
