#include "planner/model/sql_facts.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>
#include <utility>

#include "planner/model/sql_text.h"
#include "planner/sql/sql_script.h"
#include "planner/sql/sql_syntax.h"

namespace pgbackfill::planner {

namespace {

using lint::Syntax;
using lint::SyntaxNode;

// The parser is recursive: what is too deep for it counts as not read.
std::optional<Syntax> syntax_of(std::string const& sql) {
  auto const script = lint::split_script(sql);
  if (script.statements.size() != 1 || script.statements.front().nesting > lint::kMaxNesting) return std::nullopt;
  if (sql.size() > lint::kMaxStatementBytes) return std::nullopt;
  auto syntax = lint::parse_sql(sql);
  if (!syntax.error.empty() || syntax.statements.size() != 1) return std::nullopt;
  return syntax;
}

// The parts of a.b.c; what is no name (a star, a subscript) ends them.
std::vector<std::string> names_of(std::vector<SyntaxNode> const& parts) {
  std::vector<std::string> names;
  for (auto const& part : parts) {
    if (!part.is("String")) break;
    names.emplace_back(part.text("sval"));
  }
  return names;
}

TableName qualified(std::vector<std::string> const& names) {
  TableName name;
  if (names.empty()) return name;
  name.name = names.back();
  if (names.size() > 1) name.schema = names[names.size() - 2];
  return name;
}

TableName relation_of(SyntaxNode range) {
  return {std::string(range.text("schemaname")), std::string(range.text("relname"))};
}

std::string alias_of(SyntaxNode range) {
  std::string const alias(range.get("alias").text("aliasname"));
  return alias.empty() ? std::string(range.text("relname")) : alias;
}

// Words that the server reads as a time of its own.
bool is_clock_word(std::string_view text) {
  static constexpr std::array kWords = {"now", "today", "tomorrow", "yesterday"};
  std::string word;
  for (char const letter : text) {
    if (std::isspace(static_cast<unsigned char>(letter)) == 0) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    }
  }
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
}

bool is_clock_function(std::string_view operation) {
  return operation.find("DATE") != std::string_view::npos || operation.find("TIME") != std::string_view::npos;
}

// "session_user" for SVFOP_SESSION_USER; empty: it says nothing of who asks.
std::string user_word(std::string_view operation) {
  if (operation == "SVFOP_SESSION_USER") return "session_user";
  if (operation == "SVFOP_CURRENT_ROLE") return "current_role";
  if (operation == "SVFOP_USER") return "user";
  return operation == "SVFOP_CURRENT_USER" ? "current_user" : "";
}

bool is_session_function(std::string_view name) {
  static constexpr std::array kFunctions = {"pg_backend_pid", "inet_client_addr", "inet_client_port",
                                            "current_query",  "txid_current",     "pg_current_xact_id"};
  return std::find(kFunctions.begin(), kFunctions.end(), name) != kFunctions.end();
}

class FactsReader {
 public:
  explicit FactsReader(SqlFacts& facts) : facts_(facts) {}

  void read(SyntaxNode node) {
    auto const outer = scope_.size();
    for (auto const& item : node.list("fromClause")) add_to_scope(item);
    read_node(node);
    for (auto const& child : node.children()) read(child);
    scope_.resize(outer);
  }

 private:
  void add_to_scope(SyntaxNode item) {
    if (item.is("RangeVar")) scope_.push_back(relation_of(item));
    if (!item.is("JoinExpr")) return;
    add_to_scope(item.get("larg"));
    add_to_scope(item.get("rarg"));
  }

