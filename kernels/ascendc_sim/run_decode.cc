#include "kernels/ascendc_sim/run_decode.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "kernels/ascendc/op_host/decode_tiling.h"
#include "kernels/ascendc_sim/json_text.h"
#include "sim/finding.h"
#include "sim/global_memory.h"
#include "sim/launch.h"
#include "sim/local_memory.h"

extern "C" void ifa_decode(uint8_t *query, uint8_t *key, uint8_t *value, uint8_t *pse_shift,
                           uint8_t *attn_mask, uint8_t *actual_seq_lengths, uint8_t *dequant_scale1,
                           uint8_t *quant_scale1, uint8_t *dequant_scale2, uint8_t *quant_scale2,
                           uint8_t *quant_offset2, uint8_t *antiquant_scale, uint8_t *antiquant_offset,
                           uint8_t *block_table, uint8_t *kv_padding_size, uint8_t *output,
                           uint8_t *workspace, uint8_t *tiling);

namespace ifa::sim {
namespace {

using ascendc::DecodeTiling;
using cpu::Operand;
using cpu::OperandType;
using cpu::OperatorCall;

/// In the order of IfaAscendcCall.
constexpr struct {
  const char *name;
  Operand OperatorCall::*member;
} kOperands[kIfaAscendcOperands] = {{"query", &OperatorCall::query},
                                    {"key", &OperatorCall::key},
                                    {"value", &OperatorCall::value},
                                    {"attn_mask", &OperatorCall::attn_mask},
                                    {"actual_seq_lengths", &OperatorCall::actual_seq_lengths},
                                    {"pse_shift", &OperatorCall::pse_shift},
                                    {"dequant_scale1", &OperatorCall::dequant_scale1},
                                    {"quant_scale1", &OperatorCall::quant_scale1},
                                    {"dequant_scale2", &OperatorCall::dequant_scale2},
                                    {"quant_scale2", &OperatorCall::quant_scale2},
                                    {"quant_offset2", &OperatorCall::quant_offset2},
                                    {"antiquant_scale", &OperatorCall::antiquant_scale},
                                    {"antiquant_offset", &OperatorCall::antiquant_offset},
                                    {"block_table", &OperatorCall::block_table},
                                    {"kv_padding_size", &OperatorCall::kv_padding_size}};

Operand OperandOf(const IfaAscendcOperand &given) {
  Operand operand;
  operand.type = static_cast<OperandType>(given.type);
  operand.type_name = given.type_name;
  operand.shape.assign(given.shape, given.shape + given.rank);
  return operand;
}

OperatorCall CallOf(const IfaAscendcCall &given) {
  OperatorCall call;
  for (int64_t i = 0; i < kIfaAscendcOperands; ++i) {
    call.*kOperands[i].member = OperandOf(given.operands[i]);
  }
  call.num_heads = given.num_heads;
  call.input_layout = given.input_layout;
  call.scale_value = static_cast<float>(given.scale_value);
  call.num_key_value_heads = given.num_key_value_heads;
  call.block_size = given.block_size;
  call.inner_precise = given.inner_precise;
  return call;
}

uint64_t BytesOf(const Operand &operand) {
  return static_cast<uint64_t>(cpu::ElementCount(operand.shape) * cpu::OperandTypeSize(operand.type));
}

std::vector<int64_t> KnownLengths(const IfaAscendcCall &given, const OperatorCall &call) {
  if (given.host_knows_lengths == 0 || !call.actual_seq_lengths.present()) return {};
  return cpu::ReadLengths(call.actual_seq_lengths, given.operands[4].data, cpu::PlanCall(call));
}

/// The tensors of a launch, registered with exactly the bytes that they have.
class Tensors {
 public:
  Tensors(const IfaAscendcCall &given, const OperatorCall &call, const DecodeTiling &tiling)
      : given_(given), tiling_(tiling), workspace_(tiling.workspaceBytes), output_bytes_(OutputBytes(call)) {
    for (int64_t i = 0; i < kIfaAscendcOperands; ++i) {
      const Operand &operand = call.*kOperands[i].member;
      if (operand.present()) memory_.AddInput(kOperands[i].name, given.operands[i].data, BytesOf(operand));
    }
    memory_.AddInput("tiling", &tiling_, sizeof tiling_);
    memory_.AddOutput("output", given.output, output_bytes_);
    memory_.AddOutput("workspace", workspace_.data(), workspace_.size());
    std::memset(given.output, 0xff, output_bytes_);
  }

  GlobalMemory &memory() { return memory_; }

  bool OutputComplete() const {
    const GlobalRegion &output = *memory_.Find(given_.output);
    for (size_t i = 0; i < output.blocks.size(); ++i) {
      const uint64_t bytes = std::min<uint64_t>(kBlockBytes, output_bytes_ - i * kBlockBytes);
      const uint32_t wanted = static_cast<uint32_t>((uint64_t{1} << bytes) - 1);
      if ((output.blocks[i].written & wanted) != wanted) return false;
    }
    return true;
  }

