#include "planner/lint/allowance.h"

#include <algorithm>

namespace pgbackfill::planner::lint {
namespace {

std::string_view trimmed(std::string_view text) {
  auto const first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::string_view bare(std::string_view comment) {
  if (comment.starts_with("/*")) {
    comment.remove_prefix(2);
    if (comment.ends_with("*/")) comment.remove_suffix(2);
  } else {
    comment.remove_prefix(std::min(comment.find_first_not_of("-#"), comment.size()));
  }
  return trimmed(comment);
}

std::string_view take_word(std::string_view& text) {
  auto const end = std::min(text.find_first_of(" \t\r\n"), text.size());
  auto const word = text.substr(0, end);
  text = trimmed(text.substr(end));
  return word;
}

}  // namespace

std::optional<Order> read_order(std::string_view comment, std::size_t offset) {
  auto text = bare(comment);
  if (take_word(text) != "pgbackfill:") return std::nullopt;
  Order order;
  order.offset = offset;
  order.words = std::string(text);
  auto const verb = take_word(text);
  if (verb == "one" && text == "transaction") {
    order.kind = OrderKind::kOneTransaction;
  } else if (verb == "no" && text == "transaction") {
    order.kind = OrderKind::kNoTransaction;
  } else if (verb == "allow" && !text.empty()) {
    order.rule = std::string(take_word(text));
    if (take_word(text) == "because") order.reason = std::string(text);
  } else {
    order.kind = OrderKind::kNotUnderstood;
  }
  return order;
}

}  // namespace pgbackfill::planner::lint