  void read_node(SyntaxNode node) {
    if (node.is("FuncCall")) {
      facts_.functions.push_back(qualified(names_of(node.list("funcname"))));
      if (is_session_function(facts_.functions.back().name)) facts_.reads_writer = facts_.functions.back().name + "()";
    } else if (node.is("A_Expr")) {
      facts_.operators.push_back(qualified(names_of(node.list("name"))));
    } else if (node.is("ColumnRef")) {
      read_column(node);
    } else if (node.is("SQLValueFunction")) {
      facts_.reads_clock = facts_.reads_clock || is_clock_function(node.text("op"));
      if (auto const user = user_word(node.text("op")); !user.empty()) facts_.reads_writer = user;
    } else if (node.is("A_Const")) {
      facts_.reads_clock = facts_.reads_clock || is_clock_word(node.get("sval").text("sval"));
    } else if (node.is("RangeVar")) {
      read_relation(node);
    } else {
      read_statement(node);
    }
  }

  void read_column(SyntaxNode node) {
    auto const fields = node.list("fields");
    auto const names = names_of(fields);
    if (names.size() < fields.size()) facts_.takes_all_columns = true;
    if (names.empty()) return;
    if (names.size() == fields.size()) {
      facts_.columns.push_back({names.size() > 1 ? names[names.size() - 2] : "", names.back(), scope_});
    }
    if (names.size() == 2 && names.size() == fields.size()) facts_.fields.push_back({"", names.back()});
    if (names.size() > 2) facts_.has_schema_in_column = true;
  }

  void read_relation(SyntaxNode range) {
    // The tree says `inh` where ONLY is not written.
    facts_.relations.push_back({relation_of(range), alias_of(range), !range.flag("inh")});
  }

  void assign(TableName const& relation, std::vector<SyntaxNode> const& targets) {
    for (auto const& target : targets) {
      facts_.assigned.push_back({relation, std::string(target.text("name"))});
    }
  }

  // In the fields of a statement the grammar leaves no choice, so that the relation has no kind.
  void read_statement(SyntaxNode node) {
    bool const is_merge = node.is("MergeStmt");
    bool const is_insert = node.is("InsertStmt");
    if (!is_merge && !is_insert && !node.is("UpdateStmt") && !node.is("DeleteStmt")) return;
    auto const range = node.get("relation");
    read_relation(range);
    auto const relation = relation_of(range);
    if (node.is("UpdateStmt")) assign(relation, node.list("targetList"));
    if (is_insert) assign(relation, node.get("onConflictClause").list("targetList"));
    if (!is_merge) return;
    for (auto const& when : node.list("mergeWhenClauses")) {
      if (when.text("commandType") == "CMD_UPDATE") assign(relation, when.list("targetList"));
    }
  }

  SqlFacts& facts_;
  std::vector<TableName> scope_;
};

SqlFacts facts_of(std::string const& sql) {
  SqlFacts facts;
  auto const syntax = syntax_of(sql);
  if (!syntax) return facts;
  facts.is_read = true;
  auto const statement = syntax->statements.front();
  auto const results = statement.is("SelectStmt") ? statement.list("targetList") : std::vector<SyntaxNode>();
  facts.is_one_column = results.size() == 1 && results.front().get("val").is("ColumnRef");
  if (statement.is("UpdateStmt")) facts.updated_alias = alias_of(statement.get("relation"));
  FactsReader reader(facts);
  reader.read(statement);
  return facts;
}

// --- what is joined to what ------------------------------------------------------------------------------------------

bool is_change(SyntaxNode node) {
  return node.is("InsertStmt") || node.is("UpdateStmt") || node.is("DeleteStmt") || node.is("MergeStmt");
}

// Which tables of a statement a condition holds together, by alias. Two of one name in different queries count as one:
// that sees too many joins, never too few.
class Joins {
 public:
  explicit Joins(SyntaxNode statement) {
    find_queries(statement);
    read(statement);
  }

  bool may_join(std::string const& one, std::string const& other) {
    return sees_too_little_ || root_of(one) == root_of(other);
  }

 private:
  struct Columns {
    std::set<std::string> names;  // of tables
    int unqualified = 0;
  };

  void find_queries(SyntaxNode node) {
    if (node.is("CommonTableExpr")) queries_.emplace(node.text("ctename"));
    for (auto const& child : node.children()) find_queries(child);
  }

