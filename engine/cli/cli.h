// The command line: what the words mean. Nothing else decides on options or help texts.
#pragma once

namespace pgbackfill::engine {

// Returns the exit code of the program.
int run_cli(int argc, char** argv);

}  // namespace pgbackfill::engine
