// The SQL of `dedupe`: which rows go, which of their group stays, and what keeps it from going too.
//
// Pure text. Of each group the first row stays, by the order of the file and then by the key. A row goes only in a
// transaction that holds another row of its group locked, read anew under the lock: whoever deletes or changes that one
// meanwhile was either before it, and is seen, or waits until the batch is committed. So no group is ever lost,
// whatever others do. Settings of the transaction: pgbackfill.kept has the keys of the rows that are locked to stay.
#pragma once

#include <string>

#include "planner/work/work_sql.h"

namespace pgbackfill::planner {

// Of the row of the table: another one of its group comes before it, and both are among those that are looked at.
std::string is_duplicate(WorkTarget const& target);

// ORDER BY what the file says, and then the key.
std::string order_of_group(WorkTarget const& target);

BatchWork dedupe_batch(WorkTarget const& target, std::string const& condition, BatchMode mode);
BatchWork dedupe_visit(WorkTarget const& target);

}  // namespace pgbackfill::planner