  void read(SyntaxNode node) {
    if (node.is("JoinExpr")) {
      bool const by_name = node.flag("isNatural") || !node.list("usingClause").empty();
      if (by_name) link(ranges_in(node));
      read_conditions(node.get("quals"));
    }
    if (node.is("RangeSubselect") || node.is("RangeFunction")) {
      auto names = ranges_in(node);
      names.merge(columns_in(node).names);
      names.insert(std::string(node.get("alias").text("aliasname")));
      link(names);
    }
    if (node.is("CommonTableExpr")) {
      auto names = ranges_in(node);
      names.insert(std::string(node.text("ctename")));
      link(names);
    }
    bool const is_query = node.is("RangeVar") && queries_.contains(std::string(node.text("relname")));
    if (is_query) link({alias_of(node), std::string(node.text("relname"))});
    read_conditions(node.get("whereClause"));
    read_conditions(node.get("joinCondition"));
    for (auto const& child : node.children()) read(child);
  }

  void read_conditions(SyntaxNode condition) {
    if (!condition) return;
    if (condition.is("BoolExpr") && condition.text("boolop") == "AND_EXPR") {
      for (auto const& term : condition.list("args")) read_conditions(term);
      return;
    }
    auto const columns = columns_in(condition);
    // Whose column that is, only the server knows.
    if (columns.unqualified > 0 && columns.unqualified + static_cast<int>(columns.names.size()) > 1) {
      sees_too_little_ = true;
    }
    link(columns.names);
  }

  static Columns columns_in(SyntaxNode node) {
    Columns columns;
    if (node.is("ColumnRef")) {
      auto const names = names_of(node.list("fields"));
      bool const is_star = names.size() < node.list("fields").size();
      auto const last = is_star ? names.size() : names.size() - 1;
      if (last == 0) {
        columns.unqualified = 1;
      } else {
        columns.names.insert(names[last - 1]);
      }
      return columns;
    }
    for (auto const& child : node.children()) {
      auto inner = columns_in(child);
      columns.names.merge(inner.names);
      columns.unqualified += inner.unqualified;
    }
    return columns;
  }

  static std::set<std::string> ranges_in(SyntaxNode node) {
    std::set<std::string> names;
    if (node.is("RangeVar")) names.insert(alias_of(node));
    if (is_change(node)) names.insert(alias_of(node.get("relation")));
    for (auto const& child : node.children()) names.merge(ranges_in(child));
    return names;
  }

  void link(std::set<std::string> const& names) {
    for (auto const& name : names) parents_[root_of(name)] = root_of(*names.begin());
  }

  std::string root_of(std::string const& name) {
    auto const found = parents_.find(name);
    if (found == parents_.end() || found->second == name) return name;
    return root_of(found->second);
  }

