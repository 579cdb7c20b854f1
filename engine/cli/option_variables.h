// Environment variables in the place of options: --wait-for-server is PGBACKFILL_WAIT_FOR_SERVER.
//
// An option on the command line wins over its variable. What agrees to something, ends a session of somebody else or is
// meant for one time has no variable: left in a shell, it would agree again and again. Only the command that was chosen
// reads the variables of its options.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace pgbackfill::engine {

// Gives the options of a command, or of the program itself, their variables.
void add_variables(CLI::App& app);

// The variable that an option's value is from, given the words of the command line; empty: it is from these.
std::string variable_in_use(CLI::Option const& option, std::vector<std::string> const& words);

}  // namespace pgbackfill::engine
