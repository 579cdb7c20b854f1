#include "engine/base/approval.h"

#include <fmt/format.h>

namespace pgbackfill::engine {

std::string approval_text(Approval const& approval) {
  return fmt::format("by {} at {}{}", approval.who, approval.at, approval.reason.empty() ? "" : ": " + approval.reason);
}

}  // namespace pgbackfill::engine
