// What the catalog and the server say against comparing columns with expressions, as a check `agrees` asks for.
//
// Only reads.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "planner/checks/agreement.h"
#include "planner/model/check.h"

namespace pgbackfill::engine {

struct AgreementPlan {
  std::vector<planner::AgreementTarget> targets;  // by leaf
  std::vector<double> rows_per_block;             // by leaf
  std::vector<std::string> as_text;               // "j (json)": columns without equality, compared as texts
  std::vector<planner::Problem> problems;         // with the file's positions; it can be compared when there are none
  // All problems are of names that are not there yet: an expand step may make them.
  bool only_missing_names = false;
};

asio::awaitable<Result<AgreementPlan>> plan_agreement(PgConnection& connection, planner::Check check);

}  // namespace pgbackfill::engine
