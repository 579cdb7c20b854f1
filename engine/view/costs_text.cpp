#include "engine/view/costs_text.h"

#include "engine/base/text.h"
#include "engine/view/console.h"

namespace pgbackfill::engine {

namespace {

// Of smaller tables an estimate is worth nothing to anybody.
constexpr std::int64_t kLeastBytesToCompare = std::int64_t{8} << 20;

}  // namespace

std::string costs_text(JobCosts const& costs) {
  if (!costs.is_over || !costs.estimated_time || costs.bytes_at_start < kLeastBytesToCompare) return "";
  std::string text = "estimated when it began: " + human_duration(*costs.estimated_time);
  std::string real = "it took " + human_duration(costs.time);
  if (costs.estimated_wal_bytes && costs.wal_bytes) {
    text += ", " + human_bytes(*costs.estimated_wal_bytes) + " of WAL";
    real += ", the server wrote " + human_bytes(*costs.wal_bytes) + " of WAL meanwhile";
  }
  if (costs.estimated_bytes) {
    text += ", a heap of " + human_bytes(*costs.estimated_bytes);
    real += ", the heap has " + human_bytes(costs.bytes);
  }
  return text + "; " + real;
}

}  // namespace pgbackfill::engine
