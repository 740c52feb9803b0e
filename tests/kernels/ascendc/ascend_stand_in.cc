// What the kernel of Custom_ifa_decode meets on a device, to run it without one: MindSpore's factory of
// Ascend kernels, CANN's C interface with an operator package for it, and a call of the kernel with every
// operand. What CANN is asked for is written down.
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "include/kernel/ascend/custom/kernel_mod_impl/custom_kernel_factory.h"
#include "include/runtime/hardware_abstract/kernel_base/common_utils.h"
#include "include/runtime/hardware_abstract/kernel_base/kernel_tensor.h"
#include "mindspore/core/include/ir/tensor_new.h"
#include "mindspore/core/include/ops/op_def.h"

namespace {

std::ostringstream written;
constexpr size_t kWorkspaceBytes = 4096;
int alive = 0;   // what CANN was asked to make and not to destroy
int status = 0;  // of the operator's functions

}  // namespace

struct aclTensor {
  std::string text;
};
struct aclIntArray {
  std::string text;
};
struct aclOpExecutor {};

extern "C" {

aclTensor *aclCreateTensor(const int64_t *shape, uint64_t rank, int type, const int64_t *strides,
                           int64_t offset, int format, const int64_t *storage_shape, uint64_t storage_rank,
                           void *memory) {
  ++alive;
  std::ostringstream text;
  text << "type " << type << ", format " << format << ", shape";
  for (uint64_t i = 0; i < rank; ++i) text << " " << shape[i];
  text << ", strides";
  for (uint64_t i = 0; i < rank; ++i) text << " " << strides[i];
  text << ", offset " << offset << " of";
  for (uint64_t i = 0; i < storage_rank; ++i) text << " " << storage_shape[i];
  text << ", at " << reinterpret_cast<uintptr_t>(memory);
  return new aclTensor{text.str()};
}

int aclDestroyTensor(const aclTensor *tensor) {
  --alive;
  delete tensor;
  return 0;
}

aclIntArray *aclCreateIntArray(const int64_t *values, uint64_t count) {
  ++alive;
  std::ostringstream text;
  text << "values";
  for (uint64_t i = 0; i < count; ++i) text << " " << values[i];
  return new aclIntArray{text.str()};
}

int aclDestroyIntArray(const aclIntArray *array) {
  --alive;
  delete array;
  return 0;
}

const char *aclGetRecentErrMsg() { return "said by CANN"; }

// The signature that CANN's tools make of the definition in op_host.
int aclnnIfaDecodeGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *pse_shift,
    const aclTensor *attn_mask, const aclIntArray *actual_seq_lengths, const aclTensor *dequant_scale1,
    const aclTensor *quant_scale1, const aclTensor *dequant_scale2, const aclTensor *quant_scale2,
    const aclTensor *quant_offset2, const aclTensor *antiquant_scale, const aclTensor *antiquant_offset,
    const aclTensor *block_table, const aclTensor *kv_padding_size, int64_t num_heads, double scale_value,
    char *input_layout, int64_t num_key_value_heads, int64_t block_size, int64_t inner_precise,
    const aclTensor *attention_out, uint64_t *workspace_bytes, aclOpExecutor **executor) {
  static aclOpExecutor plan;
  const auto line = [](const char *name, const auto *operand) {
    written << name << ": " << (operand == nullptr ? "None" : operand->text) << "\n";
  };
  line("query", query);
  line("key", key);
  line("value", value);
  line("pse_shift", pse_shift);
  line("attn_mask", attn_mask);
  line("actual_seq_lengths", actual_seq_lengths);
  line("dequant_scale1", dequant_scale1);
  line("quant_scale1", quant_scale1);
  line("dequant_scale2", dequant_scale2);
  line("quant_scale2", quant_scale2);
  line("quant_offset2", quant_offset2);
  line("antiquant_scale", antiquant_scale);
  line("antiquant_offset", antiquant_offset);
  line("block_table", block_table);
  line("kv_padding_size", kv_padding_size);
  line("attention_out", attention_out);
  written << "attributes: " << num_heads << " " << scale_value << " " << input_layout << " "
          << num_key_value_heads << " " << block_size << " " << inner_precise << "\n";
  *workspace_bytes = kWorkspaceBytes;
  *executor = &plan;
  return status;
}

int aclnnIfaDecode(void *workspace, uint64_t workspace_bytes, aclOpExecutor *executor, void *stream) {
  written << "run: workspace " << reinterpret_cast<uintptr_t>(workspace) << " of " << workspace_bytes
          << " stream " << reinterpret_cast<uintptr_t>(stream)
          << (executor == nullptr ? " without a plan" : "") << "\n";
  return 0;
}

}  // extern "C"

namespace mindspore::kernel {

CustomKernelFactory &CustomKernelFactory::Instance() {
  static CustomKernelFactory factory;
  return factory;
}

bool CustomKernelFactory::Register(const std::string &name, const KernelCreator &creator) {
  return creators_.emplace(name, creator).second;
}

bool CustomKernelFactory::IsRegistered(const std::string &name) { return creators_.count(name) != 0; }

KernelModPtr CustomKernelFactory::Create(const std::string &name) { return creators_.at(name)(); }

}  // namespace mindspore::kernel

