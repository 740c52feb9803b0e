#include "passes/target.h"

#include <string>

#include "kernels/ascendc/mindspore/decode_operator.h"
#include "mindspore/core/include/utils/ms_context.h"
#include "passes/options.h"

namespace ifa::passes {
namespace {

// Of the operator on every target: the document allows no more.
constexpr int64_t kLargestHeadSize = 512;
// Of CANN's operator on Ascend 910B, by its tiling, and for the one in kernels/ascendc the same; unknown
// sizes are left to them.
constexpr int64_t kLargestGroup = 64;
constexpr int64_t kMostKvHeads = 256;
constexpr int64_t kLargestBatch = 65536;
// In elements: the document's demand where there is a pse_shift.
constexpr int64_t kBiasedHeadSizeStep = 16;

std::optional<Refusal> AtMost(const std::string &what, int64_t size, int64_t most,
                              const mindspore::AnfNodePtr &operand) {
  if (size <= most) return std::nullopt;
  return Refusal{"ascend_limit",
                 what + " is " + std::to_string(size) + ", the operator takes at most " +
                     std::to_string(most) + " on Ascend",
                 operand};
}

std::optional<Refusal> CheckAscendLimits(const AttentionSite &site) {
  if (site.type == mindspore::kNumberTypeFloat32) {
    return Refusal{"ascend_type",
                   "query, key and value are float32, on Ascend the operator takes float16 and bfloat16: "
                   "convert the network, or keep its caches in one of them",
                   site.key};
  }
  if (auto refusal =
          AtMost("the number of query heads for each KV head", site.group, kLargestGroup, site.query))
    return refusal;
  if (auto refusal = AtMost("the number of KV heads", site.kv_heads, kMostKvHeads, site.key)) return refusal;
  if (auto refusal = AtMost("the batch", site.batch, kLargestBatch, site.query)) return refusal;
  if (!site.biases.empty() && site.head_size % kBiasedHeadSizeStep != 0) {
    return Refusal{"ascend_limit",
                   "the head size is " + std::to_string(site.head_size) +
                       ", with a bias the operator takes multiples of 16 on Ascend",
                   site.biases.front().tensor};
  }
  return std::nullopt;
}

bool IsForAscend(TargetOption option) {
  if (option != TargetOption::kDevice) return option == TargetOption::kAscend;
  const auto context = mindspore::MsContext::GetInstance();
  return context->get_param<std::string>(mindspore::MS_CTX_DEVICE_TARGET) == mindspore::kAscendDevice;
}

}  // namespace

Target CurrentTarget() {
  const Options &options = Options::Instance();
  if (!IsForAscend(options.target)) return Target::kCpu;
  return options.ascendc ? Target::kAscendC : Target::kAscend;
}

const char *FusedOperator(Target target) {
  return target == Target::kAscendC ? kDecodeOperator : kBuiltInOperator;
}

std::optional<Refusal> CheckLimits(const AttentionSite &site, Target target) {
  if (site.head_size > kLargestHeadSize) {
    return Refusal{"head_size",
                   "the head size is " + std::to_string(site.head_size) + ", the operator takes at most 512",
                   site.key};
  }
  return target == Target::kCpu ? std::nullopt : CheckAscendLimits(site);
}

}  // namespace ifa::passes
