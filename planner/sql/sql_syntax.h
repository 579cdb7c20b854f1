// The syntax tree of one SQL statement, as PostgreSQL 15's own grammar sees it.
//
// The one narrow way to the parser (libpg_query): nothing else includes it, and nothing of it shows here, so that the
// parser of a later version can take its place. Nodes and fields have PostgreSQL's names (AlterTableStmt, cmds,
// subtype). Whoever calls it has bounded size and nesting before (sql_script.h): the parser is recursive. Pure
// functions, safe from any thread; a node belongs to its tree and must not outlive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace boost::json {
class value;
}

namespace pgbackfill::planner::lint {

// A place in the tree. Absent nodes are fine to ask: they have no kind, no fields, and no children.
class SyntaxNode {
 public:
  SyntaxNode() = default;
  explicit SyntaxNode(boost::json::value const* value);

  explicit operator bool() const { return value_ != nullptr; }
  // "ColumnDef"; empty where the grammar leaves no choice and the tree does not say it.
  std::string_view kind() const { return kind_; }
  bool is(std::string_view kind) const { return kind_ == kind; }

  SyntaxNode get(std::string_view field) const;
  std::vector<SyntaxNode> list(std::string_view field) const;
  std::string_view text(std::string_view field) const;
  // 0 where there is none, as in PostgreSQL's own trees.
  std::int64_t number(std::string_view field) const;
  bool flag(std::string_view field) const;
  // Everything directly below, in whatever field.
  std::vector<SyntaxNode> children() const;

 private:
  boost::json::value const* value_ = nullptr;
  std::string_view kind_;
};

struct Syntax {
  std::vector<SyntaxNode> statements;
  std::string error;             // empty: none
  std::size_t error_offset = 0;  // in bytes
  std::shared_ptr<void const> owner;
};

Syntax parse_sql(std::string const& sql);

// A CREATE FUNCTION or DO in PL/pgSQL: `statements` are its functions.
Syntax parse_plpgsql(std::string const& sql);

// The major version whose grammar this is.
int parser_major();

}  // namespace pgbackfill::planner::lint
