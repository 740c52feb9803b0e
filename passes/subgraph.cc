#include "passes/subgraph.h"

#include <string>
#include <utility>

#include "mindspore/core/include/ops/op_def.h"
#include "passes/steps.h"
#include "passes/target.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;
using Nodes = std::vector<AnfNodePtr>;

/// What a node takes, and as which of its operands.
struct Taken {
  size_t index;
  AnfNodePtr node;
};

/// With tuples opened.
std::vector<Taken> TakenBy(const AnfNodePtr &node) {
  std::vector<Taken> taken;
  for (size_t i = 0; i < OperandCount(node); ++i) {
    const AnfNodePtr operand = Operand(node, i);
    const bool is_tuple = IsOp(operand, "MakeTuple");
    if (!is_tuple) taken.push_back({i, operand});
    for (size_t j = 0; is_tuple && j < OperandCount(operand); ++j) taken.push_back({i, Operand(operand, j)});
  }
  return taken;
}

Nodes InputsOf(const AnfNodePtr &node) {
  Nodes nodes;
  for (Taken &taken : TakenBy(node)) nodes.push_back(std::move(taken.node));
  return nodes;
}

/// The names of a node's operands, "" where MindSpore does not tell.
class OperandNames {
 public:
  explicit OperandNames(const AnfNodePtr &node) : definition_(mindspore::ops::GetOpDef(OpName(node))) {}

  std::string Of(const Taken &taken) const {
    const bool named = definition_ != nullptr && taken.index < definition_->args_.size();
    return named ? definition_->args_[taken.index].arg_name_ : std::string();
  }

 private:
  const mindspore::ops::OpDef *definition_;
};

/// Whether it holds numbers that are not known at compile time, or not all the same.
bool IsTensor(const AnfNodePtr &node) { return ShapeOf(node).has_value() && !NumberOf(node); }

/// "name=value" of an operand that is drawn with the node, "" of one that is not worth it.
std::string AttributeOf(const AnfNodePtr &node, const AnfNodePtr &operand, const std::string &name) {
  std::string text;
  if (const auto number = NumberOf(operand); number && ShapeOf(operand)) {
    text = mindspore::MakeValue(static_cast<float>(*number))->ToString();
  } else if (operand->isa<mindspore::ValueNode>() && !ShapeOf(operand)) {
    const auto value = mindspore::GetValueNode(operand);
    const bool is_flag_off = FlagOf(operand) == false;
    if (!value->isa<mindspore::None>() && !value->isa<mindspore::Monad>() && !is_flag_off)
      text = value->ToString();
  }
  if (text.empty() || (IsOp(node, "Cast") && name == "dtype")) return "";
  if (name == "input_layout") text = text == "1" ? "BNSD" : "BSH";
  return name.empty() ? text : name + "=" + text;
}

std::string OperatorText(const AnfNodePtr &node) {
  if (node->isa<mindspore::Parameter>()) return "Parameter";
  if (node->isa<mindspore::ValueNode>()) return "Constant";
  return OpName(node).empty() ? "Call" : OpName(node);
}

SiteNode Described(const AnfNodePtr &node, const std::string &role) {
  // What is loaded from a parameter is the parameter.
  const bool is_load = IsOp(node, "Load") && Operand(node, 0)->isa<mindspore::Parameter>();
  const AnfNodePtr shown = is_load ? Operand(node, 0) : node;
  SiteNode described;
  described.op = OperatorText(shown);
  described.shape = ShapeOf(node);
  described.role = role;
  if (TypeOf(node) != mindspore::kTypeUnknown) described.type = mindspore::TypeIdToString(TypeOf(node), true);
  if (const auto parameter = shown->cast<mindspore::ParameterPtr>()) {
    described.attributes.push_back("name=" + parameter->ToString());
  }
  return described;
}

/// Nodes in the order in which they are added, each with its role.
class Members {
 public:
  bool Has(const AnfNodePtr &node) const { return roles_.count(node) != 0; }

  void Add(const AnfNodePtr &node, const std::string &role) {
    const auto [known, is_new] = roles_.emplace(node, role);
    if (is_new) order_.push_back(node);
    if (!is_new && known->second != role) known->second += ", " + role;  // one cache is both key and value
  }

  /// With inputs before what uses them.
  Subgraph Sorted() const {
    Subgraph subgraph;
    for (const AnfNodePtr &node : order_) Sort(node, &subgraph);
    return subgraph;
  }

 private:
  size_t Sort(const AnfNodePtr &node, Subgraph *subgraph) const {
    if (const auto known = subgraph->index.find(node); known != subgraph->index.end()) return known->second;
    SiteNode described = Described(node, roles_.at(node));
    std::vector<std::string> attributes;
    const OperandNames names(node);
    for (const Taken &taken : TakenBy(node)) {
      const std::string name = names.Of(taken);
      if (Has(taken.node)) described.inputs.emplace_back(name, Sort(taken.node, subgraph));
      const std::string attribute = AttributeOf(node, taken.node, name);
      if (!attribute.empty()) attributes.push_back(attribute);
    }
    // What makes an operand is outside the site.
    if (!described.inputs.empty()) described.attributes = std::move(attributes);
    subgraph->nodes.push_back(std::move(described));
    return subgraph->index[node] = subgraph->nodes.size() - 1;
  }

