// Somebody's agreement to what `complete` of a migration will destroy.
//
// A value.
#pragma once

#include <string>

namespace pgbackfill::engine {

struct Approval {
  bool holds = false;  // it covers the plan that was asked about
  std::string plan;
  std::string plan_hash;
  std::string reason;
  std::string who;  // "role (user@host)"
  std::string at;   // UTC
};

// "by role (user@host) at ..., reason", for people.
std::string approval_text(Approval const& approval);

}  // namespace pgbackfill::engine
