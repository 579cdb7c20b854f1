#include "planner/trouble.h"

#include <initializer_list>

namespace pgbackfill::planner {

namespace {

bool is_one_of(std::string_view sqlstate, std::initializer_list<std::string_view> states) {
  for (auto const state : states) {
    if (sqlstate == state) return true;
  }
  return false;
}

}  // namespace

Trouble classify(std::string_view sqlstate, std::chrono::milliseconds elapsed,
                 std::chrono::milliseconds statement_timeout) {
  if (sqlstate.size() != 5) return Trouble::kConnection;
  std::string_view const klass = sqlstate.substr(0, 2);
  if (sqlstate == kFencedState) return Trouble::kFenced;
  if (sqlstate == kRepeatState || sqlstate == kBudgetState) return Trouble::kFatal;
  if (sqlstate == "55P03") return Trouble::kLockTimeout;
  if (sqlstate == "57014") return elapsed >= statement_timeout ? Trouble::kStatementTimeout : Trouble::kCancelled;
  // 25P03: the server closed an idle transaction; 25P04: transaction_timeout. Both end the session or transaction.
  if (is_one_of(sqlstate, {"40P01", "40001", "55006", "25P04"})) return Trouble::kConflict;
  // 57P01 admin shutdown, 57P02 crash shutdown, 57P03 cannot connect now, 57P05 idle session timeout.
  if (klass == "08" || is_one_of(sqlstate, {"57P01", "57P02", "57P03", "57P05", "25P03"})) return Trouble::kConnection;
  if (sqlstate == "25006") return Trouble::kNotWritable;
  // 53100 is a full disk: repeating makes it worse.
  if (is_one_of(sqlstate, {"53200", "53300", "53400", "55000"})) return Trouble::kResources;
  // 22 data exception, 23 constraint violation, 44 WITH CHECK OPTION, P0 raised by a trigger or function,
  // 38/39 external routines, 54 program limit (an index row too large), 21 cardinality.
  if (klass == "22" || klass == "23" || klass == "44" || klass == "P0" || klass == "38" || klass == "39" ||
      klass == "54" || klass == "21") {
    return Trouble::kRowData;
  }
  return Trouble::kFatal;
}

std::string describe(Trouble trouble) {
  switch (trouble) {
    case Trouble::kRowData:
      return "bad row";
    case Trouble::kLockTimeout:
      return "lock timeout";
    case Trouble::kStatementTimeout:
      return "statement timeout";
    case Trouble::kCancelled:
      return "cancelled";
    case Trouble::kConflict:
      return "deadlock or serialization failure";
    case Trouble::kConnection:
      return "connection lost";
    case Trouble::kFenced:
      return "fenced off";
    case Trouble::kNotWritable:
      return "server is read-only";
    case Trouble::kResources:
      return "server is short of resources";
    case Trouble::kFatal:
      return "error";
  }
  return "error";
}

}  // namespace pgbackfill::planner