  void CallKernel() {
    uint8_t *in[kIfaAscendcOperands];
    for (int64_t i = 0; i < kIfaAscendcOperands; ++i) {
      in[i] = static_cast<uint8_t *>(const_cast<void *>(given_.operands[i].data));
    }
    // CANN's order has pse_shift before attn_mask and the lengths.
    ifa_decode(in[0], in[1], in[2], in[5], in[3], in[4], in[6], in[7], in[8], in[9], in[10], in[11], in[12],
               in[13], in[14], static_cast<uint8_t *>(given_.output), workspace_.data(),
               reinterpret_cast<uint8_t *>(&tiling_));
  }

 private:
  static uint64_t OutputBytes(const OperatorCall &call) {
    return static_cast<uint64_t>(cpu::ElementCount(call.query.shape) *
                                 cpu::OperandTypeSize(cpu::OutputType(call)));
  }

  const IfaAscendcCall &given_;
  DecodeTiling tiling_;
  std::vector<uint8_t> workspace_;
  uint64_t output_bytes_;
  GlobalMemory memory_;
};

std::string CountsText(const std::map<std::string, uint64_t> &counts) {
  JsonObject object;
  for (const auto &[name, count] : counts) object.Add(name, count);
  return object.text();
}

std::string ResultText(const DecodeTiling &tiling, const LaunchOptions &options, const LaunchResult &result,
                       bool output_complete) {
  JsonObject tensors;
  for (const TensorTraffic &tensor : result.tensors) {
    tensors.AddText(tensor.name,
                    JsonObject().Add("read", tensor.bytes_read).Add("written", tensor.bytes_written).text());
  }
  const auto pipe = [](const PipeTime &pipe) {
    return JsonObject()
        .Add("core", pipe.core)
        .Add("pipe", pipe.pipe)
        .Add("busy", pipe.busy)
        .Add("instructions", pipe.instructions)
        .text();
  };
  const auto entry = [](const TraceEntry &entry) {
    return JsonObject()
        .Add("core", entry.core)
        .Add("pipe", entry.pipe)
        .Add("name", entry.name)
        .Add("start", entry.start)
        .Add("end", entry.end)
        .text();
  };
  return JsonObject()
      .Add("path", tiling.path == ascendc::kPathVector ? "vector" : "cube")
      .Add("tile_rows", tiling.tileRows)
      .Add("cores", tiling.cores)
      .Add("split_rows", tiling.hasSplitRows != 0)
      .Add("workspace_bytes", tiling.workspaceBytes)
      .Add("cycles", result.cycles)
      .Add("seconds", result.seconds)
      .Add("clock_hz", options.costs.clock)
      .Add("hbm_bytes_per_second", options.costs.hbm_bandwidth)
      .AddText("pipes", JsonArray(result.pipes, pipe))
      .AddText("tensors", tensors.text())
      .Add("output_complete", output_complete)
      .AddText("repeats", CountsText(result.repeats))
      .AddText("bytes", CountsText(result.bytes))
      .AddText("flags", CountsText(result.flags))
      .AddText("trace", JsonArray(result.trace, entry))
      .text();
}

std::string Run(const IfaAscendcCall &given) {
  const OperatorCall call = CallOf(given);
  const DecodeTiling tiling = ascendc::MakeTiling(
      call, KnownLengths(given, call),
      {static_cast<uint32_t>(given.cube_cores), static_cast<uint32_t>(given.vector_cores)});
  Tensors tensors(given, call, tiling);
  LaunchOptions options;
  const bool vector_path = tiling.path == ascendc::kPathVector;
  options.type = vector_path ? KernelType::kMixAiv1_0 : KernelType::kMixAic1_2;
  options.blocks = tiling.cores;
  options.tiling_key = ascendc::TilingKey(call, tiling);
  // An int8 cache is read by the vector cores, of which each cube core has two.
  options.hbm_readers = tiling.cores * (tiling.antiquant == ascendc::kParameterNone ? 1 : 2);
  options.trace = given.trace != 0;
  const LaunchResult result = Launch(tensors.memory(), options, [&tensors] { tensors.CallKernel(); });
  return ResultText(tiling, options, result, tensors.OutputComplete());
}

std::string Answer(const IfaAscendcCall &call) {
  try {
    return Run(call);
  } catch (const cpu::Refusal &refusal) {
    return JsonObject().Add("refused", refusal.what()).text();
  } catch (const Finding &finding) {
    const std::string text = JsonObject()
                                 .Add("check", CheckName(finding.check()))
                                 .Add("file", finding.site().file)
                                 .Add("line", finding.site().line)
                                 .Add("problem", finding.what())
                                 .text();
    return JsonObject().AddText("finding", text).text();
  }
}

}  // namespace
}  // namespace ifa::sim

extern "C" const char *ifa_ascendc_run(const IfaAscendcCall *call) {
  thread_local std::string answer;
  answer = ifa::sim::Answer(*call);
  return answer.c_str();
}
