// Micro bench of lint: 200 statements of an ordinary set of migrations. The bar is 10 ms. Links benchmark_main.
#include <benchmark/benchmark.h>

#include <array>
#include <string>

#include "planner/lint/lint.h"
#include "planner/sql/sql_syntax.h"

namespace pgbackfill::planner::lint {
namespace {

constexpr int kStatements = 200;

std::string migrations() {
  static constexpr std::array<char const*, 10> kForms{
      "CREATE TABLE t%(id bigint PRIMARY KEY, name varchar(40) NOT NULL, age int CHECK (age > 0), at timestamptz "
      "DEFAULT "
      "now());\n",
      "CREATE INDEX CONCURRENTLY t%_name ON t% (name) WHERE age IS NOT NULL;\n",
      "ALTER TABLE users ADD COLUMN c% text NOT NULL DEFAULT 'x';\n",
      "ALTER TABLE users ALTER COLUMN age% TYPE bigint;\n",
      "ALTER TABLE orders ADD CONSTRAINT fk% FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;\n",
      "-- pgbackfill: allow drop-column because nobody reads it\nALTER TABLE users DROP COLUMN old%;\n",
      "UPDATE users SET name = upper(name), age = coalesce(age, 0) WHERE id % 7 = 3 AND name IS NOT NULL;\n",
      "INSERT INTO settings (k, v) VALUES ('a%', '1'), ('b%', '2'), ('c%', '3');\n",
      "CREATE VIEW v% AS SELECT u.id, u.name, o.total FROM users u JOIN orders o ON o.user_id = u.id WHERE o.total > "
      "10;\n",
      "SET LOCAL lock_timeout = '1s';\n",
  };
  std::string text;
  for (int number = 0; number < kStatements; ++number) {
    std::string form = kForms[static_cast<std::size_t>(number) % kForms.size()];
    for (auto at = form.find('%'); at != std::string::npos; at = form.find('%', at + 1)) {
      if (form.compare(at, 3, "% 7") != 0) form.replace(at, 1, std::to_string(number));
    }
    text += form;
  }
  return text;
}

void lint_of_200_statements(benchmark::State& state) {
  auto const text = migrations();
  for (auto _ : state) {
    Linter linter({});
    auto const linted = linter.lint_sql(text, "a.sql");
    benchmark::DoNotOptimize(linted.findings.data());
  }
  state.SetItemsProcessed(state.iterations() * kStatements);
}
BENCHMARK(lint_of_200_statements)->Unit(benchmark::kMillisecond);

void parse_of_a_statement(benchmark::State& state) {
  std::string const sql = "ALTER TABLE orders ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID";
  for (auto _ : state) benchmark::DoNotOptimize(parse_sql(sql).statements.data());
}
BENCHMARK(parse_of_a_statement)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace pgbackfill::planner::lint
