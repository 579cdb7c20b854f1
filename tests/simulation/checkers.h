// What must hold of a job's state after every commit, after every recovery, and when it is called complete.
//
// Knows the state only, not how it came about: none of these is a copy of a fence. The first violation is kept.
#pragma once

#include <optional>
#include <string>

#include "tests/simulation/sim_server.h"

namespace pgbackfill::tests {

class Checkers : public Observer {
 public:
  Checkers(SimWorld& world, ServerOptions const& options) : world_(world), options_(options) {}

  std::optional<std::string> const& violation() const { return violation_; }
  void fail(std::string text);

  void before_claim(SimState const& state, std::int64_t range, std::string const& owner) override;
  void before_batch(SimState const& state, planner::BatchRequest const& request, std::string const& owner) override;
  void after_commit(SimState const& state, std::optional<std::int64_t> range) override;
  void after_recovery(SimState const& state) override;
  void before_completion(SimState const& state) override;
  void quarantined(SimState const& state, Key key) override;

 private:
  void check_range(SimState const& state, Range const& range);
  void check_partition(SimState const& state);
  void check_row(SimState const& state, Key key, Row const& row);
  bool must_be_changed(SimState const& state, Key key, Row const& row) const;
  bool is_settled(SimState const& state, Key key, Row const& row) const;

  SimWorld& world_;
  ServerOptions options_;
  std::optional<std::string> violation_;
  std::size_t ranges_seen_ = 0;
};

}  // namespace pgbackfill::tests
