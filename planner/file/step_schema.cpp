#include "planner/file/step_schema.h"

#include <array>
#include <string_view>

namespace pgbackfill::planner {
namespace {

constexpr std::array<KeyRule, 2> kTableKeys{{
    {.key = "schema",
     .kind = ValueKind::kIdentifier,
     .doc = "The schema, taken literally; without it the table is found through search_path.",
     .example = "public"},
    {.key = "name",
     .kind = ValueKind::kIdentifier,
     .doc = "The table, taken literally: upper case, dots and quotes need no quoting here.",
     .example = "users",
     .is_required = true},
}};

constexpr KeyRule unsupported_step(std::string_view key, std::string_view sql) {
  return {.key = key, .kind = ValueKind::kUnsupported, .doc = sql, .example = ""};
}

constexpr KeyRule column_rule(std::string_view key, std::string_view doc) {
  return {.key = key, .kind = ValueKind::kIdentifier, .doc = doc, .example = "display_name", .is_required = true};
}

constexpr std::array<KeyRule, 5> kAddColumnKeys{{
    kTableRule,
    column_rule("name", "The new column, taken literally."),
    {.key = "type",
     .kind = ValueKind::kExpression,
     .doc = "Its type as in SQL, with COLLATE if need be.",
     .example = "text",
     .is_required = true},
    {.key = "default",
     .kind = ValueKind::kExpression,
     .doc = "An SQL expression that is the same for all rows, so that no row is written.",
     .example = "0"},
    {.key = "not_null",
     .kind = ValueKind::kFlag,
     .doc = "Whether it refuses NULL from the start.",
     .example = "true",
     .needs = "default"},
}};
constexpr Section kAddColumnSection{"add_column", kAddColumnKeys};

constexpr KeyRule name_rule(std::string_view doc, std::string_view example) {
  return {.key = "name", .kind = ValueKind::kIdentifier, .doc = doc, .example = example, .is_required = true};
}

constexpr std::array<KeyRule, 2> kDropColumnKeys{{kTableRule, column_rule("name", "The column, taken literally.")}};
constexpr Section kDropColumnSection{"drop_column", kDropColumnKeys};

constexpr std::array<KeyRule, 2> kSetNotNullKeys{{kTableRule, column_rule("column", "The column, taken literally.")}};
constexpr Section kSetNotNullSection{"set_not_null", kSetNotNullKeys};

constexpr std::array<std::string_view, 6> kIndexMethods{"btree", "hash", "gin", "gist", "brin", "spgist"};
constexpr std::array<std::string_view, 2> kIndexColumns{"columns", "keys"};
constexpr std::array<KeyRule, 9> kCreateIndexKeys{{
    kTableRule,
    {.key = "name",
     .kind = ValueKind::kIdentifier,
     .doc = "The index, taken literally; it is made in the schema of its table.",
     .example = "users_display_name_idx",
     .is_required = true},
    {.key = "columns",
     .kind = ValueKind::kColumns,
     .doc = "The columns, taken literally.",
     .example = R"(["display_name"])"},
    {.key = "keys",
     .kind = ValueKind::kExpression,
     .doc = "SQL instead of 'columns': what stands between the parentheses of CREATE INDEX.",
     .example = "lower(display_name), id DESC"},
    {.key = "include", .kind = ValueKind::kColumns, .doc = "Further columns to store.", .example = R"(["id"])"},
    {.key = "method",
     .kind = ValueKind::kWord,
     .doc = "The access method; btree without it.",
     .example = "gin",
     .words = kIndexMethods},
    {.key = "where",
     .kind = ValueKind::kExpression,
     .doc = "The condition of a partial index.",
     .example = "display_name IS NOT NULL"},
    {.key = "unique", .kind = ValueKind::kFlag, .doc = "Whether values may appear once only.", .example = "true"},
    {.key = "nulls_not_distinct",
     .kind = ValueKind::kFlag,
     .doc = "Whether NULL may appear once only as well; from PostgreSQL 15 on.",
     .example = "true",
     .needs = "unique"},
}};
constexpr Section kCreateIndexSection{"create_index", kCreateIndexKeys, kIndexColumns};

constexpr std::array<KeyRule, 2> kDropNotNullKeys{{kTableRule, column_rule("column", "The column, taken literally.")}};
constexpr Section kDropNotNullSection{"drop_not_null", kDropNotNullKeys};

constexpr std::array<KeyRule, 3> kSetDefaultKeys{{
    kTableRule,
    column_rule("column", "The column, taken literally."),
    {.key = "value",
     .kind = ValueKind::kExpression,
     .doc = "An SQL expression; rows that are there keep what they have.",
     .example = "now()",
     .is_required = true},
}};
constexpr Section kSetDefaultSection{"set_default", kSetDefaultKeys};

constexpr std::array<KeyRule, 2> kDropDefaultKeys{{kTableRule, column_rule("column", "The column, taken literally.")}};
constexpr Section kDropDefaultSection{"drop_default", kDropDefaultKeys};

constexpr std::array<KeyRule, 3> kChangeTypeKeys{{
    kTableRule,
    column_rule("column", "The column, taken literally."),
    {.key = "type",
     .kind = ValueKind::kExpression,
     .doc = "The new type as in SQL.",
     .example = "varchar(200)",
     .is_required = true},
}};
constexpr Section kChangeTypeSection{"change_type", kChangeTypeKeys};

constexpr std::array<KeyRule, 3> kRenameColumnKeys{{
    kTableRule,
    column_rule("name", "The column, taken literally."),
    {.key = "to",
     .kind = ValueKind::kIdentifier,
     .doc = "Its new name, taken literally.",
     .example = "full_name",
     .is_required = true},
}};
constexpr Section kRenameColumnSection{"rename_column", kRenameColumnKeys};

constexpr std::array<KeyRule, 4> kSwapColumnKeys{{
    kTableRule,
    column_rule("column", "The column that clients use, taken literally."),
    {.key = "with",
     .kind = ValueKind::kIdentifier,
     .doc = "The column that takes its place, taken literally.",
     .example = "id_big",
     .is_required = true},
    {.key = "keep_as",
     .kind = ValueKind::kIdentifier,
     .doc =
         "The name of the old column from then on; its own with _old behind it, cut to 63 bytes, if this is left out.",
     .example = "id_int"},
}};
constexpr Section kSwapColumnSection{"swap_column", kSwapColumnKeys};

constexpr std::array<KeyRule, 3> kAddCheckKeys{{
    kTableRule,
    name_rule("The constraint, taken literally.", "users_age_check"),
    {.key = "check",
     .kind = ValueKind::kExpression,
     .doc = "The condition that every row has to satisfy.",
     .example = "age >= 0",
     .is_required = true},
}};
constexpr Section kAddCheckSection{"add_check", kAddCheckKeys};

constexpr std::array<std::string_view, 5> kForeignKeyWords{"no action", "restrict", "cascade", "set null",
                                                           "set default"};
constexpr KeyRule key_columns_rule(std::string_view example) {
  return {.key = "columns",
          .kind = ValueKind::kColumns,
          .doc = "The columns, taken literally.",
          .example = example,
          .is_required = true};
}
constexpr std::array<KeyRule, 9> kAddForeignKeyKeys{{
    kTableRule,
    name_rule("The constraint, taken literally.", "orders_user_fkey"),
    key_columns_rule(R"(["user_id"])"),
    table_rule("references", "The table that they refer to.", "public.users"),
    {.key = "to",
     .kind = ValueKind::kColumns,
     .doc = "The columns that they refer to; its primary key without this.",
     .example = R"(["id"])"},
    {.key = "on_delete",
     .kind = ValueKind::kWord,
     .doc = "What happens to rows that refer to a row that is deleted.",
     .example = "cascade",
     .words = kForeignKeyWords},
    {.key = "on_update",
     .kind = ValueKind::kWord,
     .doc = "What happens to rows that refer to a row whose key changes.",
     .example = "cascade",
     .words = kForeignKeyWords},
    {.key = "deferrable",
     .kind = ValueKind::kFlag,
     .doc = "Whether a transaction may put the check off until it commits.",
     .example = "true"},
    {.key = "initially_deferred",
     .kind = ValueKind::kFlag,
     .doc = "Whether it is put off without SET CONSTRAINTS.",
     .example = "true",
     .needs = "deferrable"},
}};
constexpr Section kAddForeignKeySection{"add_foreign_key", kAddForeignKeyKeys};

constexpr std::array<KeyRule, 3> kAddUniqueKeys{
    {kTableRule, name_rule("The constraint and its index, taken literally.", "users_email_key"),
     key_columns_rule(R"(["email"])")}};
constexpr Section kAddUniqueSection{"add_unique", kAddUniqueKeys};

constexpr std::array<KeyRule, 3> kAddPrimaryKeyKeys{
    {kTableRule, name_rule("The constraint and its index, taken literally.", "users_pkey"),
     key_columns_rule(R"(["id"])")}};
constexpr Section kAddPrimaryKeySection{"add_primary_key", kAddPrimaryKeyKeys};

constexpr std::array<KeyRule, 3> kSwapPrimaryKeyKeys{
    {kTableRule,
     name_rule("The constraint and its index, taken literally; the old key's name, or another one.", "users_pkey"),
     key_columns_rule(R"(["tenant_id", "id"])")}};
constexpr Section kSwapPrimaryKeySection{"swap_primary_key", kSwapPrimaryKeyKeys};

constexpr std::array<KeyRule, 2> kDropConstraintKeys{
    {kTableRule, name_rule("The constraint, taken literally.", "users_age_check")}};
constexpr Section kDropConstraintSection{"drop_constraint", kDropConstraintKeys};

constexpr std::array<KeyRule, 2> kDropIndexKeys{
    {kTableRule, name_rule("The index of the table, taken literally.", "users_name_idx")}};
constexpr Section kDropIndexSection{"drop_index", kDropIndexKeys};

constexpr std::array<KeyRule, 2> kReindexKeys{
    {kTableRule, name_rule("The index of the table, taken literally.", "users_name_idx")}};
constexpr Section kReindexSection{"reindex", kReindexKeys};

constexpr std::array<std::string_view, 2> kCreateTableForms{"columns", "like"};
constexpr std::array<KeyRule, 3> kCreateTableKeys{{
    table_rule("table", "The new table.", "public.users_v2"),
    {.key = "columns",
     .kind = ValueKind::kExpression,
     .doc = "SQL: what stands between the parentheses of CREATE TABLE.",
     .example = "id bigint PRIMARY KEY, name text NOT NULL"},
    {.key = "like",
     .kind = ValueKind::kTable,
     .doc = "Instead of 'columns': a table whose columns, defaults, indexes and checks it gets.",
     .example = "public.users",
     .section = &kTableSection},
}};
constexpr Section kCreateTableSection{"create_table", kCreateTableKeys, kCreateTableForms};

constexpr std::array<KeyRule, 1> kDropTableKeys{{table_rule("table", "The table.", "public.users_v1")}};
constexpr Section kDropTableSection{"drop_table", kDropTableKeys};

constexpr std::array<KeyRule, 2> kRenameTableKeys{{
    kTableRule,
    {.key = "to",
     .kind = ValueKind::kIdentifier,
     .doc = "Its new name, taken literally; it stays in its schema.",
     .example = "users_v1",
     .is_required = true},
}};
constexpr Section kRenameTableSection{"rename_table", kRenameTableKeys};

constexpr std::array<KeyRule, 4> kAddEnumValueKeys{{
    table_rule("type", "The enum type, written as a table is.", "public.status"),
    {.key = "value",
     .kind = ValueKind::kIdentifier,
     .doc = "The new value, taken literally.",
     .example = "archived",
     .is_required = true},
    {.key = "before",
     .kind = ValueKind::kIdentifier,
     .doc = "The value that it comes before; the last one without this.",
     .example = "deleted",
     .excludes = "after",
     .excludes_hint = "say one of them"},
    {.key = "after", .kind = ValueKind::kIdentifier, .doc = "The value that it comes after.", .example = "active"},
}};
constexpr Section kAddEnumValueSection{"add_enum_value", kAddEnumValueKeys};

constexpr std::array<KeyRule, 2> kDetachPartitionKeys{
    {kTableRule, table_rule("partition", "The partition, which becomes a table of its own.", "public.events_2023")}};
constexpr Section kDetachPartitionSection{"detach_partition", kDetachPartitionKeys};

constexpr std::array<KeyRule, 3> kAttachPartitionKeys{{
    kTableRule,
    table_rule("partition", "The table that becomes a partition, with its rows.", "public.events_2024"),
    {.key = "for_values",
     .kind = ValueKind::kExpression,
     .doc = "SQL: what stands behind FOR VALUES.",
     .example = "FROM ('2024-01-01') TO ('2025-01-01')",
     .is_required = true},
}};
constexpr Section kAttachPartitionSection{"attach_partition", kAttachPartitionKeys};

constexpr std::array<KeyRule, 3> kSwapKeys{{
    kTableRule,
    table_rule("with", "The copy that takes its name: 'copy_to' of the backfill.", "public.users_v2"),
    {.key = "keep_as",
     .kind = ValueKind::kIdentifier,
     .doc = "The name under which the old table stays, taken literally; in the same schema.",
     .example = "users_v1",
     .is_required = true},
}};
constexpr Section kSwapSection{"swap", kSwapKeys};

constexpr KeyRule step_rule(std::string_view key, std::string_view doc, std::string_view example,
                            Section const& section, std::string_view shorthand = {}) {
  return {.key = key,
          .kind = ValueKind::kStep,
          .doc = doc,
          .example = example,
          .section = &section,
          .shorthand = shorthand};
}

constexpr std::array<std::string_view, 26> kStepWords{"sql",
                                                      "add_column",
                                                      "drop_column",
                                                      "rename_column",
                                                      "swap_column",
                                                      "change_type",
                                                      "set_not_null",
                                                      "drop_not_null",
                                                      "set_default",
                                                      "drop_default",
                                                      "add_check",
                                                      "add_foreign_key",
                                                      "add_unique",
                                                      "add_primary_key",
                                                      "swap_primary_key",
                                                      "drop_constraint",
                                                      "create_index",
                                                      "drop_index",
                                                      "reindex",
                                                      "create_table",
                                                      "drop_table",
                                                      "rename_table",
                                                      "add_enum_value",
                                                      "detach_partition",
                                                      "attach_partition",
                                                      "swap"};

constexpr std::array<KeyRule, 29> kStepKeys{{
    {.key = "sql",
     .kind = ValueKind::kStatement,
     .doc = "Any SQL, run as it is: in one transaction under a short lock_timeout, or alone where it has to be.",
     .example = "ALTER TABLE users ADD COLUMN display_name text"},
    {.key = "down",
     .kind = ValueKind::kStatement,
     .doc = "The SQL that undoes an 'sql' step; rollback runs it. Other steps know their way back.",
     .example = "ALTER TABLE users DROP COLUMN display_name",
     .needs = "sql"},
    step_rule("add_column", "Adds a column without writing rows.",
              R"json({"name": "display_name", "type": "text"})json", kAddColumnSection),
    step_rule("drop_column", "Drops a column with all its values.", R"json({"name": "display_name"})json",
              kDropColumnSection, "name"),
    step_rule("rename_column", "Renames a column at once, for clients that can take that.",
              R"json({"name": "name", "to": "full_name"})json", kRenameColumnSection),
    step_rule("swap_column", "Puts a column in the place of another one: name, default, sequence and primary key.",
              R"json({"column": "id", "with": "id_big"})json", kSwapColumnSection),
    step_rule("change_type", "Changes the type of a column where that writes no row; refused where it would.",
              R"json({"column": "name", "type": "text"})json", kChangeTypeSection),
    step_rule("set_not_null",
              "Makes a column NOT NULL; the table is read under a lock that lets reads and writes pass.",
              R"json({"column": "display_name"})json", kSetNotNullSection, "column"),
    step_rule("drop_not_null", "Lets a column be NULL again.", R"json({"column": "display_name"})json",
              kDropNotNullSection, "column"),
    step_rule("set_default", "Gives a column a default for rows that come later.",
              R"json({"column": "created_at", "value": "now()"})json", kSetDefaultSection),
    step_rule("drop_default", "Takes the default of a column away.", R"json({"column": "created_at"})json",
              kDropDefaultSection, "column"),
    step_rule("add_check", "Adds a CHECK NOT VALID, then validates it while reads and writes go on.",
              R"json({"name": "users_age_check", "check": "age >= 0"})json", kAddCheckSection),
    step_rule("add_foreign_key", "Adds a foreign key NOT VALID, then validates it while reads and writes go on.",
              R"json({"name": "orders_user_fkey", "columns": ["user_id"], "references": "public.users"})json",
              kAddForeignKeySection),
    step_rule("add_unique", "Builds a unique index CONCURRENTLY and makes a constraint of it.",
              R"json({"name": "users_email_key", "columns": ["email"]})json", kAddUniqueSection),
    step_rule("add_primary_key", "The same for a primary key; its columns become NOT NULL without a long lock.",
              R"json({"name": "users_pkey", "columns": ["id"]})json", kAddPrimaryKeySection),
    step_rule("swap_primary_key", "Puts another primary key in the place of the one that is there, in one moment.",
              R"json({"name": "users_pkey", "columns": ["tenant_id", "id"]})json", kSwapPrimaryKeySection),
    step_rule("drop_constraint", "Drops a constraint; checks and foreign keys can be taken back.",
              R"json({"name": "users_age_check"})json", kDropConstraintSection, "name"),
    step_rule("create_index", "Builds an index CONCURRENTLY; what an interrupted build leaves behind is removed.",
              R"json({"name": "users_display_name_idx", "columns": ["display_name"]})json", kCreateIndexSection),
    step_rule("drop_index", "Drops an index CONCURRENTLY.", R"json({"name": "users_name_idx"})json", kDropIndexSection,
              "name"),
    step_rule("reindex", "Builds an index anew CONCURRENTLY.", R"json({"name": "users_name_idx"})json", kReindexSection,
              "name"),
    step_rule("create_table", "Makes a table.", R"json({"table": "public.users_v2", "like": "public.users"})json",
              kCreateTableSection),
    step_rule("drop_table", "Drops a table with all its rows.", R"json({"table": "public.users_v1"})json",
              kDropTableSection, "table"),
    step_rule("rename_table", "Renames a table at once, for clients that can take that.",
              R"json({"to": "users_v1"})json", kRenameTableSection),
    step_rule("add_enum_value", "Adds a value to an enum type.",
              R"json({"type": "public.status", "value": "archived"})json", kAddEnumValueSection),
    step_rule("detach_partition", "Makes a partition a table of its own, CONCURRENTLY from PostgreSQL 14 on.",
              R"json({"table": "public.events", "partition": "public.events_2023"})json", kDetachPartitionSection),
    step_rule("attach_partition", "Makes a table a partition; a check of the bounds spares it the scan under a lock.",
              R"json({"partition": "public.events_2024", "for_values": "FROM ('2024-01-01') TO ('2025-01-01')"})json",
              kAttachPartitionSection),
    step_rule("swap", "Lets a copy that 'sync: {mirror: ...}' keeps equal take the place of its table.",
              R"json({"with": "public.users_v2", "keep_as": "users_v1"})json", kSwapSection),
    unsupported_step("add_constraint", "ALTER TABLE users ADD CONSTRAINT age_check CHECK (age >= 0) NOT VALID"),
    unsupported_step("validate_constraint", "ALTER TABLE users VALIDATE CONSTRAINT age_check"),
}};

}  // namespace

constexpr Section kTableSection{"table", kTableKeys};
constexpr Section kStepSection{"step", kStepKeys, kStepWords};

}  // namespace pgbackfill::planner
