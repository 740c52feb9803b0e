#include <algorithm>
#include <vector>

#include "passes/steps.h"

namespace ifa::passes {
namespace {

using mindspore::AnfNodePtr;
using mindspore::CNodePtr;

bool IsViewOfMemory(const AnfNodePtr &node) { return IsView(node) && MonadOf(node) != nullptr; }
bool IsRead(const AnfNodePtr &node) { return IsOp(node, "Load") || IsViewOfMemory(node); }

/// Whether everything that takes the node's memory in the order of side effects only reads it.
bool OnlyRead(const AnfNodePtr &node) {
  const auto users = UsersOf(node);
  return std::all_of(users.begin(), users.end(),
                     [](const CNodePtr &user) { return MonadOf(user) == nullptr || IsRead(user); });
}

/// What an UpdateState orders, those in a MakeTuple one by one.
std::vector<AnfNodePtr> OrderedBy(const AnfNodePtr &state) {
  std::vector<AnfNodePtr> ordered;
  for (size_t i = 1; i < OperandCount(state); ++i) {
    const AnfNodePtr attached = Operand(state, i);
    if (!IsOp(attached, "MakeTuple")) ordered.push_back(attached);
    for (size_t j = 0; IsOp(attached, "MakeTuple") && j < OperandCount(attached); ++j) {
      ordered.push_back(Operand(attached, j));
    }
  }
  return ordered;
}

/// Whether only reads happen from the state `from` to the later state `to`.
bool NothingWritten(const AnfNodePtr &from, AnfNodePtr to) {
  while (to != from) {
    const auto ordered = OrderedBy(to);
    if (!IsOp(to, "UpdateState") || !std::all_of(ordered.begin(), ordered.end(), IsRead)) return false;
    to = Operand(to, 0);
  }
  return true;
}

/// A view or Load that nothing uses but the order of side effects.
bool IsUnused(const AnfNodePtr &node) {
  const auto users = UsersOf(node);
  return std::all_of(users.begin(), users.end(), [](const CNodePtr &user) {
    return IsOp(user, "MakeTuple") && UsersOf(user).empty();  // what one UpdateState orders
  });
}

/// The UpdateStates that order the node, directly or in a MakeTuple.
std::vector<CNodePtr> StatesOf(const AnfNodePtr &node) {
  std::vector<CNodePtr> states;
  auto &users = node->func_graph()->manager()->node_users();
  std::vector<AnfNodePtr> open{node};
  for (size_t i = 0; i < open.size(); ++i) {
    for (const auto &use : users[open[i]]) {
      if (IsOp(use.first, "UpdateState")) states.push_back(use.first->cast<CNodePtr>());
      if (IsOp(use.first, "MakeTuple") && i == 0) open.push_back(use.first);
    }
  }
  return states;
}

bool OrdersNothing(const CNodePtr &state) {
  const auto ordered = OrderedBy(state);
  return std::all_of(ordered.begin(), ordered.end(),
                     [](const AnfNodePtr &node) { return IsRead(node) && IsUnused(node); });
}

}  // namespace

AnfNodePtr LoadedView(const AnfNodePtr &node) {
  if (!IsOp(node, "Load") || MonadOf(node) == nullptr || OpName(Operand(node, 0)).empty()) return nullptr;
  const AnfNodePtr view = Operand(node, 0);
  if (!IsViewOfMemory(view))
    return MonadOf(view) == nullptr && !IsOp(view, "Depend") && OnlyRead(view) ? view : nullptr;
  AnfNodePtr memory = view;
  AnfNodePtr taken_at;  // the state at which the first view was taken
  while (IsViewOfMemory(memory)) {
    if (!OnlyRead(memory)) return nullptr;
    taken_at = MonadOf(memory);
    memory = Operand(memory, 0);
  }
  return OnlyRead(memory) && NothingWritten(taken_at, MonadOf(node)) ? view : nullptr;
}

AnfNodePtr ViewedBy(const AnfNodePtr &node, const AnfNodePtr &below) {
  if (const AnfNodePtr view = LoadedView(node)) return view;
  // A view that shares memory has a definite value only where it is loaded.
  const bool definite = MonadOf(node) == nullptr || (below != nullptr && MonadOf(below) != nullptr);
  return IsView(node) && definite ? ViewSource(node) : nullptr;
}

void DropUnusedViews(const std::vector<AnfNodePtr> &views) {
  bool dropped = false;
  for (const AnfNodePtr &view : views) {
    if (view->func_graph() == nullptr || !IsRead(view) || !IsUnused(view)) continue;
    for (const CNodePtr &state : StatesOf(view)) {
      if (!OrdersNothing(state)) continue;
      state->func_graph()->manager()->Replace(state, Operand(state, 0));
      dropped = true;
    }
  }
  if (dropped) DropUnusedViews(views);  // of which some may have been used by those alone
}

}  // namespace ifa::passes
