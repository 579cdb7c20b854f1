// The file of a backup while it is made: readable by its owner alone, never one that was there, never through a link.
//
// It is written as FILE.partial and gets its name when it is whole. Errors are texts for the operator; empty: none.
// Thread rule: blocks for as long as the disk takes, so that sync() belongs to a thread beside the engine's.
#pragma once

#include <filesystem>
#include <string>

namespace pgbackfill::engine {

class BackupFile {
 public:
  explicit BackupFile(std::filesystem::path file);
  // Takes the partial file away, unless it got its name.
  ~BackupFile();
  BackupFile(BackupFile const&) = delete;
  BackupFile& operator=(BackupFile const&) = delete;

  std::string create();
  // To disk: pg_dump does so only with a file that it has opened itself.
  std::string sync() const;
  std::string settle();

  int descriptor() const { return descriptor_; }
  std::filesystem::path const& partial() const { return partial_; }
  std::uintmax_t bytes() const;

 private:
  std::filesystem::path file_;
  std::filesystem::path partial_;
  int descriptor_ = -1;
  bool is_settled_ = false;
};

}  // namespace pgbackfill::engine
