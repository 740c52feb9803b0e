// The definition of the operator IfaDecode: IncreFlashAttention under a name of its own, with key and value
// as plain tensors.
#include <vector>

#include "kernels/ascendc/op_host/ifa_decode_inputs.h"

namespace ops {
namespace {

using Types = std::vector<ge::DataType>;

/// The types of query, of key and value, and of the output that go together.
const Types kQueryTypes = {ge::DT_FLOAT16, ge::DT_BF16, ge::DT_FLOAT16, ge::DT_BF16,
                           ge::DT_FLOAT16, ge::DT_BF16, ge::DT_FLOAT16, ge::DT_BF16};
const Types kCacheTypes = {ge::DT_FLOAT16, ge::DT_BF16, ge::DT_FLOAT16, ge::DT_BF16,
                           ge::DT_INT8,    ge::DT_INT8, ge::DT_INT8,    ge::DT_INT8};
const Types kOutputTypes = {ge::DT_FLOAT16, ge::DT_BF16, ge::DT_INT8, ge::DT_INT8,
                            ge::DT_FLOAT16, ge::DT_BF16, ge::DT_INT8, ge::DT_INT8};
/// Each of which goes with all of these.
const Types kMaskTypes = {ge::DT_BOOL, ge::DT_INT8, ge::DT_UINT8};

/// A definition lists whole combinations: those above, once for each type of the mask.
Types ForEachMask(const Types &types) {
  Types all;
  for (size_t i = 0; i < kMaskTypes.size(); ++i) all.insert(all.end(), types.begin(), types.end());
  return all;
}

Types MaskTypes() {
  Types all;
  for (const ge::DataType type : kMaskTypes) all.insert(all.end(), kQueryTypes.size(), type);
  return all;
}

Types Always(ge::DataType type) { return Types(kQueryTypes.size() * kMaskTypes.size(), type); }

}  // namespace

class IfaDecode : public OpDef {
 public:
  explicit IfaDecode(const char *name) : OpDef(name) {
    const Types query = ForEachMask(kQueryTypes);
    const Types cache = ForEachMask(kCacheTypes);
    Add("query", REQUIRED, query);
    Add("key", REQUIRED, cache);
    Add("value", REQUIRED, cache);
    Add("pse_shift", OPTIONAL, query);
    Add("attn_mask", OPTIONAL, MaskTypes());
    // Where the host knows the lengths, the plan is made for them.
    Add("actual_seq_lengths", OPTIONAL, Always(ge::DT_INT64)).ValueDepend(OPTIONAL);
    Add("dequant_scale1", OPTIONAL, Always(ge::DT_FLOAT));
    Add("quant_scale1", OPTIONAL, Always(ge::DT_FLOAT));
    Add("dequant_scale2", OPTIONAL, Always(ge::DT_FLOAT));
    Add("quant_scale2", OPTIONAL, Always(ge::DT_FLOAT));
    Add("quant_offset2", OPTIONAL, Always(ge::DT_FLOAT));
    Add("antiquant_scale", OPTIONAL, query);
    Add("antiquant_offset", OPTIONAL, query);
    Add("block_table", OPTIONAL, Always(ge::DT_INT32));
    Add("kv_padding_size", OPTIONAL, Always(ge::DT_INT64));
    Describe(this->Output("attention_out"), REQUIRED, ForEachMask(kOutputTypes));
    this->Attr("num_heads").AttrType(REQUIRED).Int();
    this->Attr("scale_value").AttrType(OPTIONAL).Float(1.0);
    this->Attr("input_layout").AttrType(OPTIONAL).String("BSH");
    this->Attr("num_key_value_heads").AttrType(OPTIONAL).Int(0);
    this->Attr("block_size").AttrType(OPTIONAL).Int(0);
    this->Attr("inner_precise").AttrType(OPTIONAL).Int(1);
    this->SetInferShape(ifa::ascendc::InferShape).SetInferDataType(ifa::ascendc::InferDataType);
    this->AICore().SetTiling(ifa::ascendc::PlanTiling).AddConfig("ascend910b");
  }

 private:
  OpParamDef &Add(const char *name, Option presence, const Types &types) {
    return Describe(this->Input(name), presence, types);
  }

  static OpParamDef &Describe(OpParamDef &parameter, Option presence, const Types &types) {
    const std::vector<ge::Format> formats(types.size(), ge::FORMAT_ND);
    return parameter.ParamType(presence)
        .DataType(types)
        .Format(formats)
        .UnknownShapeFormat(formats)
        .AutoContiguous();
  }
};

OP_ADD(IfaDecode);

}  // namespace ops
