// {batch} in SQL: what is found lies within the text, and replacing it leaves the rest as it is.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "planner/keys/batch_place.h"
#include "planner/sql/batch_placeholder.h"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::string const text(reinterpret_cast<char const*>(data), size);
  std::size_t end = 0;
  std::size_t length = 0;
  auto const found = pgbackfill::planner::batch_placeholders(text);
  for (auto const& one : found) {
    if (one.begin < end || one.begin + one.length > text.size()) std::abort();
    end = one.begin + one.length;
    length += one.length;
  }
  auto const replaced = pgbackfill::planner::with_batch_as(text, "true");
  if (replaced.size() != text.size() - length + 4 * found.size()) std::abort();
  pgbackfill::planner::misplaced_batch(text);
  return 0;
}
