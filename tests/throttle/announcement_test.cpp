#include "throttle/announcement.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace pgbackfill::throttle {
namespace {

constexpr double kAll = std::numeric_limits<double>::infinity();

NeighbourReading self(std::string name = "users_display_name") {
  NeighbourReading reading;
  reading.name = std::move(name);
  reading.weight = 0.8;
  reading.wal_per_second = 31.2e6;
  reading.wal_wanted = kAll;
  reading.workers = 3;
  reading.workers_wanted = 4;
  return reading;
}

TEST(Announcement, IsReadAsItWasWritten) {
  std::string const text = announcement_of(self());
  EXPECT_EQ(text, "pgbackfill w=0.8 wal=31200/* b=3/4 users_display_name");
  auto const read = neighbour_of(text);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->name, "users_display_name");
  EXPECT_DOUBLE_EQ(read->weight, 0.8);
  EXPECT_DOUBLE_EQ(read->wal_per_second, 31.2e6);
  EXPECT_EQ(read->wal_wanted, kAll);
  EXPECT_DOUBLE_EQ(read->workers, 3);
  EXPECT_DOUBLE_EQ(read->workers_wanted, 4);
  EXPECT_EQ(read->database, "");
}

TEST(Announcement, KeepsTheExtremesWithinTheServersBytes) {
  for (double const weight : {0.0, 1e-9, 0.01441 / 100, 1.0, 86.74, 1e9}) {
    for (double const rate : {0.0, 1.0, 1e15, kAll}) {
      NeighbourReading extreme = self(std::string(63, 'n'));
      extreme.weight = weight;
      extreme.wal_per_second = std::min(rate, 1e15);
      extreme.wal_wanted = rate;
      extreme.workers = 256;
      extreme.workers_wanted = 256;
      std::string const text = announcement_of(extreme);
      EXPECT_EQ(text.size(), kMostAnnouncementBytes) << text;
      auto const read = neighbour_of(text);
      ASSERT_TRUE(read) << text;
      EXPECT_GT(read->weight, 0);
      EXPECT_LE(read->weight, kMostAnnouncedWeight);
      EXPECT_TRUE(read->name.starts_with('n')) << text;
      EXPECT_TRUE(read->name.ends_with('~')) << text;
      EXPECT_EQ(read->wal_per_second > 0, rate > 0) << "a little is not nothing";
    }
  }
}

TEST(Announcement, WritesPrintableAsciiAlone) {
  EXPECT_EQ(neighbour_of(announcement_of(self("größe \"x\"\n\x01")))->name, "gr??e \"x\"??");
  EXPECT_EQ(neighbour_of(announcement_of(self("")))->name, "");
}

TEST(Announcement, TakesNothingElseForOne) {
  for (char const* text :
       {"", "pgbackfill", "pgbackfill probes", "pgbackfill w=", "pgbackfill w=1", "pgbackfill w=1 wal=1/2 b=1/2",
        "pgbackfill w=0 wal=1/2 b=1/2 job", "pgbackfill w=-1 wal=1/2 b=1/2 job", "pgbackfill w=nan wal=1/2 b=1/2 job",
        "pgbackfill w=inf wal=1/2 b=1/2 job", "pgbackfill w=* wal=1/2 b=1/2 job", "pgbackfill w=1 wal=*/2 b=1/2 job",
        "pgbackfill w=1 wal=1/-2 b=1/2 job", "pgbackfill w=1 wal=1/2 b=x/2 job", "pgbackfill w=1wal=1/2 b=1/2 job",
        "pgbackfill w=1e999 wal=1/2 b=1/2 job", " pgbackfill w=1 wal=1/2 b=1/2 job"}) {
    EXPECT_FALSE(neighbour_of(text)) << text;
  }
}

TEST(Announcement, BoundsWhatSomebodyElseMayHaveWritten) {
  auto const read = neighbour_of("pgbackfill w=1e30 wal=1e300/1e300 b=1e9/1e9 job");
  ASSERT_TRUE(read);
  EXPECT_DOUBLE_EQ(read->weight, kMostAnnouncedWeight);
  EXPECT_LE(read->wal_per_second, 1e12);
  EXPECT_LE(read->workers, 999);
}

}  // namespace
}  // namespace pgbackfill::throttle
