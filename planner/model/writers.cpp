#include "planner/model/writers.h"

#include "planner/model/sql_text.h"

namespace pgbackfill::planner {

namespace {

// What the server keeps of an application_name.
constexpr std::size_t kMaxNameBytes = 63;

std::string condition_of(WriterName const& writer) {
  std::string const name = quote_literal(writer.name);
  return writer.is_prefix ? "pg_catalog.starts_with(a.application_name, " + name + ")" : "a.application_name = " + name;
}

}  // namespace

std::optional<std::string> problem_of_writer(std::string_view text) {
  bool const is_prefix = text.ends_with('*');
  std::string_view const name = is_prefix ? text.substr(0, text.size() - 1) : text;
  if (name.empty()) return "would be every session, this program's too; name the application";
  if (name.find('*') != std::string_view::npos) return "has a * before its end; only the end may be left open";
  if (name.size() > kMaxNameBytes) return "is too long; an application_name has at most 63 bytes in PostgreSQL";
  for (unsigned char const c : name) {
    if (c < 0x20 || c > 0x7E) return "has a character that PostgreSQL replaces in names of applications";
  }
  return std::nullopt;
}

WriterName make_writer(SourcePosition position, std::string_view text) {
  bool const is_prefix = text.ends_with('*');
  if (is_prefix) text.remove_suffix(1);
  return {std::move(position), std::string{text}, is_prefix};
}

std::string writers_sql(std::vector<WriterName> const& names) {
  std::vector<std::string> conditions;
  for (auto const& name : names) conditions.push_back(condition_of(name));
  return "SELECT a.pid, a.application_name, a.usename, CASE WHEN a.backend_start IS NOT NULL THEN "
         "coalesce(a.client_addr::text, 'this machine') END, a.state, pg_catalog.to_char(a.backend_start AT TIME ZONE "
         "'UTC', 'YYYY-MM-DD HH24:MI:SS \"UTC\"') FROM pg_catalog.pg_stat_activity a WHERE a.datid = (SELECT d.oid "
         "FROM "
         "pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) AND a.pid <> "
         "pg_catalog.pg_backend_pid() AND (a.application_name IS NULL OR " +
         join(conditions, " OR ") + ") ORDER BY a.backend_start, a.pid";
}

std::string writer_text(std::vector<std::optional<std::string>> const& row) {
  std::string const pid = "pid " + row.at(0).value_or("?");
  if (!row.at(1)) return pid + ": which application it belongs to cannot be seen; GRANT pg_read_all_stats to this role";
  std::string const who = "application " + quote_literal(*row[1]) + ", user " + row.at(2).value_or("?");
  if (!row.at(5)) {
    return pid + " (" + who +
           "; from where, its state and since when are not for this role to see: GRANT "
           "pg_read_all_stats)";
  }
  return pid + " (" + who + ", from " + row.at(3).value_or("?") + ", " + row.at(4).value_or("state unknown") +
         ", connected since " + *row[5] + ")";
}

}  // namespace pgbackfill::planner
