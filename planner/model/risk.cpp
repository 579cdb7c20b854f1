#include "planner/model/risk.h"

namespace pgbackfill::planner {

std::string_view risk_word(Risk risk) {
  switch (risk) {
    case Risk::kLow:
      return "low";
    case Risk::kMedium:
      return "medium";
    case Risk::kHigh:
      return "high";
    case Risk::kDestructive:
      return "destructive";
  }
  return "";
}

}  // namespace pgbackfill::planner
