// What the recipes of both kinds of `sync:` have in common: questions about our function and triggers, their removal,
// and how the server is asked to spell an expression. For planner/steps/recipes_sync.cpp and
// planner/steps/recipes_mirror.cpp.
//
// Pure text.
#pragma once

#include <string>
#include <vector>

#include "planner/steps/recipes.h"

namespace pgbackfill::planner::recipes::sync {

// The function's quoted name, without parentheses.
std::string function_of(std::string const& migration);
// Its oid or NULL.
std::string function_oid(std::string const& migration);
// Whether it satisfies a condition over pg_proc f.
std::string function_is(std::string const& migration, std::string const& condition);
// Whether the table has a trigger of the name that satisfies a condition over pg_trigger g.
std::string trigger_is(TableName const& table, std::string const& trigger, std::string const& condition);
// Query for the name of the row trigger that is there, whatever its place in the order of triggers.
std::string row_trigger_of(TableName const& table, std::string const& migration);
std::string is_ours(std::string const& migration);
// Always enabled on the table and on all partitions, those that were attached later too; `type` as in
// pg_trigger.tgtype.
std::string is_on_everywhere(TableName const& table, std::string const& migration, std::string const& type);
// Why a function or trigger of these names cannot be ours.
void refuse_foreign(TableName const& table, std::string const& migration, std::vector<std::string> const& triggers,
                    bool is_claimed, std::vector<std::pair<std::string, std::string>>& refusals);

Action enable_on_partitions(TableName const& table, std::string const& migration, std::string const& type,
                            std::string const& trigger);
// Off without a lock on the table; then the triggers; and last what they call.
std::vector<Action> removal(TableName const& table, std::string const& migration,
                            std::vector<std::string> const& triggers);

// Statements that make view number `number` of the expression, as over the table.
std::string view_name(std::size_t number);
std::string view_statement(std::size_t number, std::string const& expression, TableName const& table);
// With view v: the expression, what it calls the table, the columns that it reads in their order (text[]).
std::string expression_of_view();
std::string alias_of_view();
std::string reads_of_view();
// A view, and the column whose value its expression becomes: that of a condition has none.
struct ViewTarget {
  std::string view;
  std::string relation;  // SQL for its oid
  std::string column;
};
// Behind the views: finds out which of their expressions depend on more than the row. The answers are in the texts that
// mutable_of_views() gives, a boolean, and settings_of_views(): lines about each, of what and by what.
std::string look_for_mutable(std::vector<ViewTarget> const& views);
std::string mutable_of_views();
std::string settings_of_views(std::vector<ViewTarget> const& views);
// The clauses SET ... of a function whose expressions give the same as a batch's: the settings are those of the
// transaction that creates it.
std::string function_settings(bool is_mutable);
// The same for settings that the application defines and the body reads by name, once the function is there; where the
// migration has a value of them.
std::string custom_function_settings(std::string const& migration, std::string const& body);
// Nobody but the owner may put the function on a table.
std::string revoke_from_public(std::string const& migration);
// One line of a text, as read by sync_spelling_lines().
std::string escaped(std::string const& text);

}  // namespace pgbackfill::planner::recipes::sync
