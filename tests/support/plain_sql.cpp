#include "tests/support/plain_sql.h"

#include <regex>

namespace pgbackfill::tests {

std::string plain(std::string const& sql) {
  static std::regex const qualified(R"(OPERATOR\(pg_catalog\.([<>=]+)\))");
  return std::regex_replace(sql, qualified, "$1");
}

std::vector<std::string> plain(std::vector<std::string> texts) {
  for (auto& text : texts) text = plain(text);
  return texts;
}

}  // namespace pgbackfill::tests
