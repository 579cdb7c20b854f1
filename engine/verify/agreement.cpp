#include "engine/verify/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/pg/catalog.h"
#include "engine/run/job_setup.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

struct TypedColumn {
  std::string name;
  std::string type;
};

}  // namespace

asio::awaitable<Result<AgreementPlan>> plan_agreement(PgConnection& connection, planner::Check check) {
  auto const& agrees = std::get<planner::AgreesCheck>(check.kind);
  AgreementPlan plan;
  auto facts = co_await read_table_facts(connection, agrees.table);
  if (!facts) co_return facts.error();
  std::string const name = planner::quote_qualified(agrees.table.schema, agrees.table.name);
  if (!*facts || ((*facts)->kind != 'r' && (*facts)->kind != 'p')) {
    plan.problems.push_back({check.position, *facts ? name + " is not a table whose rows could be compared"
                                                    : "table " + name + " does not exist"});
    plan.only_missing_names = !*facts;
    co_return plan;
  }
  auto const texts = co_await query_read_only(connection, planner::without_equality_sql(agrees));
  if (!texts) co_return texts.error();
  std::vector<std::string> as_text;
  for (auto const& column : state::rows_as<TypedColumn>(*texts)) {
    as_text.push_back(column.name);
    plan.as_text.push_back(fmt::format("{} ({})", column.name, column.type));
  }
  for (auto const& leaf : (*facts)->leaves) {
    auto made = planner::make_agreement_target(check, **facts, leaf, as_text);
    if (auto const* refusal = std::get_if<planner::AgreementRefusal>(&made)) {
      plan.problems.push_back(refusal->problem);
      plan.only_missing_names = refusal->is_missing_name;
      co_return plan;
    }
    plan.targets.push_back(std::get<planner::AgreementTarget>(std::move(made)));
    plan.rows_per_block.push_back(static_cast<double>(leaf.rows_estimated) /
                                  static_cast<double>(std::max<std::int64_t>(leaf.blocks, 1)));
  }
  if (plan.targets.empty()) co_return plan;
  for (auto const& probe : planner::agreement_probes(plan.targets.front())) {
    auto explained = co_await query_read_only(connection, users_sql("EXPLAIN " + probe.sql));
    if (explained) continue;
    if (is_of_the_moment(explained.error())) co_return explained.error();
    plan.only_missing_names = is_missing_name(explained.error().sqlstate);
    plan.problems.push_back(
        {probe.position, fmt::format("{} ({})", explained.error().message, explained.error().sqlstate)});
    break;
  }
  co_return plan;
}

}  // namespace pgbackfill::engine
