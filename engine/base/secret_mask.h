// Takes passwords out of texts before they are shown to people or kept for them.
//
// Two degrees. masked() is for what a shell runs and what programs print: everything that is assigned to a name with
// PASSWORD, PASSWD, SECRET or TOKEN in it goes, and so do values that the environment has under such names. Too short
// a value is left: taking "1" out of every number would say more than it hides. without_passwords() is for all else,
// SQL among it, where `password = lower(name)` is no secret: it takes those of connection strings and of roles alone.
// Pure functions.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::engine {

inline constexpr std::size_t kShortestSecret = 4;

std::vector<std::string> secrets_in(std::map<std::string, std::string> const& environment);

// Of this process's own environment; and of variables that hold secrets whatever they are called.
std::vector<std::string> secrets_of_environment(std::vector<std::string> const& variables = {});

// "postgresql://app:***@db/prod", "PGPASSWORD=*** psql"
std::string masked(std::string text, std::vector<std::string> const& secrets);

// "host=db password=***", "CREATE ROLE app PASSWORD ***"
std::string without_passwords(std::string text);

// What masked() would take out of a text, so that it can be found in a larger text that holds this one.
struct FoundSecret {
  std::string bare;        // without quotes
  std::string surrounded;  // with what says that it is one
  std::string masked;      // the same afterwards
};
std::vector<FoundSecret> find_secrets(std::string const& text);

}  // namespace pgbackfill::engine