  Nodes order_;
  std::unordered_map<AnfNodePtr, std::string> roles_;
};

/// What lies on the ways from a node to the nearest end ahead, both included; the node alone where none is
/// near.
template <typename Ahead, typename Back, typename IsEnd>
Nodes WaysTo(const IsEnd &is_end, const AnfNodePtr &from, const Ahead &ahead, const Back &back) {
  constexpr size_t kNear = 256;  // nodes; attention that is written out has about ten
  Nodes open{from};
  std::unordered_set<AnfNodePtr> seen{from};
  size_t i = 0;
  while (i < open.size() && i < kNear && !is_end(open[i])) {
    for (const AnfNodePtr &next : ahead(open[i])) {
      if (seen.insert(next).second) open.push_back(next);
    }
    ++i;
  }
  if (i == open.size() || i == kNear) return {from};
  Nodes ways{open[i]};
  std::unordered_set<AnfNodePtr> taken{open[i]};
  for (size_t j = 0; j < ways.size(); ++j) {
    for (const AnfNodePtr &next : back(ways[j])) {
      if (seen.count(next) != 0 && taken.insert(next).second) ways.push_back(next);
    }
  }
  return ways;
}

/// Whether a view holds elements more than once.
bool Repeats(const AnfNodePtr &view) {
  const std::string op = OpName(view);
  const bool can = op == "Tile" || op == "RepeatInterleaveInt" || op == "BroadcastTo" ||
                   op == "BroadcastToView" || op == "Stack";
  return can && ShapeOf(view) != ShapeOf(Operand(view, 0));
}

bool IsSelect(const AnfNodePtr &node) {
  return IsOp(node, "Select") || IsOp(node, "MaskedFill") || IsOp(node, "MaskedFillScalar");
}

/// The role of an operation by what it does to its input, wherever it stands.
std::string RoleOf(const AnfNodePtr &node, const std::string &otherwise) {
  Walk ignored;
  if (IsView(node)) return "view";
  if (IsOp(node, "Load")) return "load";
  if (IsOp(node, "Cast") && IsFloat(TypeOf(node)) && IsFloat(TypeOf(Operand(node, 0)))) return "cast";
  return std::holds_alternative<AnfNodePtr>(TakeScale(node, &ignored)) ? "scale" : otherwise;
}

/// Puts the nodes around one softmax together.
class SiteWalk {
 public:
  explicit SiteWalk(const AttentionSite &site)
      : site_(site), passed_(site.passed.begin(), site.passed.end()) {}

  Members Walked(const std::optional<Refusal> &refusal) {
    AddScorePath();
    AddOperands();
    AddOutput();
    if (refusal && refusal->node != nullptr) AddCause(refusal->node);
    return std::move(members_);
  }

 private:
  void AddScorePath() {
    const auto users = [](const AnfNodePtr &node) {
      const auto nodes = UsersOf(node);
      return Nodes(nodes.begin(), nodes.end());
    };
    const auto is = [](const AnfNodePtr &matmul) {
      return [matmul](const AnfNodePtr &node) {
        return matmul == nullptr ? MatMulOf(node).has_value() : node == matmul;
      };
    };
    const Nodes up = WaysTo(is(site_.score_matmul), site_.softmax, InputsOf, users);
    const Nodes down = WaysTo(is(site_.value_matmul), site_.softmax, users, InputsOf);
    if (MatMulOf(up.front())) score_matmul_ = up.front();
    if (MatMulOf(down.front())) value_matmul_ = down.front();
    path_.insert(up.begin(), up.end());
    path_.insert(down.begin(), down.end());
    softmax_.insert(site_.softmax_nodes.begin(), site_.softmax_nodes.end());
    path_.insert(softmax_.begin(), softmax_.end());
    // One order for both, from the output upwards.
    for (const AnfNodePtr &node : down) AddOfScorePath(node);
    for (const AnfNodePtr &node : site_.softmax_nodes) AddOfScorePath(node);
    for (auto node = up.rbegin(); node != up.rend(); ++node) AddOfScorePath(*node);
  }

  void AddOfScorePath(const AnfNodePtr &node) {
    if (members_.Has(node) || IsOp(node, "MakeTuple")) return;
    if (node == site_.softmax) return members_.Add(node, "softmax");
    if (node == score_matmul_) return members_.Add(node, "score matmul");
    if (node == value_matmul_) return members_.Add(node, "value matmul");
    if (softmax_.count(node) != 0) return members_.Add(node, RoleOf(node, "softmax"));
    std::string role = RoleOf(node, IsSelect(node) ? "mask" : "other");
    for (const AnfNodePtr &side : InputsOf(node)) {
      if (path_.count(side) != 0 || !IsTensor(side)) continue;
      if (IsSum(node)) role = TwoValuedOf(side) ? "mask" : "bias";
      AddSide(side, role);
    }
    members_.Add(node, role);
  }

