// One call of the AscendC operator in the emulator, behind an interface that ctypes can load. It owns no
// tensor.
#pragma once

#include <cstdint>

#define IFA_ASCENDC_EXPORT __attribute__((visibility("default")))

extern "C" {

/// Of the operator's inputs, in the order of MindSpore's primitive.
constexpr int64_t kIfaAscendcOperands = 15;

struct IfaAscendcOperand {
  int64_t type;  ///< an ifa::cpu::OperandType; kAbsent where the operand is None
  const char *type_name;
  int64_t rank;
  const int64_t *shape;
  const void *data;
};

struct IfaAscendcCall {
  IfaAscendcOperand operands[kIfaAscendcOperands];
  int64_t num_heads, input_layout, num_key_value_heads, block_size, inner_precise;
  double scale_value;
  void *output;                ///< of the query's shape; the query's type, or int8 with quant_scale2
  int64_t cube_cores;          ///< of the processor, at least 1
  int64_t vector_cores;        ///< the same
  int64_t host_knows_lengths;  ///< whether the plan is made with the values of actual_seq_lengths
  int64_t trace;               ///< whether the answer lists every instruction
};

/// Plans the call and runs the device code on as many emulated cores.
///
/// Returns JSON, which is valid until the calling thread's next call. An object of either
///   {"refused": sentence}                                   the call is not taken: nothing ran
///   {"finding": {"check", "file", "line", "problem"}}       the device code broke a rule: the output is void
/// or
///   {"path": "vector" or "cube", "tile_rows", "cores", "split_rows", "workspace_bytes",
///    "cycles", "seconds", "clock_hz", "hbm_bytes_per_second",
///    "pipes": [{"core", "pipe", "busy" cycles, "instructions"}],
///    "tensors": {name: {"read" bytes, "written" bytes}}, "output_complete",
///    "repeats": {instruction: count}, "bytes": {way: count}, "flags": {name: count},
///    "trace": [{"core", "pipe", "name", "start", "end" cycles}]}
/// in which "output_complete" says that every byte of the output was written.
IFA_ASCENDC_EXPORT const char *ifa_ascendc_run(const IfaAscendcCall *call);
}
