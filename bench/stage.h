// What a macro bench plays on: a primary with one streaming replica, and a fresh copy of the table for each run.
//
// A table is made once, vacuumed and analysed, and each run gets a file copy of its database: the same pages, the same
// statistics, no state of an earlier run. Threads: as LocalCluster.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "engine/sandbox/local_cluster.h"

namespace pgbackfill::bench {

struct TableShape {
  std::int64_t rows = 0;
  bool is_narrow = false;  // about 50 bytes a row instead of 200

  std::string name() const { return (is_narrow ? "narrow_" : "wide_") + std::to_string(rows); }
};

class Stage {
 public:
  Stage();

  // A new database with table `users` of this shape; its predecessor is gone. Returns when the server has written its
  // dirty pages and the replica has caught up.
  std::string fresh(TableShape const& shape);
  // The name of the database that fresh() makes.
  static char const* database();
  // The database that fresh() made last, through another port of the loopback interface.
  std::string dsn_through(int port) const;

  // What the primary's sessions took so far, those that have ended; waits until all of the run's database have. Unlike
  // time, it says the same on a busy machine.
  double cpu_seconds_of_sessions() const;
  // What all processors of the machine did since boot, whoever for, and what they could have done.
  struct MachineTime {
    double busy_seconds = 0;
    double seconds = 0;
  };
  static MachineTime machine_time();

  engine::LocalCluster const& cluster() const { return cluster_; }
  engine::LocalCluster& cluster() { return cluster_; }

 private:
  void make_template(TableShape const& shape);

  engine::LocalCluster cluster_;
  std::set<std::string> templates_;
};

}  // namespace pgbackfill::bench
