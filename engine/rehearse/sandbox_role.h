// The role of a rehearsal on its sandbox: owner of the database, and no superuser.
//
// A profile has functions, triggers and checks in it that others wrote, and they run when rows are made and changed. A
// superuser of the sandbox could run programs on this machine; what they run as may not. Throws CommandError. Blocks.
#pragma once

#include <filesystem>
#include <string>

#include "engine/process/command_context.h"
#include "engine/rehearse/profile.h"

namespace pgbackfill::engine {

// `conninfo`: of the superuser, whose password is in `passfile` and becomes the role's as well. Extensions and schemas
// of the profile are made, which only a superuser may in part. Gives the role's conninfo.
std::string make_sandbox_role(CommonOptions options, std::string const& conninfo, std::filesystem::path const& passfile,
                              Profile const& profile);

}  // namespace pgbackfill::engine