  std::set<std::string> queries_;  // names of WITH
  std::map<std::string, std::string> parents_;
  bool sees_too_little_ = false;
};

// --- what gathers rows of a batch -----------------------------------------------------------------------------------

bool names_table(std::vector<SyntaxNode> const& items, std::string const& alias) {
  return std::any_of(items.begin(), items.end(), [&](SyntaxNode const& item) {
    if (item.is("JoinExpr")) return names_table({item.get("larg"), item.get("rarg")}, alias);
    return item.is("RangeVar") && alias_of(item) == alias;
  });
}

using Equality = std::pair<SyntaxNode, SyntaxNode>;

// The sides of each `=` of the condition that holds whenever the condition does.
void read_equalities(SyntaxNode condition, std::vector<Equality>& equalities) {
  if (condition.is("BoolExpr") && condition.text("boolop") == "AND_EXPR") {
    for (auto const& term : condition.list("args")) read_equalities(term, equalities);
  }
  bool const is_equal = condition.is("A_Expr") && names_of(condition.list("name")) == std::vector<std::string>{"="};
  if (is_equal) equalities.emplace_back(condition.get("lexpr"), condition.get("rexpr"));
}

void read_join_equalities(SyntaxNode item, std::vector<Equality>& equalities) {
  if (!item.is("JoinExpr")) return;
  if (item.text("jointype") == "JOIN_INNER") read_equalities(item.get("quals"), equalities);
  read_join_equalities(item.get("larg"), equalities);
  read_join_equalities(item.get("rarg"), equalities);
}

// Of WHERE and the inner joins of a query or an UPDATE.
std::vector<Equality> equalities_of(SyntaxNode query) {
  std::vector<Equality> equalities;
  read_equalities(query.get("whereClause"), equalities);
  for (auto const& item : query.list("fromClause")) read_join_equalities(item, equalities);
  return equalities;
}

// Follows the rows of the batch from the query that picks them outwards. A subquery in an expression (EXISTS, IN)
// passes no rows on: what stands around it gathers other ones.
class BatchRows {
 public:
  BatchRows(std::string const& alias, std::vector<std::string> const& key_columns)
      : alias_(alias), key_columns_(key_columns) {}

  Gathering gathering_of(SyntaxNode statement) {
    // What the outermost query gives goes to nobody.
    if (statement.is("SelectStmt")) {
      read_queries(statement);
    } else {
      visit(statement);
    }
    return std::move(found_);
  }

 private:
  struct Column {
    std::string table;
    std::string name;
    friend bool operator==(Column const&, Column const&) = default;
  };
  // What a part of the statement holds.
  struct Rows {
    bool is_picked = false;  // the condition of the batch, of a table that a query around it names
    bool are_passed = false;

    void add(Rows const& other) {
      is_picked = is_picked || other.is_picked;
      are_passed = are_passed || other.are_passed;
    }
  };

  Rows visit(SyntaxNode node) {
    if (node.is("SelectStmt")) return visit_query(node, false);
    if (is_change(node)) return visit_change(node);
    if (node.is("ColumnRef")) return {names_of(node.list("fields")) == std::vector{alias_, std::string(kBatchColumn)}};
    if (node.is("RangeVar")) {
      bool const is_query = node.text("schemaname").empty() && queries_.contains(std::string(node.text("relname")));
      return {false, is_query};
    }
    Rows rows;
    read_queries(node);
    bool const is_exists = node.is("SubLink") && node.text("subLinkType") == "EXISTS_SUBLINK";
    for (auto const& child : node.children()) {
      rows.add(is_exists && child.is("SelectStmt") ? visit_query(child, true) : visit(child));
    }
    if (node.is("SubLink")) rows.are_passed = false;
    return rows;
  }

  void read_queries(SyntaxNode node) {
    for (auto const& query : node.get("withClause").list("ctes")) {
      if (visit(query.get("ctequery")).are_passed) queries_.emplace(query.text("ctename"));
    }
  }

  // A change passes on what it returns. Rows that are inserted where others may be already can be put together there.
  Rows visit_change(SyntaxNode change) {
    auto const conflict = change.get("onConflictClause");
    auto const merges = std::exchange(merges_, conflict && conflict.text("action") == "ONCONFLICT_UPDATE");
    auto const inserts = std::exchange(inserts_, change.is("InsertStmt") && !conflict);
    read_queries(change);
    Rows rows;
    for (auto const& child : change.children()) {
      bool const is_with = !child.list("ctes").empty();
      if (!is_with) rows.add(visit(child));
    }
    merges_ = merges;
    inserts_ = inserts;
    bool const is_here = alias_of(change.get("relation")) == alias_ || names_table(change.list("fromClause"), alias_) ||
                         names_table(change.list("usingClause"), alias_);
    if (rows.is_picked && is_here) rows = {false, true};
    return rows;
  }

