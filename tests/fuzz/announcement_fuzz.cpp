// What another session may call itself: anything, and it is read within its bounds or not at all.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "throttle/announcement.h"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace pgbackfill::throttle;
  auto const read = neighbour_of({reinterpret_cast<char const*>(data), size});
  if (!read) return 0;
  if (!(read->weight > 0) || read->weight > kMostAnnouncedWeight) std::abort();
  if (!(read->workers >= 0) || std::isinf(read->workers) || !(read->wal_per_second >= 0)) std::abort();
  if (announcement_of(*read).size() > kMostAnnouncementBytes) std::abort();
  return 0;
}
