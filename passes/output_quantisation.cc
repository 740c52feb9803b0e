#include "passes/output_quantisation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "passes/affine_row.h"
#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;

/// What was met behind the value matmul.
struct Met {
  std::vector<AffineTerm> terms;
  bool rounded = false;
  double lowest = -std::numeric_limits<double>::infinity();
  double highest = std::numeric_limits<double>::infinity();

  bool bounded() const { return std::isfinite(lowest) || std::isfinite(highest); }
};

/// The shape (1, 1|N, 1, 1|D) of a tensor that varies by head and by channel, or not at all.
std::optional<Shape> ShapeOfParameter(const AttentionSite &site, const AffineTerm &term) {
  const auto shape = ShapeOf(term.parameter);
  if (!shape) return std::nullopt;
  View view(*shape);
  if (!view.BroadcastTo(term.shape)) return std::nullopt;
  const auto parts = Split(Concatenated(view.axes()), {site.batch, site.query_heads(), site.head_size});
  return parts ? ShapeByHeadAndChannel((*parts)[1], (*parts)[2], *shape) : std::nullopt;
}

/// Whether the terms are the same for all heads and channels.
bool IsUniform(const AttentionSite &site, const std::vector<AffineTerm> &terms) {
  return std::all_of(terms.begin(), terms.end(), [&](const AffineTerm &term) {
    return NumberOf(term.parameter) || ShapeOfParameter(site, term) == Shape{1, 1, 1, 1};
  });
}

/// The product comes before the sum, and both before rounding and saturation, between which the order does
/// not matter: the bounds are integers.
bool TakeAffine(const AttentionSite &site, const CNodePtr &node, const AnfNodePtr &input, Met *met) {
  const auto found = AffineOf(node, input);
  if (!found || met->rounded || met->bounded()) return false;
  const AffineTerm &term = *found;
  if (!term.shifts() && !met->terms.empty() && met->terms.back().shifts()) return false;
  if (!NumberOf(term.parameter) && !ShapeOfParameter(site, term)) return false;
  met->terms.push_back(term);
  return true;
}

bool TakeBounds(const CNodePtr &node, const AnfNodePtr &input, Met *met) {
  const auto bound = NumberOf(Operand(node, Operand(node, 0) == input ? 1 : 0));
  if (!bound || ShapeOf(node) != ShapeOf(input)) return false;
  if (IsOp(node, "Maximum")) {
    met->lowest = std::max(met->lowest, *bound);
  } else if (IsOp(node, "Minimum")) {
    met->highest = std::min(met->highest, *bound);
  } else if (const auto upper = NumberOf(Operand(node, 2)); IsOp(node, "ClampScalar") && upper) {
    met->lowest = std::max(met->lowest, *bound);
    met->highest = std::min(met->highest, *upper);
  } else {
    return false;
  }
  return true;
}

bool TakeRound(const CNodePtr &node, Met *met) {
  const auto decimals = IntegersOf(Operand(node, 1));
  if (!IsOp(node, "Round") || (Operand(node, 1) != nullptr && decimals != Shape{0})) return false;
  met->rounded = true;
  return true;
}

}  // namespace

std::optional<OutputQuantisation> OutputQuantisationOf(const AttentionSite &site) {
  AnfNodePtr node = site.product();
  View view(*ShapeOf(node));
  Met met;
  while (true) {
    const auto users = UsersOf(node);
    if (users.size() != 1) return std::nullopt;
    const CNodePtr &user = users.front();
    if (user->func_graph() != node->func_graph() || MonadOf(user) != nullptr) return std::nullopt;
    if (IsOp(user, "Cast") && IsInt8(user)) {
      // Numbers beyond int8 would not be saturated, but cut; with paged caches the operator takes one scale.
      const bool saturated = met.rounded && met.lowest == -128 && met.highest == 127;
      const bool taken = saturated && (!site.paging || IsUniform(site, met.terms));
      return taken ? std::optional<OutputQuantisation>({user, met.terms}) : std::nullopt;
    }
    if (IsView(user)) {
      if (!ApplyView(user, &view) || !IsSourceInOrder(Concatenated(view.axes()), *ShapeOf(site.product())))
        return std::nullopt;
    } else if (!IsFloatCast(user) && !TakeAffine(site, user, node, &met) && !TakeBounds(user, node, &met) &&
               !TakeRound(user, &met)) {
      return std::nullopt;
    }
    node = user;
  }
}

OutputScale BuildOutputScale(const GraphBuilder &builder, const AttentionSite &site) {
  if (!site.output) return {builder.None(), builder.None()};
  const auto &terms = site.output->terms;
  const bool uniform = IsUniform(site, terms);
  const Shape row = uniform ? Shape{1} : Shape{1, site.query_heads(), 1, site.head_size};
  AffineRow scale(false, row);
  AffineRow offset(true, row);
  for (const AffineTerm &term : terms) {
    AffineRow &joined = term.shifts() ? offset : scale;
    if (const auto number = NumberOf(term.parameter)) {
      joined.Join(term.kind, *number);
    } else {
      const Shape shape = uniform ? Shape{1} : *ShapeOfParameter(site, term);
      joined.Join(builder, term.kind, builder.Reshape(term.parameter, shape));
    }
  }
  const bool is_row = uniform || site.layout == KvLayout::kBnsd;
  const Shape result = is_row ? row : Shape{1, 1, site.query_heads() * site.head_size};
  return {builder.Reshape(scale.Build(builder), result),
          offset.number() == 0.0 ? builder.None() : builder.Reshape(offset.Build(builder), result)};
}

}  // namespace ifa::passes
