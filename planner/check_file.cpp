#include "planner/check_file.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace pgbackfill::planner {
namespace {

StepValue const* find(StepValues const& values, std::string_view key) {
  auto const found = std::find_if(values.values.begin(), values.values.end(),
                                  [&](StepValue const& value) { return value.key == key; });
  return found == values.values.end() ? nullptr : &*found;
}

StepValue value_of(StepValues const& values, std::string_view key) {
  auto const* value = find(values, key);
  return value == nullptr ? StepValue{} : *value;
}

TableName table_of(StepValues const& values, std::vector<Problem>& problems) {
  if (auto const* value = find(values, "table")) return value->table;
  if (values.default_table) return *values.default_table;
  problems.push_back({values.position, "'" + std::string{values.word} +
                                           "' has no table; write 'table:' in it or at the top of the file, for "
                                           "example table: public.users"});
  return {};
}

NoOrphansCheck no_orphans(StepValues const& values, std::vector<Problem>& problems) {
  NoOrphansCheck check;
  check.table = table_of(values, problems);
  check.columns = value_of(values, "columns").items;
  check.references = value_of(values, "references").table;
  auto const to = value_of(values, "to");
  check.to = to.items;
  if (check.to.size() != check.columns.size() && !check.to.empty() && !check.columns.empty()) {
    problems.push_back({to.position, "'to' has " + std::to_string(check.to.size()) + " columns and 'columns' " +
                                         std::to_string(check.columns.size()) + "; each refers to one"});
  }
  return check;
}

}  // namespace

Check make_check(StepValues const& values, std::vector<Problem>& problems) {
  Check check;
  check.position = values.position;
  if (values.word == "zero") {
    check.kind = ZeroCheck{value_of(values, "zero").text};
  } else if (values.word == "row_count") {
    check.kind =
        RowCountCheck{table_of(values, problems), value_of(values, "same_as").table, value_of(values, "where").text};
  } else if (values.word == "no_orphans") {
    check.kind = no_orphans(values, problems);
  } else if (values.word == "no_duplicates") {
    check.kind = NoDuplicatesCheck{table_of(values, problems), value_of(values, "columns").items,
                                   value_of(values, "where").text};
  } else {
    check.kind = ConstraintsValidCheck{table_of(values, problems)};
  }
  return check;
}

}  // namespace pgbackfill::planner
