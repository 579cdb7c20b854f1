// How jobs of one server divide what it can bear: by weight, and what one does not want goes to the others.
//
// Pure functions; every job computes the same from the same claims.
#pragma once

#include <string>
#include <vector>

namespace pgbackfill::throttle {

struct Claim {
  std::string job;
  double weight = 1;
  double wanted = 0;  // infinity: all it can get
};

// For each claim its part, in their order; together no more than `total`, and all of it if somebody wants it. A weight
// that is not above zero counts as very little. An unlimited total gives everyone what they want.
std::vector<double> share_out(double total, std::vector<Claim> const& claims);

// What a job wants that uses so much of so much: all it can get, or a bit more than it uses.
double wanted_of(double used, double allowed);

}  // namespace pgbackfill::throttle
