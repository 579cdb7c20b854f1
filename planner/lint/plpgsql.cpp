#include "planner/lint/plpgsql.h"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <utility>

#include "planner/lint/schema_facts.h"
#include "planner/model/sql_text.h"
#include "planner/sql/sql_script.h"

namespace pgbackfill::planner::lint {
namespace {

// Stands for a name that is put in as the code runs.
constexpr std::string_view kAnyName = "\"(computed)\"";

struct Template {
  std::string text;
  bool has_text = false;  // not placeholders alone
};

std::string constant_text(SyntaxNode expression) {
  if (expression.is("TypeCast")) expression = expression.get("arg");
  return std::string(expression.get("sval").text("sval"));
}

// A name or a piece of text where it is written out, else what stands for any.
std::string filling(char kind, SyntaxNode argument) {
  auto const text = constant_text(argument);
  if (kind == 'L') return text.empty() ? "'(computed)'" : quote_literal(text);
  if (kind == 'I') return text.empty() ? std::string(kAnyName) : quote_identifier(text);
  return text.empty() ? std::string(kAnyName) : text;
}

// %I, %L, %s, %1$I; a width may stand between.
std::string filled_format(std::string_view format, std::vector<SyntaxNode> const& args) {
  std::string text;
  std::size_t next = 1;
  for (std::size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      text += format[at];
      continue;
    }
    std::size_t number = 0;
    std::size_t position = 0;
    for (++at; at < format.size() && std::string_view("0123456789$-*").find(format[at]) != std::string_view::npos;
         ++at) {
      if (format[at] == '$') position = std::exchange(number, 0);
      if (std::isdigit(static_cast<unsigned char>(format[at])) != 0) {
        number = std::min<std::size_t>(number * 10 + static_cast<std::size_t>(format[at] - '0'), args.size());
      }
    }
    if (at >= format.size()) break;
    if (format[at] == '%') {
      text += '%';
      continue;
    }
    if (position > 0) next = position;
    text += filling(format[at], next < args.size() ? args[next] : SyntaxNode());
    ++next;
  }
  return text;
}

Template template_of(SyntaxNode expression) {
  if (expression.is("TypeCast")) return template_of(expression.get("arg"));
  if (expression.is("A_Const") && expression.get("sval")) {
    return {std::string(expression.get("sval").text("sval")), true};
  }
  if (expression.is("A_Expr") && joined_name(expression.list("name")) == "||") {
    auto left = template_of(expression.get("lexpr"));
    auto const right = template_of(expression.get("rexpr"));
    return {left.text + right.text, left.has_text || right.has_text};
  }
  if (expression.is("FuncCall")) {
    auto const name = joined_name(expression.list("funcname"));
    auto const args = expression.list("args");
    if (name == "format" && !args.empty()) {
      auto const format = template_of(args.front());
      return {filled_format(format.text, args), format.has_text};
    }
    if (name == "concat") {
      Template joined;
      for (auto const& arg : args) {
        auto const part = template_of(arg);
        joined.text += part.text;
        joined.has_text = joined.has_text || part.has_text;
      }
      return joined;
    }
    if (name == "quote_ident" && !args.empty()) return {filling('I', args.front()), false};
    if (name == "quote_literal" || name == "quote_nullable") return {"'(computed)'", false};
  }
  return {std::string(kAnyName), false};
}

InnerStatement dynamic_statement(std::string const& expression) {
  InnerStatement statement;
  statement.is_dynamic = true;
  statement.is_closed = false;
  auto const parsed = parse_sql("SELECT " + expression);
  if (parsed.statements.size() != 1) return statement;
  auto const targets = parsed.statements.front().list("targetList");
  if (targets.size() != 1) return statement;
  auto const text = template_of(targets.front().get("val"));
  statement.sql = text.text;
  statement.is_closed = text.has_text;
  return statement;
}

std::size_t begin_of_line(std::string_view body, std::int64_t line) {
  std::size_t at = 0;
  for (; line > 1; --line) {
    auto const next = body.find('\n', at);
    if (next == std::string_view::npos) return at;
    at = next + 1;
  }
  return std::min(body.find_first_not_of(" \t\r\n", at), body.size());
}

class Walk {
 public:
  explicit Walk(InnerCode& code) : code_(code) {}

