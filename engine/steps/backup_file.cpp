#include "engine/steps/backup_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

namespace pgbackfill::engine {

namespace {

constexpr mode_t kOwnerOnly = 0600;

std::string system_text(int error) {
  return std::generic_category().message(error);
}

bool is_there(std::filesystem::path const& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0;
}

// Of a run that was killed: a plain file of ours.
bool is_leftover(std::filesystem::path const& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid();
}

int open_new(std::filesystem::path const& path) {
  return open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kOwnerOnly);
}

// Fails with EEXIST where the new name is taken. Not all file systems know the first way.
int rename_to_new(std::filesystem::path const& from, std::filesystem::path const& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (link(from.c_str(), to.c_str()) != 0) return errno;
  unlink(from.c_str());
  return 0;
}

}  // namespace

BackupFile::BackupFile(std::filesystem::path file) : file_(std::move(file)), partial_(file_) {
  partial_ += ".partial";
}

BackupFile::~BackupFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  if (!is_settled_) unlink(partial_.c_str());
}

std::string BackupFile::create() {
  if (is_there(file_)) {
    return file_.string() + " is there already and no run of this migration recorded it; move it away";
  }
  if (is_leftover(partial_)) unlink(partial_.c_str());
  descriptor_ = open_new(partial_);
  if (descriptor_ >= 0) return "";
  int const error = errno;
  if (error == EEXIST) {
    return partial_.string() + " is there already and is no plain file of this user; see who made it, and take it away";
  }
  return fmt::format("cannot make {}: {}", partial_.string(), system_text(error));
}

std::string BackupFile::sync() const {
  if (fsync(descriptor_) == 0) return "";
  return fmt::format("cannot write {} to disk: {}", partial_.string(), system_text(errno));
}

std::string BackupFile::settle() {
  int const error = rename_to_new(partial_, file_);
  if (error == EEXIST) return file_.string() + " has appeared meanwhile; move it away";
  if (error != 0) return fmt::format("cannot rename {}: {}", partial_.string(), system_text(error));
  is_settled_ = true;
  auto const folder = file_.has_parent_path() ? file_.parent_path() : std::filesystem::path(".");
  int const directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return "";
  fsync(directory);
  close(directory);
  return "";
}

std::uintmax_t BackupFile::bytes() const {
  struct stat status {};
  return fstat(descriptor_, &status) == 0 ? static_cast<std::uintmax_t>(status.st_size) : 0;
}

}  // namespace pgbackfill::engine
