#include "planner/sql/sql_syntax.h"

#include <pg_query.h>

#include <algorithm>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cstdlib>

#include "planner/sql/sql_script.h"

namespace pgbackfill::planner::lint {
namespace {

namespace json = boost::json;

// A level of the grammar's tree is up to four of the JSON text's.
constexpr std::size_t kMaxJsonDepth = 4 * kMaxNesting + 64;

json::value const* field_of(json::value const* value, std::string_view field) {
  if (value == nullptr || !value->is_object()) return nullptr;
  return value->get_object().if_contains(field);
}

bool is_kind_name(std::string_view key) {
  return !key.empty() && key.front() >= 'A' && key.front() <= 'Z';
}

void add_children(json::value const& value, std::vector<SyntaxNode>& children) {
  if (value.is_object()) {
    children.emplace_back(&value);
  } else if (value.is_array()) {
    for (auto const& item : value.get_array()) add_children(item, children);
  }
}

// The parser counts the place of an error in characters from 1.
std::size_t byte_offset(std::string const& sql, int character) {
  std::size_t at = 0;
  for (int left = character - 1; left > 0 && at < sql.size(); --left) {
    ++at;
    while (at < sql.size() && (sql[at] & '\xC0') == '\x80') ++at;
  }
  return at;
}

// A tree in memory of its own, which is let go as a whole: taking deep trees apart node by node would recurse.
struct Document {
  json::monotonic_resource memory;
  json::value const* root = nullptr;
};

// None if it is deeper than anything that the parser should have been given.
std::shared_ptr<Document> read_json(char const* text) {
  auto document = std::make_shared<Document>();
  json::parse_options options;
  options.max_depth = kMaxJsonDepth;
  options.allow_invalid_utf8 = true;
  boost::system::error_code error;
  auto parsed = json::parse(text, error, &document->memory, options);
  if (error) return nullptr;
  void* const place = document->memory.allocate(sizeof(json::value), alignof(json::value));
  document->root = new (place) json::value(std::move(parsed));
  return document;
}

}  // namespace

SyntaxNode::SyntaxNode(json::value const* value) : value_(value) {
  if (value_ == nullptr || !value_->is_object()) return;
  auto const& object = value_->get_object();
  if (object.size() != 1 || !is_kind_name(object.begin()->key()) || !object.begin()->value().is_object()) return;
  kind_ = object.begin()->key();
  value_ = &object.begin()->value();
}

SyntaxNode SyntaxNode::get(std::string_view field) const {
  return SyntaxNode(field_of(value_, field));
}

std::vector<SyntaxNode> SyntaxNode::list(std::string_view field) const {
  std::vector<SyntaxNode> items;
  auto const* found = field_of(value_, field);
  if (found == nullptr || !found->is_array()) return items;
  for (auto const& item : found->get_array()) items.emplace_back(&item);
  return items;
}

std::string_view SyntaxNode::text(std::string_view field) const {
  auto const* found = field_of(value_, field);
  return found != nullptr && found->is_string() ? std::string_view(found->get_string()) : std::string_view();
}

std::int64_t SyntaxNode::number(std::string_view field) const {
  auto const* found = field_of(value_, field);
  return found != nullptr && found->is_int64() ? found->get_int64() : 0;
}

bool SyntaxNode::flag(std::string_view field) const {
  auto const* found = field_of(value_, field);
  return found != nullptr && found->is_bool() && found->get_bool();
}

std::vector<SyntaxNode> SyntaxNode::children() const {
  std::vector<SyntaxNode> children;
  if (value_ == nullptr || !value_->is_object()) return children;
  for (auto const& field : value_->get_object()) add_children(field.value(), children);
  return children;
}

Syntax parse_sql(std::string const& sql) {
  Syntax syntax;
  auto const result = pg_query_parse(sql.c_str());
  std::shared_ptr<void> const guard(nullptr, [&](void*) { pg_query_free_parse_result(result); });
  if (result.error != nullptr) {
    syntax.error = result.error->message;
    syntax.error_offset = byte_offset(sql, result.error->cursorpos);
    return syntax;
  }
  auto const document = read_json(result.parse_tree);
  if (document == nullptr) {
    syntax.error = "its tree is too deep";
    return syntax;
  }
  for (auto const& statement : SyntaxNode(document->root).list("stmts")) {
    syntax.statements.push_back(statement.get("stmt"));
  }
  syntax.owner = document;
  return syntax;
}

Syntax parse_plpgsql(std::string const& sql) {
  Syntax syntax;
  auto const result = pg_query_parse_plpgsql(sql.c_str());
  std::shared_ptr<void> const guard(nullptr, [&](void*) { pg_query_free_plpgsql_parse_result(result); });
  if (result.error != nullptr) {
    syntax.error = result.error->message;
    return syntax;
  }
  auto const document = read_json(result.plpgsql_funcs);
  if (document == nullptr) {
    syntax.error = "its tree is too deep";
    return syntax;
  }
  if (document->root->is_array()) {
    for (auto const& function : document->root->get_array()) syntax.statements.emplace_back(&function);
  }
  syntax.owner = document;
  return syntax;
}

int parser_major() {
  return std::atoi(PG_MAJORVERSION);
}

}  // namespace pgbackfill::planner::lint
