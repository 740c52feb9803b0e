// CANN's C interface as far as the operator IfaDecode needs it. It is looked up at run time: what is built
// here needs neither CANN nor its headers, and loads where CANN is not.
#pragma once

#include <cstdint>
#include <string>

struct aclTensor;
struct aclIntArray;
struct aclOpExecutor;

namespace ifa::ascend {

/// Functions that return int return CANN's status, 0 for success.
struct Aclnn {
  /// @param strides, offset  of the view, in elements of the storage
  /// @param memory  on the device; may be null while a call is only planned
  aclTensor *(*create_tensor)(const int64_t *shape, uint64_t rank, int type, const int64_t *strides,
                              int64_t offset, int format, const int64_t *storage_shape, uint64_t storage_rank,
                              void *memory);
  int (*destroy_tensor)(const aclTensor *);
  aclIntArray *(*create_int_array)(const int64_t *values, uint64_t count);  ///< copies the values
  int (*destroy_int_array)(const aclIntArray *);
  const char *(*recent_error)();
  /// The operator's inputs, attributes and output in the order of its definition in op_host; null for an
  /// input that is absent. A plan is good for one call.
  int (*plan)(const aclTensor *query, const aclTensor *key, const aclTensor *value,
              const aclTensor *pse_shift, const aclTensor *attn_mask, const aclIntArray *actual_seq_lengths,
              const aclTensor *dequant_scale1, const aclTensor *quant_scale1, const aclTensor *dequant_scale2,
              const aclTensor *quant_scale2, const aclTensor *quant_offset2, const aclTensor *antiquant_scale,
              const aclTensor *antiquant_offset, const aclTensor *block_table,
              const aclTensor *kv_padding_size, int64_t num_heads, double scale_value, char *input_layout,
              int64_t num_key_value_heads, int64_t block_size, int64_t inner_precise,
              const aclTensor *attention_out, uint64_t *workspace_bytes, aclOpExecutor **executor);
  /// Starts the call on a stream.
  int (*run)(void *workspace, uint64_t workspace_bytes, aclOpExecutor *executor, void *stream);
};

/// Looks everything up in an operator package's library and the libraries of CANN that it is linked against.
/// @return what is not there, or "".
std::string Load(const std::string &operator_library, Aclnn *aclnn);

}  // namespace ifa::ascend
