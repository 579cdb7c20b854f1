// The command `serve`; its options are those of the use case.
#pragma once

#include "engine/app/serve.h"

namespace pgbackfill::engine {

int serve_command(CommandContext& context, ServeOptions const& options);

}  // namespace pgbackfill::engine
