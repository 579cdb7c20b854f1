#include "planner/lint/verdict.h"

#include <algorithm>
#include <utility>

namespace pgbackfill::planner::lint {

void Verdict::touch(std::string const& relation, LockMode lock, Work work) {
  if (facts_.is_new(relation)) return;
  auto const known =
      std::find_if(effects_.begin(), effects_.end(), [&](Effect const& effect) { return effect.relation == relation; });
  if (known == effects_.end()) {
    effects_.push_back({relation, lock, work});
    return;
  }
  known->lock = std::max(known->lock, lock);
  known->work = std::max(known->work, work);
}

void Verdict::report(Remark remark) {
  if (facts_.is_new(remark.relation)) return;
  if (!remark.relation.empty()) touch(remark.relation, remark.lock, remark.work);
  remarks_.push_back(std::move(remark));
}

void Verdict::report_always(Remark remark) {
  if (!remark.relation.empty()) touch(remark.relation, remark.lock, remark.work);
  remarks_.push_back(std::move(remark));
}

bool has_option(SyntaxNode statement, std::string_view field, std::string_view name) {
  for (auto const& option : statement.list(field)) {
    if (option.text("defname") != name) continue;
    auto const value = option.get("arg");
    auto const word = value.text("sval");
    bool const is_off = word == "false" || word == "off" || word == "0" ||
                        (value.is("Integer") && value.number("ival") == 0) ||
                        (value.is("Boolean") && !value.flag("boolval"));
    return !is_off || !value;
  }
  return false;
}

}  // namespace pgbackfill::planner::lint