  // `is_asked`: only whether it has a row counts.
  Rows visit_query(SyntaxNode query, bool is_asked) {
    read_queries(query);
    Rows rows;
    bool const is_union = !query.text("op").empty() && query.text("op") != "SETOP_NONE";
    if (is_union) {
      rows.add(visit_query(query.get("larg"), false));
      rows.add(visit_query(query.get("rarg"), false));
    } else {
      for (auto const& child : query.children()) rows.add(visit(child));
    }
    bool const is_here = names_table(query.list("fromClause"), alias_);
    if (rows.is_picked && is_here) rows = {false, true};
    if (rows.are_passed) judge(query, is_here, is_asked);
    return rows;
  }

  void judge(SyntaxNode query, bool is_here, bool is_asked) {
    if (!is_asked && (is_limit(query.get("limitCount")) || query.get("limitOffset"))) tell("LIMIT or OFFSET");
    is_here_ = is_here;
    is_joined_by_name_ = false;
    equal_.clear();
    for (auto const& [left, right] : equalities_of(query)) {
      auto one = column_of(left);
      auto other = column_of(right);
      if (one && other) equal_.emplace_back(std::move(*one), std::move(*other));
    }
    for (auto const& item : query.list("fromClause")) read_joined_by_name(item);
    auto const distinct = query.list("distinctClause");
    bool const has_on =
        std::any_of(distinct.begin(), distinct.end(), [](auto const& one) { return !one.kind().empty(); });
    if (has_on && !has_key(distinct, query)) tell("DISTINCT ON");
    if (inserts_ && !distinct.empty() && !has_on && !has_key(results_of(query), query)) tell("DISTINCT");
    auto const groups = query.list("groupClause");
    bool const is_by_key = !groups.empty() && has_key(groups, query);
    if (!groups.empty() && !is_by_key && !merges_) tell("GROUP BY");
    if (groups.empty() && query.get("havingClause")) tell("HAVING");
    for (char const* part : {"targetList", "sortClause", "havingClause"}) {
      for (auto const& item : query.list(part)) read_calls(item, query, !groups.empty() || merges_);
    }
  }

  static std::vector<SyntaxNode> results_of(SyntaxNode query) {
    std::vector<SyntaxNode> values;
    for (auto const& result : query.list("targetList")) values.push_back(result.get("val"));
    return values;
  }

  static bool is_limit(SyntaxNode count) { return static_cast<bool>(count) && !count.flag("isnull"); }

  void tell(std::string clause) {
    if (found_.clause.empty()) found_.clause = std::move(clause);
  }

  void read_calls(SyntaxNode node, SyntaxNode query, bool is_grouped) {
    if (node.is("SubLink")) return;
    if (node.is("FuncCall")) {
      auto const name = qualified(names_of(node.list("funcname")));
      bool const is_aggregate = node.flag("agg_star") || node.flag("agg_distinct") || node.flag("agg_within_group") ||
                                node.get("agg_filter") || !node.list("agg_order").empty();
      if (auto const window = node.get("over")) {
        if (!has_key(partition_of(window, query), query)) tell(name.name + "() OVER");
      } else if (!is_grouped && is_aggregate) {
        tell(name.name + "()");
      } else if (!is_grouped) {
        found_.functions.push_back(name);
      }
    }
    for (auto const& child : node.children()) read_calls(child, query, is_grouped);
  }

  // A window may be named, and be based on a named one.
  static std::vector<SyntaxNode> partition_of(SyntaxNode window, SyntaxNode query) {
    for (int steps = 0; steps < 10; ++steps) {
      if (auto columns = window.list("partitionClause"); !columns.empty()) return columns;
      auto const windows = query.list("windowClause");
      std::string const base(window.text(steps == 0 && window.text("refname").empty() ? "name" : "refname"));
      auto const found = std::find_if(windows.begin(), windows.end(),
                                      [&](SyntaxNode const& one) { return !base.empty() && one.text("name") == base; });
      if (found == windows.end()) break;
      window = *found;
    }
    return {};
  }