  /// A mask or bias, down to the condition or tensor that it is made of.
  void AddSide(AnfNodePtr node, const std::string &role) {
    const auto values = TwoValuedOf(node);
    if (values && node != values->condition) {
      members_.Add(node, RoleOf(node, role));
      for (const AnfNodePtr &input : InputsOf(node)) {
        if (IsTensor(input) && !members_.Has(input)) AddSide(input, role);
      }
      return;
    }
    while (IsView(node) && MonadOf(node) == nullptr) {
      members_.Add(node, "view");
      node = Operand(node, 0);
    }
    members_.Add(node, role);
  }

  void AddOperands() {
    if (score_matmul_ != nullptr) {
      const MatMul matmul = *MatMulOf(score_matmul_);
      AddOperand(matmul.lhs, "query", site_.query);
      AddOperand(matmul.rhs, "key", site_.key);
    }
    if (value_matmul_ != nullptr) {
      const MatMul matmul = *MatMulOf(value_matmul_);
      AddOperand(path_.count(matmul.rhs) == 0 ? matmul.rhs : matmul.lhs, "value", site_.value);
    }
  }

  /// @param source where the operator takes it from; null when that was not found out.
  void AddOperand(AnfNodePtr node, const std::string &name, const AnfNodePtr &source) {
    Nodes chain;
    while (node != source && passed_.count(node) != 0) {
      chain.push_back(node);
      node = InputOnChain(node);
    }
    for (const AnfNodePtr &passed : chain) {
      const std::string role = Repeats(passed) ? "KV repeat" : RoleOf(passed, "dequantisation");
      AddWithLeaves(passed, IsInt8(node) && role == "scale" ? "dequantisation" : role, node);
    }
    members_.Add(node, name);
  }

  AnfNodePtr InputOnChain(const AnfNodePtr &node) const {
    if (IsView(node)) return ViewSource(node);
    const AnfNodePtr second = Operand(node, 1);
    return passed_.count(second) != 0 || !IsTensor(Operand(node, 0)) ? second : Operand(node, 0);
  }

  /// The node, and beside its input the tensors that it takes: scales and offsets.
  void AddWithLeaves(const AnfNodePtr &node, const std::string &role, const AnfNodePtr &source) {
    for (const AnfNodePtr &input : InputsOf(node)) {
      const bool inside = passed_.count(input) != 0 || members_.Has(input) || input == source;
      if (!inside && IsTensor(input)) members_.Add(input, role);
    }
    members_.Add(node, role);
  }

  void AddOutput() {
    if (!site_.output) return;
    Nodes chain;
    for (CNodePtr node = site_.product(); node != site_.output->cast;) {
      node = UsersOf(node).front();
      chain.push_back(node);
    }
    for (const AnfNodePtr &node : chain) {
      const std::string role = RoleOf(node, "quantisation");
      AddWithLeaves(node, role == "scale" ? "quantisation" : role, nullptr);
    }
  }

  void AddCause(const AnfNodePtr &cause) {
    if (!members_.Has(cause)) members_.Add(cause, RoleOf(cause, "other"));
    if (path_.count(cause) == 0) return;
    for (const CNodePtr &user : UsersOf(cause)) {
      if (!members_.Has(user)) members_.Add(user, "user");
    }
  }

  const AttentionSite &site_;
  const std::unordered_set<AnfNodePtr> passed_;
  AnfNodePtr score_matmul_;
  AnfNodePtr value_matmul_;
  std::unordered_set<AnfNodePtr> path_;     ///< from the score matmul to the value matmul, and the softmax
  std::unordered_set<AnfNodePtr> softmax_;  ///< all that it consists of
  Members members_;
};

}  // namespace

Subgraph SubgraphRecorder::Before(const Match &match) const {
  return SiteWalk(match.site).Walked(match.refusal).Sorted();
}

Subgraph SubgraphRecorder::After(const AttentionSite &site, const AnfNodePtr &result) {
  made_.insert(site.value_matmul->debug_info());
  const auto is_made = [this](const AnfNodePtr &node) {
    return node->isa<mindspore::CNode>() && made_.count(node->debug_info()) != 0;
  };
  const std::unordered_set<AnfNodePtr> sources{site.query, site.key, site.value};
  const char *fused_operator = FusedOperator(CurrentTarget());
  Members members;
  // Each with the operand of the fused node that it leads to.
  std::vector<std::pair<std::string, AnfNodePtr>> open{{"", result}};
  for (size_t i = 0; i < open.size(); ++i) {
    const auto [part, node] = open[i];
    const bool is_fused = IsOp(node, fused_operator);
    members.Add(node, is_fused ? "fused" : "inserted");
    const OperandNames names(node);
    for (const Taken &taken : TakenBy(node)) {
      if (!IsTensor(taken.node)) continue;
      const std::string name = is_fused ? names.Of(taken) : part;
      if (sources.count(taken.node) != 0 || !is_made(taken.node)) {
        members.Add(taken.node, name);
      } else if (!members.Has(taken.node)) {
        open.emplace_back(name, taken.node);
      }
    }
  }
  return members.Sorted();
}

}  // namespace ifa::passes
