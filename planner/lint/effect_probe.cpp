#include "planner/lint/effect_probe.h"

#include <algorithm>
#include <array>

#include "planner/sql/sql_script.h"
#include "planner/sql/sql_syntax.h"

namespace pgbackfill::planner::lint {
namespace {

// What a copy cannot have, or what would reach beyond it.
constexpr std::array<std::string_view, 8> kBeyondTheCopy{
    "AT_AttachPartition", "AT_DetachPartition", "AT_DetachPartitionFinalize", "AT_AddInherit",
    "AT_DropInherit",     "AT_ChangeOwner",     "AT_SetTableSpace",           "AT_AddOf"};

bool stays_within_the_copy(SyntaxNode const& statement) {
  auto const commands = statement.list("cmds");
  return std::none_of(commands.begin(), commands.end(), [](SyntaxNode const& command) {
    auto const subtype = command.text("subtype");
    bool const is_beyond = std::find(kBeyondTheCopy.begin(), kBeyondTheCopy.end(), subtype) != kBeyondTheCopy.end();
    // A temporary table can refer to no other.
    auto constraints = command.get("def").list("constraints");
    constraints.push_back(command.get("def"));
    return is_beyond || std::any_of(constraints.begin(), constraints.end(), [](SyntaxNode const& constraint) {
             return constraint.text("contype") == "CONSTR_FOREIGN";
           });
  });
}

bool is_word(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9') ||
         letter == '_' || letter == '$' || static_cast<unsigned char>(letter) >= 0x80;
}

// Behind one part of a name that begins there; npos if none does.
std::size_t end_of_part(std::string const& sql, std::size_t begin) {
  if (begin >= sql.size()) return std::string::npos;
  if (sql[begin] != '"') {
    auto end = begin;
    while (end < sql.size() && is_word(sql[end])) ++end;
    return end == begin ? std::string::npos : end;
  }
  for (auto at = begin + 1; at < sql.size(); ++at) {
    if (sql[at] != '"') continue;
    bool const is_doubled = at + 1 < sql.size() && sql[at + 1] == '"';
    if (!is_doubled) return at + 1;
    ++at;
  }
  return std::string::npos;
}

// Of a name of so many parts. Blanks and comments around its dots are left to others.
std::size_t end_of_name(std::string const& sql, std::size_t begin, int parts) {
  auto end = end_of_part(sql, begin);
  for (int part = 1; part < parts && end != std::string::npos; ++part) {
    if (end >= sql.size() || sql[end] != '.') return std::string::npos;
    end = end_of_part(sql, end + 1);
  }
  return end;
}

}  // namespace

std::optional<EffectProbe> effect_probe(std::string const& statement) {
  auto const script = split_script(statement);
  if (script.statements.size() != 1 || script.statements.front().nesting > kMaxNesting) return std::nullopt;
  auto const syntax = parse_sql(statement);
  if (!syntax.error.empty() || syntax.statements.size() != 1) return std::nullopt;
  auto const node = syntax.statements.front();
  bool const is_change =
      node.is("AlterTableStmt") && node.text("objtype") == "OBJECT_TABLE" && stays_within_the_copy(node);
  bool const is_index = node.is("IndexStmt") && !node.flag("concurrent");
  if (!is_change && !is_index) return std::nullopt;
  auto const relation = node.get("relation");
  EffectProbe probe;
  probe.table = {std::string{relation.text("schemaname")}, std::string{relation.text("relname")}};
  auto const begin = static_cast<std::size_t>(relation.number("location"));
  auto const end = end_of_name(statement, begin, probe.table.schema.empty() ? 1 : 2);
  if (!relation.text("catalogname").empty() || end == std::string::npos) return std::nullopt;
  probe.statement = statement.substr(0, begin) + "pg_temp." + kEffectCopy + statement.substr(end);
  return probe;
}

}  // namespace pgbackfill::planner::lint
