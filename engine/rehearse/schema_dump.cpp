#include "engine/rehearse/schema_dump.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>

#include "engine/base/secret_mask.h"
#include "engine/base/text.h"
#include "engine/child/child_process.h"
#include "engine/pg/pg_connection.h"
#include "planner/model/sql_text.h"
#include "planner/sql/sql_script.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 300s;
constexpr std::size_t kMostSchemaBytes = 64 * 1024 * 1024;
constexpr int kNotFound = 127;

// What a program writes, in memory: a schema is on no disk but in the profile.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("pgbackfill-schema", MFD_CLOEXEC)) {
    if (descriptor_ < 0) throw CommandError{kExitFailed, "there is no memory for the text of the schema"};
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(MemoryFile const&) = delete;
  MemoryFile& operator=(MemoryFile const&) = delete;

  int descriptor() const { return descriptor_; }
  std::string text() const {
    std::string text;
    std::array<char, 65'536> part{};
    lseek(descriptor_, 0, SEEK_SET);
    for (ssize_t got = 0; (got = read(descriptor_, part.data(), part.size())) > 0;) {
      text.append(part.data(), static_cast<std::size_t>(got));
      if (text.size() <= kMostSchemaBytes) continue;
      throw CommandError{kExitFailed, fmt::format("the schema has more than {} bytes of text, which is more than a "
                                                  "profile may hold",
                                                  kMostSchemaBytes)};
    }
    return text;
  }

 private:
  int descriptor_;
};

std::vector<std::string> common_arguments(std::string const& section) {
  return {"pg_dump",       "--schema-only",        "--no-owner",           "--no-privileges",
          "--no-comments", "--no-security-labels", "--no-publications",    "--no-subscriptions",
          "--no-password", "--no-tablespaces",     "--section=" + section, "--lock-wait-timeout=10s"};
}

asio::awaitable<std::string> dump(std::map<std::string, std::string> environment, std::vector<std::string> arguments) {
  MemoryFile file;
  ChildTerms terms;
  terms.arguments = std::move(arguments);
  auto const secrets = secrets_in(environment);
  terms.environment = std::move(environment);
  terms.output_file = file.descriptor();
  terms.timeout = kPatience;
  auto const child = co_await run_child(std::move(terms));
  if (!child) throw CommandError{kExitFailed, "cannot run pg_dump: " + child.error().message};
  if (child->end == ChildEnd::kExited && child->code == kNotFound) {
    throw CommandError{kExitFailed,
                       "there is no pg_dump in PATH, which gives a profile its schema; install "
                       "PostgreSQL's client programs, of the server's version or later"};
  }
  auto const trouble = end_text(*child, kPatience);
  if (trouble.empty()) co_return file.text();
  throw CommandError{kExitFailed, fmt::format("pg_dump {}: {}", trouble, neutralised(masked(child->errors, secrets)))};
}

// Settings of pg_dump, and what psql alone knows, are none of the schema.
std::string statements_of(std::string const& dump, bool (*is_kept)(std::string_view)) {
  std::string text;
  for (auto const& statement : planner::lint::split_script(dump).statements) {
    std::string_view const sql =
        std::string_view(dump).substr(statement.span.begin, statement.span.end - statement.span.begin);
    bool const is_setting = sql.starts_with("SET ") || sql.starts_with("SELECT pg_catalog.set_config");
    if (!is_setting && is_kept(sql)) text += std::string(sql) + ";\n\n";
  }
  return text;
}

bool is_any(std::string_view /*sql*/) {
  return true;
}

bool is_object(std::string_view sql) {
  static constexpr std::array kBegins = {
      "CREATE SCHEMA ",   "CREATE EXTENSION ", "CREATE TYPE ",        "CREATE DOMAIN ",
      "CREATE FUNCTION ", "CREATE PROCEDURE ", "CREATE AGGREGATE ",   "CREATE OPERATOR ",
      "CREATE CAST ",     "CREATE COLLATION ", "CREATE TEXT SEARCH ", "ALTER TYPE ",
      "ALTER DOMAIN ",    "ALTER OPERATOR ",   "ALTER TEXT SEARCH ",  "CREATE SEQUENCE ",
  };
  return std::any_of(kBegins.begin(), kBegins.end(), [&](char const* begin) { return sql.starts_with(begin); });
}

}  // namespace

std::string kept_objects(std::string const& dump) {
  return statements_of(dump, is_object);
}

asio::awaitable<SchemaText> dump_schema(std::string conninfo, std::vector<planner::TableName> tables) {
  auto const environment = libpq_environment(conninfo);
  SchemaText schema;
  auto objects = common_arguments("pre-data");
  // No table is looked at, and so none is locked.
  objects.insert(objects.end(), {"--exclude-table=*.*", "--exclude-schema=pgbackfill"});
  auto const all = co_await dump(environment, std::move(objects));
  schema.objects = kept_objects(all);
  for (auto const* section : {"pre-data", "post-data"}) {
    auto arguments = common_arguments(section);
    for (auto const& table : tables) {
      arguments.push_back("--table=" + planner::quote_qualified(table.schema, table.name));
    }
    auto const text = co_await dump(environment, std::move(arguments));
    auto& part = std::string_view(section) == "pre-data" ? schema.tables : schema.rest;
    part = statements_of(text, is_any);
  }
  co_return schema;
}

}  // namespace pgbackfill::engine
