// One look over a table whose job is complete, for rows that `where` picks after all: which page is next, and when what
// was found is to be done.
//
// A pure state machine: ask next(), do what it says, record what came of it. Found rows are deferred, and visited as
// others are; they are visited before too many of them are known. A look that fails is given up, and the next one
// begins again, as nothing is done twice to a row that `where` no longer picks.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "planner/model/ranges.h"
#include "planner/work/batch.h"

namespace pgbackfill::planner {

// Found rows that wait for a visit at the same time.
inline constexpr std::int64_t kMostFound = 1'000;

struct FollowStep {
  enum class Kind {
    kFindPage,  // look ahead in `interval` for the end of a page of `rows`, then record_page() or record_too_many()
    kDefer,     // defer the rows of `interval` that are still to be done, then record_deferred() or record_too_many()
    kVisit,     // visit what is deferred, then record_visited()
    kThrough,   // the look is over
  };
  Kind kind = Kind::kThrough;
  int leaf = 0;
  Interval interval;
  std::int64_t rows = 0;
};

class FollowWalk {
 public:
  explicit FollowWalk(std::vector<int> leaves) : leaves_(std::move(leaves)) {}

  // `rows`: how many keys the next page should have.
  FollowStep next(std::int64_t rows) const;

  void record_page(Page page);
  // The statement took too long: a page of fewer rows comes next. False: it was of a single key.
  bool record_too_many();
  void record_deferred(std::int64_t rows);
  void record_visited() { found_ = 0; }

 private:
  std::vector<int> leaves_;
  std::size_t at_ = 0;  // of them
  Bound cursor_;
  bool has_page_ = false;
  Page page_;
  std::int64_t found_ = 0;
};

}  // namespace pgbackfill::planner
