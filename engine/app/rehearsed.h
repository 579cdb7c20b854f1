// A migration as it is rehearsed on a stand-in: the work and the steps, and nothing that reaches anybody else.
//
// Hooks and receivers are of production, windows would make it wait for the night, and the probes, writers and replicas
// that a file names are not there. Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/process/command_context.h"

namespace pgbackfill::engine {

void keep_to_rehearsal(LoadedMigration& loaded);

// What keep_to_rehearsal() leaves out of this one, for people.
std::vector<std::string> left_out_of_rehearsal(LoadedMigration const& loaded);

}  // namespace pgbackfill::engine
