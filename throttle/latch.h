// A threshold with hysteresis: holds from above `on` until at or below `off`.
#pragma once

namespace pgbackfill::throttle {

class Latch {
 public:
  bool update(double value, double on, double off) { return is_on_ = value > (is_on_ ? off : on); }
  bool is_on() const { return is_on_; }

 private:
  bool is_on_ = false;
};

}  // namespace pgbackfill::throttle
