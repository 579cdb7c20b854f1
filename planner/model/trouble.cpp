#include "planner/model/trouble.h"

#include <initializer_list>

namespace pgbackfill::planner {

namespace {

constexpr char kKeyTextState[] = "BF011";  // key_text: the text of a key is that of another key too

bool is_one_of(std::string_view sqlstate, std::initializer_list<std::string_view> states) {
  for (auto const state : states) {
    if (sqlstate == state) return true;
  }
  return false;
}

// Of the server, the session, or the statement as it stands. What is not here may be raised by the data of some row:
// by a cast, a constraint, a trigger with a code of its own, a broken page.
bool is_of_no_row(std::string_view klass) {
  // 0B, 25, 2D, 3B transactions; 26, 34 names in the session; 28 authorization; 3D, 3F databases and schemas; 42
  // syntax, names and rights; 53 resources; 57 operators; 58 the system; F0 configuration.
  return is_one_of(klass, {"0B", "25", "2D", "3B", "26", "34", "28", "3D", "3F", "42", "53", "57", "58", "F0"});
}

}  // namespace

Trouble classify(std::string_view sqlstate, std::chrono::milliseconds elapsed,
                 std::chrono::milliseconds statement_timeout) {
  if (sqlstate.size() != 5) return Trouble::kConnection;
  std::string_view const klass = sqlstate.substr(0, 2);
  if (sqlstate == kFencedState) return Trouble::kFenced;
  if (is_one_of(sqlstate, {kRepeatState, kBudgetState, kMovedState, kFanOutState, kKeyLeftState, kKeyTextState})) {
    return Trouble::kFatal;
  }
  if (sqlstate == "55P03") return Trouble::kLockTimeout;
  if (sqlstate == "57014") return elapsed >= statement_timeout ? Trouble::kStatementTimeout : Trouble::kCancelled;
  // 25P03: the server closed an idle transaction; 25P04: transaction_timeout. Both end the session or transaction.
  if (klass == "40" || is_one_of(sqlstate, {"55006", "25P04"})) return Trouble::kConflict;
  // 57P01 admin shutdown, 57P02 crash shutdown, 57P03 cannot connect now, 57P05 idle session timeout.
  if (klass == "08" || is_one_of(sqlstate, {"57P01", "57P02", "57P03", "57P05", "25P03"})) return Trouble::kConnection;
  if (sqlstate == "25006") return Trouble::kNotWritable;
  // 53100 is a full disk: repeating makes it worse.
  if (is_one_of(sqlstate, {"53200", "53300", "53400"})) return Trouble::kResources;
  return is_of_no_row(klass) ? Trouble::kFatal : Trouble::kRowData;
}

bool may_be_of_statement(std::string_view sqlstate) {
  std::string_view const klass = sqlstate.substr(0, 2);
  return klass == "42" || klass == "3F" || klass == "0A";
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
