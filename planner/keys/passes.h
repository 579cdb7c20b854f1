// When a job goes over the table once more, and when it is done.
//
// Pure. Pass 0 covers the rows that were there at the start. Pass 1 covers what came meanwhile: keys beyond the old end
// and, where `where` tells done from undone, the whole table again, for rows inserted or moved behind a cursor. The end
// of each pass is fixed when it starts, so a flood of inserts cannot keep a job from ending.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/model/key.h"
#include "planner/model/ranges.h"

namespace pgbackfill::planner {

// Paging by block: rows that others move may slip past a pass; so it is repeated until one finds nothing, this often.
inline constexpr int kMostBlockPasses = 20;

struct PassState {
  bool is_complete = false;  // the job
  int pass = 0;
  std::int64_t open_ranges = 0;
  std::int64_t deferred = 0;
  std::int64_t rows_changed = 0;  // in this pass
  std::int64_t rows_left = 0;     // in this pass: skipped because somebody held them
  std::int64_t rows_again = 0;    // in this pass: changed, and still to be changed by `where`
  bool by_block = false;          // any leaf
  bool sweeps = false;            // `where` tells done from undone
};

enum class PassDecision { kWaitForRanges, kVisitDeferred, kNextPass, kComplete, kGiveUp };

PassDecision after_ranges(PassState const& state);

// What a pass goes over.
enum class PassScope {
  kWholeTable,
  kNewRows,    // keys beyond the end of the pass before
  kNewLeaves,  // partitions alone that no pass has met
};

// Where changed rows still satisfy `where`, another pass over them would change them twice.
PassScope scope_of_next_pass(PassState const& state);

// What is left to do where no range is free.
enum class PassEnd {
  kNextPass,    // there are new ranges
  kOpenRanges,  // somebody still works on this pass
  kDeferred,    // only rows that somebody holds are left
  kComplete,
};

struct PassStep {
  enum class Kind {
    kLookForLeaves,  // read whether there are partitions that no pass has met, then record_new_leaves()
    kStart,          // make the pass after `pass`, over `scope`, then record_started()
    kComplete,       // the job, if it is still at `pass`, then record_completed()
    kEnd,            // `end`
    kGiveUp,         // `reason`
  };
  Kind kind = Kind::kEnd;
  int pass = 0;
  PassScope scope = PassScope::kNewRows;
  PassEnd end = PassEnd::kOpenRanges;
  std::string reason;
};

// A state machine from one reading of the job to what comes of it. No step is skipped: a job is complete only after
// nobody has found a new partition.
class PassChange {
 public:
  explicit PassChange(PassState const& state);

  PassStep const& next() const { return step_; }

  void record_new_leaves(bool has_any);
  // false: another worker was quicker.
  void record_started(bool is_ours);
  void record_completed(bool is_ours);

 private:
  void begin(PassState const& state);
  void end(PassEnd end);

  PassStep step_;
};

// A leaf as the next pass meets it.
struct LeafOfPass {
  bool is_known = false;  // to the job
  bool is_back = false;   // it was gone
  bool by_block = false;
  Bound end;  // of the pass before
};

enum class LeafPart { kNothing, kNewKeys, kWhole };
LeafPart part_of_leaf(PassScope scope, LeafOfPass const& leaf);

// The ranges of that part, up to `upper`, the last key that there is now. `bounds` as for cut_by_bounds().
std::vector<PlannedRange> ranges_of_leaf(LeafPart part, LeafOfPass const& leaf, std::vector<KeyValue> const& bounds,
                                         Bound const& upper, std::int64_t rows_estimated);

}  // namespace pgbackfill::planner