  // Whether rows of one group have one key.
  bool has_key(std::vector<SyntaxNode> const& group, SyntaxNode query) const {
    std::vector<Column> columns;
    for (auto item : group) {
      auto const results = query.list("targetList");
      auto const place = static_cast<std::size_t>(item.get("ival").number("ival"));
      if (item.is("A_Const") && place > 0 && place <= results.size()) item = results[place - 1].get("val");
      if (auto column = column_of(item)) columns.push_back(std::move(*column));
    }
    for (bool grows = true; grows;) {
      grows = false;
      for (auto const& [one, other] : equal_) {
        bool const has_one = std::find(columns.begin(), columns.end(), one) != columns.end();
        bool const has_other = std::find(columns.begin(), columns.end(), other) != columns.end();
        if (has_one != has_other) columns.push_back(has_one ? other : one);
        grows = grows || has_one != has_other;
      }
    }
    return std::all_of(key_columns_.begin(), key_columns_.end(), [&](std::string const& key) {
      return std::any_of(columns.begin(), columns.end(), [&](Column const& column) {
        bool const is_ours = !is_here_ || is_joined_by_name_ || column.table.empty() || column.table == alias_;
        return is_ours && column.name == key;
      });
    });
  }

  static std::optional<Column> column_of(SyntaxNode node) {
    if (!node.is("ColumnRef")) return std::nullopt;
    auto const names = names_of(node.list("fields"));
    if (names.empty() || names.size() < node.list("fields").size()) return std::nullopt;
    return Column{names.size() > 1 ? names[names.size() - 2] : "", names.back()};
  }

  void read_joined_by_name(SyntaxNode item) {
    if (!item.is("JoinExpr")) return;
    is_joined_by_name_ = is_joined_by_name_ || item.flag("isNatural") || !item.list("usingClause").empty();
    read_joined_by_name(item.get("larg"));
    read_joined_by_name(item.get("rarg"));
  }

  std::string const& alias_;
  std::vector<std::string> const& key_columns_;
  std::set<std::string> queries_;  // names of WITH that pass rows of the batch on
  Gathering found_;
  // Of the statement around it.
  bool inserts_ = false;  // without regard to rows that are there
  bool merges_ = false;   // into rows that are there
  // Of the query that is judged.
  bool is_here_ = false;  // it reads the table itself
  bool is_joined_by_name_ = false;
  std::vector<std::pair<Column, Column>> equal_;
};

// --- names of pg_catalog ---------------------------------------------------------------------------------------------

// What has to be written otherwise, by its place in the text.
class CatalogNames {
 public:
  CatalogNames(std::string const& text, SyntaxNode statement) : text_(text) {
    find_queries(statement);
    read(statement);
  }

  std::string text() const {
    std::string result = text_;
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      result.replace(change->first, change->second.first, change->second.second);
    }
    return result;
  }

 private:
  static constexpr char kSchema[] = "pg_catalog.";

  void find_queries(SyntaxNode node) {
    if (node.is("CommonTableExpr")) queries_.emplace(node.text("ctename"));
    for (auto const& child : node.children()) find_queries(child);
  }
  void read(SyntaxNode node) {
    if (node.is("FuncCall")) add_schema(node, "funcname");
    if (node.is("TypeName")) add_schema(node, "names");
    add_schema(node.get("typeName"), "names");
    if (node.is("A_Expr") && node.text("kind").starts_with("AEXPR_OP")) wrap_operator(node, "name");
    if (node.is("SubLink")) wrap_operator(node, "operName");
    if (node.is("SortBy")) wrap_operator(node, "useOp");
    if (node.is("CollateClause")) add_schema_of_collation(node);
    bool const is_bare = node.is("RangeVar") && node.text("schemaname").empty();
    if (is_bare && !queries_.contains(std::string(node.text("relname")))) insert(place_of(node), 0, kSchema);
    for (auto const& child : node.children()) read(child);
  }

