#include "engine/run/next_pass.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "engine/pg/catalog.h"
#include "planner/keys/key_choice.h"
#include "planner/model/ranges.h"

namespace pgbackfill::engine {

namespace {

using state::StoredLeaf;

// The leaf as it is now. Its number is new, or that which it had.
Result<StoredLeaf> leaf_now(planner::LeafFacts const& facts, planner::Backfill const& backfill, StoredLeaf const* known,
                            int free_number) {
  auto choice = known == nullptr ? planner::choose_key(facts, backfill) : planner::key_now(known->key, facts);
  if (auto const* refusal = std::get_if<planner::Refusal>(&choice)) {
    Failure failure;
    failure.message = refusal->text;
    return failure;
  }
  StoredLeaf leaf;
  leaf.number = known == nullptr ? free_number : known->number;
  leaf.oid = facts.oid;
  leaf.schema = facts.schema;
  leaf.name = facts.name;
  leaf.key = std::get<planner::Key>(std::move(choice));
  leaf.rows_estimated = facts.rows_estimated;
  leaf.blocks = facts.blocks;
  leaf.bytes = facts.bytes;
  if (known != nullptr) leaf.upper = known->upper;
  return leaf;
}

}  // namespace

asio::awaitable<Result<state::NextPass>> plan_next_pass(PgConnection& connection, planner::Backfill backfill,
                                                        planner::WorkTraits traits, planner::TableFacts table,
                                                        std::vector<StoredLeaf> stored, planner::PassScope scope) {
  state::NextPass next;
  // Numbers of leaves that are gone stay theirs.
  int free_number = 0;
  for (auto const& leaf : stored) free_number = std::max(free_number, leaf.number + 1);
  for (auto const& facts : table.leaves) {
    auto const found =
        std::find_if(stored.begin(), stored.end(), [&](StoredLeaf const& leaf) { return leaf.oid == facts.oid; });
    StoredLeaf const* const known = found == stored.end() ? nullptr : &*found;
    bool const is_back = known != nullptr && known->is_gone;
    planner::LeafOfPass of_pass;
    of_pass.is_known = known != nullptr;
    of_pass.is_back = is_back;
    if (planner::part_of_leaf(scope, of_pass) == planner::LeafPart::kNothing) continue;
    auto leaf = leaf_now(facts, backfill, known, free_number);
    if (!leaf) co_return leaf.error();
    of_pass.by_block = leaf->key.is_by_block();
    of_pass.end = leaf->upper;
    auto const part = planner::part_of_leaf(scope, of_pass);
    bool const is_whole = part == planner::LeafPart::kWhole;
    auto const work = planner::make_work_target(backfill, table, facts, leaf->key, traits);
    auto upper = co_await read_last_key(connection, work);
    if (!upper) co_return upper.error();
    std::vector<planner::KeyValue> bounds;
    if (*upper && is_whole) {
      auto read = co_await read_bounds(connection, work, facts, *upper);
      if (!read) co_return read.error();
      bounds = std::move(*read);
    }
    for (auto& range : planner::ranges_of_leaf(part, of_pass, bounds, *upper, leaf->rows_estimated)) {
      next.ranges.push_back({leaf->number, std::move(range)});
    }
    if (*upper) leaf->upper = *upper;
    if (known == nullptr) {
      ++free_number;
      next.new_leaves.push_back(*leaf);
    }
    if (is_back) next.returned.emplace_back(*leaf, is_whole);
    next.known.push_back(std::move(*leaf));
  }
  co_return next;
}

}  // namespace pgbackfill::engine
