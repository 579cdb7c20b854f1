// What an error means for a batch: retry it, work around it, set a row aside, or stop.
//
// Pure. SQLSTATE classes: PostgreSQL documentation, appendix A.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace pgbackfill::planner {

enum class Trouble {
  kRowData,           // the data of some row: bisect to it
  kLockTimeout,       // somebody holds a row: work around it
  kStatementTimeout,  // the batch is too large: halve it
  kCancelled,         // somebody cancelled the statement: try again
  kConflict,          // deadlock, serialization failure: try again
  kConnection,        // link or server gone: outcome unknown, read the state
  kFenced,            // the range is not ours as we know it: read the state
  kNotWritable,       // read-only server, standby: find the primary again
  kResources,         // too many connections, memory: wait, try again
  kFatal,             // a repeat would fail the same way
};

// SQLSTATEs of our own, raised by functions in schema pgbackfill.
inline constexpr char kFencedState[] = "BF001";   // fence: epoch, sequence or cursor differ
inline constexpr char kRepeatState[] = "BF002";   // paging by block: a changed row still satisfies `where`
inline constexpr char kBudgetState[] = "BF003";   // quarantine budget used up
inline constexpr char kMovedState[] = "BF004";    // the name is of another table now, or the leaf is no part of it
inline constexpr char kFanOutState[] = "BF005";   // far more rows changed than the batch has keys
inline constexpr char kKeyLeftState[] = "BF006";  // rows whose key has left the batch
inline constexpr char kProgramState[] = "BF008";  // a program of the user failed, or refused a row

// Used for failures that libpq reports without SQLSTATE: the link is gone.
inline constexpr char kLinkLostState[] = "08006";

// `elapsed` against `statement_timeout` tells a timeout from a cancel: both are 57014 and the text is translated.
Trouble classify(std::string_view sqlstate, std::chrono::milliseconds elapsed,
                 std::chrono::milliseconds statement_timeout);

// Errors of syntax, names, rights and features: of the statement as a rule, or raised by a trigger or a function for
// some rows alone. The code does not tell; a statement without rows does.
bool may_be_of_statement(std::string_view sqlstate);

// One word or two for logs: "deadlock", "lock timeout".
std::string describe(Trouble trouble);

}  // namespace pgbackfill::planner
