#include "throttle/fairness.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pgbackfill::throttle {
namespace {

constexpr double kLeastWeight = 1e-6;
constexpr double kUsed = 0.9;  // of what is allowed: then it would use more
constexpr double kMargin = 1.25;

double weight_of(Claim const& claim) {
  return claim.weight > kLeastWeight ? claim.weight : kLeastWeight;
}

}  // namespace

std::vector<double> share_out(double total, std::vector<Claim> const& claims) {
  std::vector<double> parts(claims.size(), 0);
  std::vector<bool> is_settled(claims.size(), false);
  double left = std::max(total, 0.0);
  // Each round settles at least one claim or ends.
  for (std::size_t round = 0; round <= claims.size(); ++round) {
    double weights = 0;
    for (std::size_t at = 0; at < claims.size(); ++at) weights += is_settled[at] ? 0 : weight_of(claims[at]);
    if (weights <= 0) break;
    double const per_weight = left / weights;
    bool is_changed = false;
    for (std::size_t at = 0; at < claims.size(); ++at) {
      if (is_settled[at]) continue;
      parts[at] = per_weight * weight_of(claims[at]);
      if (claims[at].wanted > parts[at]) continue;
      parts[at] = std::max(claims[at].wanted, 0.0);
      is_settled[at] = is_changed = true;
    }
    if (!is_changed) break;
    left = std::max(total, 0.0);
    for (std::size_t at = 0; at < claims.size(); ++at) left -= is_settled[at] ? parts[at] : 0;
    left = std::max(left, 0.0);
  }
  return parts;
}

double wanted_of(double used, double allowed) {
  return used >= kUsed * allowed ? std::numeric_limits<double>::infinity() : kMargin * used;
}

}  // namespace pgbackfill::throttle