namespace {

using namespace mindspore;
using kernel::KernelTensor;

std::shared_ptr<KernelTensor> TensorOf(TypeId type, const ShapeVector &shape, uintptr_t memory) {
  auto tensor = std::make_shared<KernelTensor>(std::make_shared<abstract::TensorShape>(shape),
                                               std::make_shared<TensorType>(TypeIdToType(type)), nullptr);
  tensor->set_device_ptr(reinterpret_cast<void *>(memory));
  return tensor;
}

std::shared_ptr<KernelTensor> ValueOf(const ValuePtr &value) {
  const auto abstract = value->ToAbstract();
  return std::make_shared<KernelTensor>(abstract->BuildShape(), abstract->BuildType(), value);
}

/// In the order of decode_operator.h, each of a shape of its own, operand i at the address i + 1.
/// @param lengths  actual_seq_lengths, or null for a call in which all that may be absent is
std::vector<std::shared_ptr<KernelTensor>> OperandsOf(const ValuePtr &lengths) {
  const auto optional = [&](TypeId type, const ShapeVector &shape, uintptr_t memory) {
    return lengths == nullptr ? ValueOf(kNone) : TensorOf(type, shape, memory);
  };
  return {TensorOf(kNumberTypeFloat16, {2, 6, 1, 16}, 1),
          TensorOf(kNumberTypeInt8, {2, 3, 10, 16}, 2),
          TensorOf(kNumberTypeInt8, {2, 3, 11, 16}, 3),
          optional(kNumberTypeBool, {2, 1, 1, 10}, 4),
          ValueOf(lengths == nullptr ? kNone : lengths),
          optional(kNumberTypeFloat16, {1, 6, 1, 10}, 6),
          ValueOf(kNone),
          ValueOf(kNone),
          ValueOf(kNone),
          optional(kNumberTypeFloat32, {1}, 10),
          optional(kNumberTypeFloat32, {2}, 11),
          optional(kNumberTypeBFloat16, {2, 3, 1, 16}, 12),
          optional(kNumberTypeBFloat16, {2, 48}, 13),
          optional(kNumberTypeInt32, {2, 4}, 14),
          optional(kNumberTypeInt64, {}, 15),
          ValueOf(MakeValue<int64_t>(6)),
          ValueOf(MakeValue<int64_t>(lengths == nullptr ? 0 : 1)),
          ValueOf(MakeValue<float>(0.25F)),
          ValueOf(MakeValue<int64_t>(3)),
          ValueOf(MakeValue<int64_t>(128)),
          ValueOf(MakeValue<int64_t>(1))};
}

/// Every second position of a longer cache, but for its first numbers.
void MakeView(KernelTensor *tensor) {
  tensor->set_tensor_storage_info(
      std::make_shared<TensorStorageInfo>(ShapeVector{2, 3, 10, 16}, ShapeVector{960, 320, 32, 1}, 5,
                                          ShapeVector{2, 3, 20, 16}, ShapeVector{960, 320, 16, 1}, false));
}

std::vector<KernelTensor *> Bare(const std::vector<std::shared_ptr<KernelTensor>> &tensors) {
  std::vector<KernelTensor *> bare;
  for (const auto &tensor : tensors) bare.push_back(tensor.get());
  return bare;
}

/// The operands whose values MindSpore brings to the host before it resizes the kernel.
void WriteHostOperands() {
  const auto *definition = ops::GetOpDef("Custom_ifa_decode");
  for (const int64_t index : definition->func_impl_.GetValueDependArgIndices()) {
    written << "on the host: " << definition->args_.at(static_cast<size_t>(index)).arg_name_ << "\n";
  }
}

void RunKernel(const ValuePtr &lengths) {
  const auto inputs = OperandsOf(lengths);
  const std::vector<std::shared_ptr<KernelTensor>> outputs{TensorOf(kNumberTypeInt8, {2, 6, 1, 16}, 22)};
  if (lengths != nullptr) MakeView(inputs[1].get());
  const auto kernel = kernel::CustomKernelFactory::Instance().Create("Custom_ifa_decode");
  kernel->Init(std::make_shared<Primitive>("Custom_ifa_decode"), Bare(inputs), Bare(outputs));
  WriteHostOperands();
  const int resized = kernel->Resize(Bare(inputs), Bare(outputs));
  written << "resized: " << resized << "\n";
  std::vector<std::shared_ptr<KernelTensor>> workspace;
  for (const size_t bytes : kernel->GetWorkspaceSizeList()) {
    workspace.push_back(TensorOf(kNumberTypeInt8, {static_cast<int64_t>(bytes)}, 23));
    workspace.back()->set_size(bytes);
  }
  void *stream = reinterpret_cast<void *>(uintptr_t{24});
  const bool launched = kernel->Launch(Bare(inputs), Bare(workspace), Bare(outputs), stream);
  written << "launched: " << launched << "\n";
}

}  // namespace

/// @param lengths_bits  of the type of actual_seq_lengths, or 0 for a call in which all that may be absent is
/// @param plan_status  what CANN answers
/// @return what was written down, or the exception's message, and last what is left; valid until the next
/// call.
extern "C" const char *run_kernel(int lengths_bits, int plan_status) {
  static std::string result;
  written.str("");
  status = plan_status;
  try {
    if (lengths_bits == 0) RunKernel(nullptr);
    if (lengths_bits == 32) RunKernel(tensor::from_vector(std::vector<int32_t>{7, 9}, kInt32));
    if (lengths_bits == 64) RunKernel(tensor::from_vector(std::vector<int64_t>{7, 9}, kInt64));
  } catch (const std::exception &error) {
    written.str("");
    written << error.what() << "\n";
  }
  written << "alive: " << alive;
  result = written.str();
  return result.c_str();
}
