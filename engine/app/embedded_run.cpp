#include "engine/app/embedded_run.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "engine/app/one_migration.h"
#include "engine/base/command_error.h"
#include "engine/process/command_context.h"

namespace pgbackfill::engine {

namespace {

CommonOptions common_options(EmbeddedOptions const& options) {
  CommonOptions common;
  common.dsn = options.dsn;
  for (auto const& [name, text] : options.params) common.params.push_back({name, text});
  return common;
}

}  // namespace

struct EmbeddedRun::Parts {
  explicit Parts(EmbeddedOptions given) : options(std::move(given)), context(common_options(options)) {
    context.interrupts().set_may_leave(false);
  }

  EmbeddedOptions options;
  CommandContext context;
};

EmbeddedRun::EmbeddedRun(EmbeddedOptions options) : parts_(std::make_unique<Parts>(std::move(options))) {}

EmbeddedRun::~EmbeddedRun() = default;

int EmbeddedRun::go() {
  auto& context = parts_->context;
  if (parts_->options.hears_signals) context.interrupts().listen();
  try {
    return context.run_or_throw(run_one(context, parts_->options.run));
  } catch (CommandError const& error) {
    throw RunFailure(error.exit_code, error.text);
  } catch (CutShort const&) {
    return kExitResumable;
  }
}

void EmbeddedRun::request_stop() {
  asio::post(parts_->context.io(), [this] { parts_->context.interrupts().ask(); });
}

}  // namespace pgbackfill::engine
