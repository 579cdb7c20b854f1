// The causes of one decision, and since when each of them has held.
//
// A cause is known again by its kind and what it is about (a replica, a slot, a probe), not by its text, in which the
// numbers change. One that was gone for a moment is still the same.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "throttle/decision.h"

namespace pgbackfill::throttle {

class CauseBook {
 public:
  void begin(TimePoint now);
  void note(CauseKind kind, Grip grip, std::string const& subject, std::string text);
  // Those noted since begin: what stops first, then what slows, then warnings; the order of noting within each.
  std::vector<Cause> take();

  bool has(Grip grip) const;

 private:
  struct Span {
    TimePoint since{};
    TimePoint seen{};
  };

  void forget_old();

  TimePoint now_{};
  std::vector<Cause> causes_;
  std::map<std::pair<CauseKind, std::string>, Span> spans_;
};

}  // namespace pgbackfill::throttle
