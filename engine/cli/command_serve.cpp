// serve: pages of all migrations, for as long as nobody stops it.

#include "engine/cli/command_serve.h"

namespace pgbackfill::engine {

int serve_command(CommandContext& context, ServeOptions const& options) {
  return context.run(serve(context, options));
}

}  // namespace pgbackfill::engine
