// SQL about jobs that were given values of parameters.
#pragma once

#include <string>

namespace pgbackfill::engine::state {

// The migration of this name, and those of the same file with values of its parameters; the latest ones first.
std::string names_with_params(std::string const& name);

}  // namespace pgbackfill::engine::state