  // What the parser knows no place of counts as at the end.
  std::size_t place_of(SyntaxNode node) const {
    return std::min(static_cast<std::size_t>(node.number("location")), text_.size());
  }
  void insert(std::size_t place, std::size_t length, std::string const& text) {
    if (place < text_.size()) changes_.try_emplace(place, length, text);
  }
  void add_schema(SyntaxNode node, char const* field) {
    if (names_of(node.list(field)).size() == 1) insert(place_of(node), 0, kSchema);
  }
  void wrap_operator(SyntaxNode node, char const* field) {
    auto const names = names_of(node.list(field));
    bool const is_there = names.size() == 1 && text_.compare(place_of(node), names.front().size(), names.front()) == 0;
    if (is_there) insert(place_of(node), names.front().size(), "OPERATOR(" + (kSchema + names.front()) + ")");
  }
  void add_schema_of_collation(SyntaxNode node) {
    constexpr std::string_view kWord = "COLLATE ";
    bool const is_bare = names_of(node.list("collname")).size() == 1;
    bool const is_there = text_.compare(place_of(node), kWord.size(), kWord) == 0;
    if (is_bare && is_there) insert(place_of(node) + kWord.size(), 0, kSchema);
  }

  std::string const& text_;
  std::map<std::size_t, std::pair<std::size_t, std::string>> changes_;
  std::set<std::string> queries_;  // names of WITH
};

}  // namespace

std::optional<std::string> with_catalog_schema(std::string const& expression) {
  constexpr std::string_view kHead = "SELECT ";
  std::string const sql = std::string(kHead) + parenthesised(expression);
  auto const syntax = syntax_of(sql);
  if (!syntax) return std::nullopt;
  std::string const text = CatalogNames(sql, syntax->statements.front()).text();
  // Without SELECT, and without what parenthesised() put around it.
  return text.substr(kHead.size() + 1, text.size() - kHead.size() - 3);
}

SqlFacts facts_of_expressions(std::vector<std::string> const& expressions) {
  std::vector<std::string> terms;
  for (auto const& expression : expressions) {
    if (!expression.empty()) terms.push_back(parenthesised(expression));
  }
  if (terms.empty()) terms.emplace_back("true");
  return facts_of("SELECT " + join(terms, ", "));
}

SqlFacts facts_of_statement(std::string const& sql) {
  return facts_of(sql);
}

namespace {

bool has_batch(SyntaxNode node) {
  if (node.is("ColumnRef")) {
    auto const names = names_of(node.list("fields"));
    return !names.empty() && names.back() == kBatchColumn;
  }
  auto const children = node.children();
  return std::any_of(children.begin(), children.end(), has_batch);
}

// Whether it reads one of these queries of WITH.
bool reads_query(SyntaxNode node, std::set<std::string> const& queries) {
  if (node.is("RangeVar") && node.text("schemaname").empty() && queries.contains(std::string(node.text("relname")))) {
    return true;
  }
  auto const children = node.children();
  return std::any_of(children.begin(), children.end(),
                     [&](SyntaxNode const& child) { return reads_query(child, queries); });
}

// What a statement reads, without its WITH.
std::vector<SyntaxNode> sources_of(SyntaxNode statement) {
  std::vector<SyntaxNode> sources = {statement.get("selectStmt"), statement.get("whereClause"),
                                     statement.get("sourceRelation"), statement.get("joinCondition")};
  for (char const* field : {"fromClause", "usingClause", "targetList"}) {
    for (auto const& source : statement.list(field)) sources.push_back(source);
  }
  return sources;
}

// Of a statement with {batch} in one query of its WITH: another part of it that changes rows and reads none of the
// queries before it does the same for each batch.
std::optional<std::string> unbound_part(SyntaxNode statement, std::string const& alias) {
  std::set<std::string> queries;
  bool has_changes = false;
  for (auto const& query : statement.get("withClause").list("ctes")) {
    auto const part = query.get("ctequery");
    bool const is_bound = has_batch(part) || reads_query(part, queries);
    if (is_change(part)) {
      has_changes = true;
      auto const table = relation_of(part.get("relation"));
      if (!is_bound) return quote_qualified(table.schema, table.name);
    }
    if (is_bound) queries.emplace(query.text("ctename"));
  }
  auto const sources = sources_of(statement);
  bool const is_bound = std::any_of(sources.begin(), sources.end(), [&](SyntaxNode const& source) {
    return has_batch(source) || reads_query(source, queries);
  });
  if (!has_changes || !is_change(statement)) return std::nullopt;
  std::string const target = alias_of(statement.get("relation"));
  bool const picks = (statement.is("UpdateStmt") || statement.is("DeleteStmt")) && target != alias;
  // It may read them and change the same rows with each batch all the same.
  bool const is_joined = is_bound && (!picks || Joins(statement).may_join(target, alias));
  if (is_joined) return std::nullopt;
  auto const table = relation_of(statement.get("relation"));
  return quote_qualified(table.schema, table.name);
}

}  // namespace

