#include "planner/file/check_schema.h"

#include <array>
#include <string_view>

#include "planner/file/step_schema.h"

namespace pgbackfill::planner {
namespace {

constexpr KeyRule where_rule(std::string_view doc) {
  return {.key = "where", .kind = ValueKind::kExpression, .doc = doc, .example = "deleted_at IS NULL"};
}

constexpr KeyRule columns_rule(std::string_view key, std::string_view doc, std::string_view example) {
  return {.key = key, .kind = ValueKind::kColumns, .doc = doc, .example = example, .is_required = true};
}

constexpr std::array<KeyRule, 3> kRowCountKeys{{
    kTableRule,
    table_rule("same_as", "The table that has as many rows.", "public.users_v2"),
    where_rule("Which rows of 'table' are counted; all without it."),
}};
constexpr Section kRowCountSection{"row_count", kRowCountKeys};

constexpr std::array<KeyRule, 4> kNoOrphansKeys{{
    kTableRule,
    columns_rule("columns", "The columns that refer to another table, taken literally.", R"(["user_id"])"),
    table_rule("references", "The table that they refer to.", "public.users"),
    columns_rule("to", "Its columns, in the same order.", R"(["id"])"),
}};
constexpr Section kNoOrphansSection{"no_orphans", kNoOrphansKeys};

constexpr std::array<KeyRule, 3> kNoDuplicatesKeys{{
    kTableRule,
    columns_rule("columns", "The columns that are unique together, taken literally.", R"(["email"])"),
    where_rule("Among which rows; all without it."),
}};
constexpr Section kNoDuplicatesSection{"no_duplicates", kNoDuplicatesKeys};

constexpr std::array<KeyRule, 1> kConstraintsValidKeys{{kTableRule}};
constexpr Section kConstraintsValidSection{"constraints_valid", kConstraintsValidKeys};

constexpr std::array<std::string_view, 1> kAllWords{"all"};
constexpr std::array<KeyRule, 1> kSampleKeys{{
    {.key = "rows",
     .kind = ValueKind::kCount,
     .doc = "How many rows, chosen by chance.",
     .example = "1000",
     .is_required = true,
     .min = 1,
     .max = 100'000},
}};
constexpr Section kSampleSection{"rows to ask about", kSampleKeys};

constexpr std::array<std::string_view, 2> kAgreesForms{"set", "compute"};
constexpr std::array<KeyRule, 4> kAgreesKeys{{
    kTableRule,
    {.key = "set",
     .kind = ValueKind::kExpressions,
     .doc = "Columns and what they have to be: SQL expressions over the old columns.",
     .example = R"json({"display_name": "upper(name)"})json"},
    {.key = "compute",
     .kind = ValueKind::kWordOrSection,
     .doc =
         "Asks the program of the backfill again, about all rows or some of them: its answers are what the rows have "
         "to have. For programs that give the same answer each time.",
     .example = R"json({"rows": 1000})json",
     .words = kAllWords,
     .section = &kSampleSection,
     .excludes = "table",
     .excludes_hint = "the program is asked about the rows of the backfill"},
    where_rule("For which rows; all without it."),
}};
constexpr Section kAgreesSection{"agrees", kAgreesKeys, kAgreesForms};

constexpr std::array<std::string_view, 6> kCheckWords{"zero",          "row_count",         "no_orphans",
                                                      "no_duplicates", "constraints_valid", "agrees"};

constexpr std::array<KeyRule, 7> kCheckKeys{{
    {.key = "zero",
     .kind = ValueKind::kStatement,
     .doc = "A query that gives one number, which has to be 0.",
     .example = "SELECT count(*) FROM users WHERE display_name IS NULL"},
    {.key = "row_count",
     .kind = ValueKind::kStep,
     .doc = "The table has as many rows as another one.",
     .example = R"json({"same_as": "public.users_v2"})json",
     .section = &kRowCountSection,
     .shorthand = "same_as"},
    {.key = "no_orphans",
     .kind = ValueKind::kStep,
     .doc = "Columns refer only to rows that are there, as a foreign key would have it.",
     .example = R"json({"columns": ["user_id"], "references": "public.users", "to": ["id"]})json",
     .section = &kNoOrphansSection},
    {.key = "no_duplicates",
     .kind = ValueKind::kStep,
     .doc = "No values appear twice, as a unique index would have it.",
     .example = R"json({"columns": ["email"]})json",
     .section = &kNoDuplicatesSection},
    {.key = "constraints_valid",
     .kind = ValueKind::kStep,
     .doc = "All constraints are validated and all indexes valid, of the table and its partitions.",
     .example = R"json({"table": "public.users"})json",
     .section = &kConstraintsValidSection,
     .shorthand = "table"},
    {.key = "agrees",
     .kind = ValueKind::kSection,
     .doc = "Each column is what its expression gives; counted range by range over the key.",
     .example = R"json({"set": {"display_name": "upper(name)"}})json",
     .section = &kAgreesSection},
    {.key = "timeout",
     .kind = ValueKind::kDuration,
     .doc = "How long each of its statements may take; a check that takes longer has failed. Without it: 1m.",
     .example = "5m",
     .min = 100,
     .max = 86'400'000,
     .excludes = "agrees",
     .excludes_hint = "that one is counted range by range, by short statements"},
}};

}  // namespace

constexpr Section kCheckSection{"verify", kCheckKeys, kCheckWords};

}  // namespace pgbackfill::planner
