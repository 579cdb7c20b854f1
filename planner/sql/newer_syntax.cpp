#include "planner/sql/newer_syntax.h"

#include <array>
#include <cctype>
#include <string>

namespace pgbackfill::planner::lint {
namespace {

// Words in their order, with anything between them.
struct Form {
  std::array<std::string_view, 4> words;
  std::string_view form;
  int major;
};

constexpr std::array kForms = {
    Form{{"NOT", "ENFORCED"}, "NOT ENFORCED", 18},
    Form{{"ALTER", "CONSTRAINT", "ENFORCED"}, "ALTER CONSTRAINT ... ENFORCED", 18},
    Form{{"GENERATED", "ALWAYS", "AS", "VIRTUAL"}, "a virtual generated column", 18},
    Form{{"CONSTRAINT", "NOT", "NULL"}, "a constraint NOT NULL with a name", 18},
    Form{{"WITHOUT", "OVERLAPS"}, "WITHOUT OVERLAPS", 18},
    Form{{"FOREIGN", "KEY", "PERIOD"}, "a foreign key with PERIOD", 18},
    Form{{"VACUUM", "ONLY"}, "VACUUM ONLY", 18},
    Form{{"SET", "EXPRESSION"}, "SET EXPRESSION", 17},
    Form{{"ACCESS", "METHOD", "DEFAULT"}, "SET ACCESS METHOD DEFAULT", 17},
    Form{{"BY", "SOURCE"}, "MERGE ... WHEN NOT MATCHED BY SOURCE", 17},
    Form{{"MERGE", "RETURNING"}, "MERGE ... RETURNING", 17},
    Form{{"JSON_TABLE"}, "JSON_TABLE", 17},
    Form{{"AT", "LOCAL"}, "AT LOCAL", 17},
    Form{{"IS", "JSON"}, "IS JSON", 16},
    Form{{"STORAGE"}, "STORAGE in CREATE TABLE", 16},
    Form{{"GRANT", "WITH", "INHERIT"}, "GRANT ... WITH INHERIT", 16},
    Form{{"CREATE", "STATISTICS", "ON"}, "CREATE STATISTICS without a name", 16},
    // Not as unlikely as the rest to be a mistake, so it comes last.
    Form{{"REPACK"}, "REPACK", 19},
};

bool is_word_part(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// " NOT ENFORCED ", without strings and punctuation.
std::string spaced_words(std::string_view sql) {
  std::string words = " ";
  bool is_in_string = false;
  for (char const c : sql) {
    if (c == '\'') is_in_string = !is_in_string;
    if (is_word_part(c) && !is_in_string) {
      words += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    } else if (words.back() != ' ') {
      words += ' ';
    }
  }
  return words + " ";
}

bool is_in(Form const& form, std::string_view words) {
  std::size_t at = 0;
  for (auto const word : form.words) {
    if (word.empty()) break;
    auto const found = words.find(" " + std::string(word) + " ", at);
    if (found == std::string_view::npos) return false;
    at = found + word.size() + 1;
  }
  return true;
}

}  // namespace

std::optional<NewerSyntax> newer_syntax_in(std::string_view sql) {
  auto const words = spaced_words(sql);
  for (auto const& form : kForms) {
    if (is_in(form, words)) return NewerSyntax{form.form, form.major};
  }
  return std::nullopt;
}

}  // namespace pgbackfill::planner::lint
