// Turning data into SQL text: identifiers and literals quoted by rule, never by looks.
//
// Pure. Every identifier is quoted, so that keywords, upper case, dots, quotes and emoji need no thought anywhere
// else. Literals are safe under both settings of standard_conforming_strings.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::planner {

// users -> "users"; a"b -> "a""b".
std::string quote_identifier(std::string_view name);

// "schema"."name"; an empty schema gives "name" alone.
std::string quote_qualified(std::string_view schema, std::string_view name);

// SQL of the table's oid, as regclass; NULL: there is none. Without a schema it is looked up as the file's SQL would,
// in the schemas that the setting pgbackfill.schemas lists: the search_path of our own statements is another one.
std::string oid_of(std::string_view schema, std::string_view name);
// The same for a type, as regtype.
std::string type_oid_of(std::string_view schema, std::string_view name);

// it's -> 'it''s'; a backslash gives the E'' form.
std::string quote_literal(std::string_view text);

// The same for code, which reads better without doubled quotes: $pgbackfill$...$pgbackfill$, or a tag that is not in
// it.
std::string dollar_quoted(std::string_view code);

// ARRAY['a', 'b']::pg_catalog.text[]
std::string text_array(std::vector<std::string> const& texts);

// Puts user SQL where an expression or a condition stands. The line break keeps a trailing `-- comment` of the user
// from swallowing the parenthesis.
std::string parenthesised(std::string_view user_sql);

// The type as the catalog names it, wherever search_path leads: what comes without a schema is PostgreSQL's own. Of
// SQL's own words, such as bigint or "timestamp with time zone", the grammar knows that by itself.
std::string qualified_type(std::string_view type);

std::string join(std::vector<std::string> const& parts, std::string_view separator);

}  // namespace pgbackfill::planner