bool changes_in_with(std::string const& sql) {
  auto const syntax = syntax_of(sql);
  if (!syntax) return false;
  auto const queries = syntax->statements.front().get("withClause").list("ctes");
  return std::any_of(queries.begin(), queries.end(),
                     [](SyntaxNode const& query) { return is_change(query.get("ctequery")); });
}

std::optional<std::string> unjoined_table(std::string const& sql, std::string const& alias) {
  auto const syntax = syntax_of(sql);
  if (!syntax) return std::nullopt;
  auto const statement = syntax->statements.front();
  if (changes_in_with(sql)) return unbound_part(statement, alias);
  if (!statement.is("UpdateStmt") && !statement.is("DeleteStmt")) return std::nullopt;
  auto const range = statement.get("relation");
  std::string const target = alias_of(range);
  Joins joins(statement);
  if (target == alias || joins.may_join(target, alias)) return std::nullopt;
  return quote_qualified(relation_of(range).schema, relation_of(range).name);
}

namespace {

// Without a table written before it, the column may be anybody's.
bool reads_column(SyntaxNode node, std::string const& table, std::string const& column) {
  if (node.is("ColumnRef")) {
    auto const names = names_of(node.list("fields"));
    bool const is_its = names.size() < 2 || names[names.size() - 2] == table;
    return !names.empty() && names.back() == column && is_its;
  }
  auto const children = node.children();
  return std::any_of(children.begin(), children.end(),
                     [&](SyntaxNode const& child) { return reads_column(child, table, column); });
}

}  // namespace

std::optional<RepeatedChange> repeated_change(std::string const& sql, std::string const& alias) {
  auto const syntax = syntax_of(sql);
  if (!syntax || !syntax->statements.front().is("UpdateStmt")) return std::nullopt;
  auto const update = syntax->statements.front();
  std::string const changed = alias_of(update.get("relation"));
  if (changed == alias || !names_table(update.list("fromClause"), alias)) return std::nullopt;
  RepeatedChange found;
  for (auto const& target : update.list("targetList")) {
    std::string const column(target.text("name"));
    if (reads_column(target.get("val"), changed, column)) found.column = column;
  }
  if (found.column.empty()) return std::nullopt;
  for (auto const& [one, other] : equalities_of(update)) {
    for (auto const& side : {one, other}) {
      auto const names = names_of(side.list("fields"));
      if (names.size() >= 2 && names[names.size() - 2] == alias) found.joined_by.push_back(names.back());
    }
  }
  return found;
}

Gathering gathering_of(std::string const& sql, std::string const& alias, std::vector<std::string> const& key_columns) {
  auto const syntax = syntax_of(sql);
  if (!syntax) return {};
  return BatchRows(alias, key_columns).gathering_of(syntax->statements.front());
}

}  // namespace pgbackfill::planner
