// The fields of a row of state, one after the other, in the order of the SELECT.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

// The first field of the row is the name that a message has. Borrows the row.
class RowFields {
 public:
  explicit RowFields(std::vector<std::optional<std::string>> const& row) : row_(row) {}

  std::optional<std::string> maybe_text() { return row_.at(next_++); }
  std::string text() { return maybe_text().value_or(""); }
  // Throws BrokenState where there is something else.
  std::optional<std::int64_t> maybe_number() {
    auto const value = maybe_text();
    if (!value) return std::nullopt;
    return number_of(value,
                     fmt::format("pgbackfill, of {}: column {} of what is read", row_.at(0).value_or("?"), next_));
  }
  std::int64_t number() { return maybe_number().value_or(0); }

 private:
  std::vector<std::optional<std::string>> const& row_;
  std::size_t next_ = 0;
};

}  // namespace pgbackfill::engine::state