  void visit(SyntaxNode node) {
    auto const kind = node.kind();
    if (kind == "PLpgSQL_stmt_execsql") {
      add({std::string(node.get("sqlstmt").text("query"))}, node, node.get("sqlstmt").text("query"));
    } else if (kind == "PLpgSQL_stmt_dynexecute" || kind == "PLpgSQL_stmt_dynfors") {
      std::string const expression(node.get("query").text("query"));
      add(dynamic_statement(expression), node, expression);
    } else if (kind == "PLpgSQL_stmt_commit" || kind == "PLpgSQL_stmt_rollback") {
      code_.ends_transactions = true;
    }
    for (auto const& child : node.children()) visit(child);
  }

 private:
  void add(InnerStatement statement, SyntaxNode node, std::string_view text) {
    auto const found = code_.body.find(text, cursor_);
    if (found == std::string::npos) {
      statement.offset = begin_of_line(code_.body, node.number("lineno"));
    } else {
      statement.offset = found;
      cursor_ = found + text.size();
    }
    code_.statements.push_back(std::move(statement));
  }

  InnerCode& code_;
  std::size_t cursor_ = 0;
};

void read_sql_body(InnerCode& code) {
  for (auto const& statement : split_script(code.body).statements) {
    auto const span = statement.span;
    code.statements.push_back({code.body.substr(span.begin, span.end - span.begin), span.begin});
  }
}

// The parser reads each expression in the body by itself, as deep as it is.
bool is_too_deep(std::string_view body) {
  auto const statements = split_script(body).statements;
  return std::any_of(statements.begin(), statements.end(),
                     [](ScriptStatement const& each) { return each.nesting > kMaxNesting; });
}

// The parser knows no types, and so refuses variables with a collation, which says nothing of locks. As long as before.
std::string without_collations(std::string text) {
  static constexpr std::string_view kWord = "collate";
  auto const is_same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  auto const is_part = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '"';
  };
  for (auto at = text.begin();;) {
    at = std::search(at, text.end(), kWord.begin(), kWord.end(), is_same);
    if (at == text.end()) return text;
    bool const is_word = at != text.begin() && !is_part(*(at - 1));
    auto const name = std::find_if(at + kWord.size(), text.end(), [](char c) { return c != ' '; });
    auto const end = std::find_if_not(name, text.end(), is_part);
    if (is_word && name != at + kWord.size()) std::fill(at, end, ' ');
    at = end;
  }
}

void read_plpgsql_body(InnerCode& code, std::string const& text) {
  if (is_too_deep(code.body)) {
    code.error = "it may be nested too deep to be read safely";
    return;
  }
  auto parsed = parse_plpgsql(text);
  if (!parsed.error.empty()) parsed = parse_plpgsql(without_collations(text));
  code.error = parsed.error;
  Walk walk(code);
  for (auto const& function : parsed.statements) walk.visit(function);
}

// Behind the opening quote of the body, whose place the parser gives.
std::size_t behind_quote(std::string_view text, std::size_t at) {
  at = std::min(text.find_first_of("$'", at), text.size());
  if (at < text.size() && text[at] == '$') return std::min(text.find('$', at + 1), text.size() - 1) + 1;
  return std::min(at + 1, text.size());
}

}  // namespace

std::optional<InnerCode> inner_code(SyntaxNode statement, std::string const& text) {
  InnerCode code;
  bool const is_do = statement.is("DoStmt");
  bool has_body = false;
  code.language = is_do ? "plpgsql" : "";
  for (auto const& option : statement.list(is_do ? "args" : "options")) {
    auto const arg = option.get("arg");
    if (option.text("defname") == "language") code.language = std::string(arg.text("sval"));
    if (option.text("defname") != "as") continue;
    auto const items = arg.list("items");
    if (items.size() > 1) return std::nullopt;  // C: a file and a symbol
    code.body = std::string(items.empty() ? arg.text("sval") : items.front().text("sval"));
    auto const at = static_cast<std::size_t>(std::max<std::int64_t>(option.number("location"), 0));
    code.body_offset = behind_quote(text, is_do ? at : std::min(text.find_first_of("$'", at), text.size()));
    has_body = true;
  }
  if (!has_body) return std::nullopt;
  if (code.language == "plpgsql") read_plpgsql_body(code, text);
  if (code.language == "sql") read_sql_body(code);
  return code;
}

}  // namespace pgbackfill::planner::lint
