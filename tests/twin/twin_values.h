// What columns and keys of the twin campaign can be made of: types with a value for each row number g, and expressions
// that compute one column from another, with the setting that their result depends on. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tests/twin/twin_case.h"

namespace pgbackfill::tests {

// `value` differs from row to row, for g up to some thousands. `few` has a handful of values, for leading columns.
struct KeyType {
  char const* name;
  char const* type;
  char const* value;
  char const* few;
  char const* needs = "";  // icu, citext
};
std::span<KeyType const> key_types();

// {s} is the source, {t} the target, {table} the table as SQL, {bare} its name without the schema.
struct Derivation {
  char const* name;
  char const* source_type;
  char const* source_value;
  char const* target_type;
  char const* expression;
  char const* setting = "";  // that the result depends on
  char const* needs = "";
  char const* target_value = "NULL";  // at the start
};
std::span<Derivation const> derivations();

// Other values of a setting than the default, for the campaign.
struct SettingValues {
  char const* name;
  std::span<char const* const> values;
  bool is_for_superuser = false;
};
std::span<SettingValues const> settings();

bool is_there(std::string_view needs, TwinServer const& server);

// What all tables find beside them: schemas side, app1, app2 (and ext), with the objects that derivations use.
std::string furniture(TwinServer const& server);

}  // namespace pgbackfill::tests
