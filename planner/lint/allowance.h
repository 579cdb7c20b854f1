// Comments that speak to lint: `-- pgbackfill: allow RULE because REASON`, for the statement that follows.
//
// A silence without a reason is none; who keeps order in a folder of migrations should see why somebody was sure. Pure;
// belongs to one thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::planner::lint {

enum class OrderKind { kAllow, kOneTransaction, kNoTransaction, kNotUnderstood };

struct Order {
  OrderKind kind = OrderKind::kAllow;
  std::size_t offset = 0;  // in the text that holds it
  std::string rule;        // kAllow
  std::string reason;
  std::string words;  // as written
  // Of what follows, where it holds.
  std::size_t scope_begin = 0;
  std::size_t scope_end = 0;
  bool is_used = false;
};

// The order in a comment (with its dashes, or a # in YAML); none if it does not speak to lint.
std::optional<Order> read_order(std::string_view comment, std::size_t offset);

}  // namespace pgbackfill::planner::lint
