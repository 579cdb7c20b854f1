#include "planner/lint/volatility.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace pgbackfill::planner::lint {
namespace {

// Of pg_catalog, what people write in defaults. Sorted.
constexpr std::array kNotVolatile = {
    "abs",
    "acos",
    "age",
    "array_append",
    "array_cat",
    "array_fill",
    "array_length",
    "array_position",
    "array_prepend",
    "array_remove",
    "array_to_json",
    "array_to_string",
    "ascii",
    "atan",
    "bit_length",
    "btrim",
    "cardinality",
    "cbrt",
    "ceil",
    "ceiling",
    "char_length",
    "chr",
    "concat",
    "concat_ws",
    "convert_from",
    "convert_to",
    "cos",
    "current_database",
    "current_schema",
    "current_schemas",
    "current_setting",
    "date",
    "date_bin",
    "date_part",
    "date_trunc",
    "daterange",
    "decode",
    "degrees",
    "div",
    "encode",
    "exp",
    "extract",
    "floor",
    "format",
    "get_byte",
    "host",
    "inet_client_addr",
    "initcap",
    "int4range",
    "int8range",
    "isfinite",
    "json_array_length",
    "json_build_array",
    "json_build_object",
    "json_object",
    "jsonb_array_length",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object",
    "jsonb_set",
    "jsonb_strip_nulls",
    "justify_days",
    "justify_hours",
    "justify_interval",
    "left",
    "length",
    "ln",
    "localtime",
    "localtimestamp",
    "log",
    "lower",
    "lower_inc",
    "lpad",
    "ltrim",
    "make_date",
    "make_interval",
    "make_time",
    "make_timestamp",
    "make_timestamptz",
    "masklen",
    "md5",
    "mod",
    "now",
    "num_nonnulls",
    "num_nulls",
    "numrange",
    "octet_length",
    "overlay",
    "pi",
    "position",
    "power",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "radians",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "row_to_json",
    "rpad",
    "rtrim",
    "scale",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "sign",
    "sin",
    "split_part",
    "sqrt",
    "starts_with",
    "statement_timestamp",
    "string_to_array",
    "strpos",
    "substr",
    "substring",
    "tan",
    "timezone",
    "to_char",
    "to_date",
    "to_hex",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsquery",
    "to_tsvector",
    "transaction_timestamp",
    "translate",
    "trim",
    "trunc",
    "tsrange",
    "tstzrange",
    "txid_current",
    "upper",
    "upper_inc",
    "uuid_nil",
    "version",
    "width_bucket",
};

bool is_known_steady(std::string_view name) {
  return std::binary_search(kNotVolatile.begin(), kNotVolatile.end(), name,
                            [](std::string_view a, std::string_view b) { return a < b; });
}

bool is_steady(std::string const& name, SchemaFacts const& facts) {
  if (auto const own = facts.functions.find(name); own != facts.functions.end()) return own->second.volatility != 'v';
  return is_known_steady(name);
}

}  // namespace

std::string volatile_function_in(SyntaxNode expression, SchemaFacts const& facts) {
  if (expression.is("FuncCall")) {
    auto name = joined_name(expression.list("funcname"));
    if (!is_steady(name, facts)) return name;
  }
  for (auto const& child : expression.children()) {
    if (auto name = volatile_function_in(child, facts); !name.empty()) return name;
  }
  return {};
}

}  // namespace pgbackfill::planner::lint
