#include "engine/process/config_search.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "planner/file/migration_file.h"
#include "planner/file/yaml_document.h"

namespace pgbackfill::engine {

namespace {

namespace fs = std::filesystem;

constexpr std::array<char const*, 2> kNames = {"pgbackfill.yaml", "pgbackfill.yml"};

class OpenFile {
 public:
  explicit OpenFile(std::string const& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }
  OpenFile(OpenFile const&) = delete;
  OpenFile& operator=(OpenFile const&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

CommandError refusal(std::string const& path, std::string const& why) {
  return {kExitUsage, neutralised(path) + ": " + why};
}

// The file that is open is looked at, not its name: that may mean another one by now.
void require_trust(std::string const& path, struct stat const& facts) {
  std::string const names = "it names commands that run as you";
  if (!S_ISREG(facts.st_mode)) throw refusal(path, "this is no file");
  if (facts.st_uid != geteuid() && facts.st_uid != 0) {
    throw refusal(path, fmt::format("it belongs to user {}, who is neither you nor root, and {}; `chown {} {}`, or "
                                    "move it away",
                                    facts.st_uid, names, geteuid(), neutralised(path)));
  }
  if ((facts.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw refusal(path, fmt::format("others may write to it, and {}; `chmod go-w {}`", names, neutralised(path)));
  }
}

std::string read_trusted(std::string const& path) {
  OpenFile const file(path);
  struct stat facts {};
  if (file.fd() < 0 || fstat(file.fd(), &facts) != 0) {
    throw refusal(path, "cannot be read (" + std::error_code(errno, std::generic_category()).message() + ")");
  }
  require_trust(path, facts);
  std::string text(planner::kMaxFileBytes + 1, '\0');
  std::size_t length = 0;
  while (length < text.size()) {
    auto const got = read(file.fd(), text.data() + length, text.size() - length);
    if (got < 0)
      throw refusal(path, "cannot be read (" + std::error_code(errno, std::generic_category()).message() + ")");
    if (got == 0) break;
    length += static_cast<std::size_t>(got);
  }
  text.resize(length);
  return text;
}

bool is_there(fs::path const& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

// Empty when there is none in it.
std::string config_in(fs::path const& folder, std::string const& migration) {
  std::string found;
  for (char const* name : kNames) {
    auto const path = (folder / name).lexically_normal();
    // Somebody's migration may have the name.
    if (!is_there(path) || path == fs::path(migration).lexically_normal()) continue;
    if (!found.empty()) throw refusal(path.string(), "there is " + neutralised(found) + " as well; keep one of them");
    found = path.string();
  }
  return found;
}

std::string look_for(std::string const& beside) {
  std::error_code error;
  fs::path const folder = fs::is_directory(beside, error) ? fs::path(beside) : fs::path(beside).parent_path();
  auto found = config_in(folder, beside);
  if (found.empty() && !folder.empty()) found = config_in("", beside);
  return found;
}

}  // namespace

bool is_config_name(std::string const& file_name) {
  return file_name == kNames[0] || file_name == kNames[1];
}

std::optional<planner::ConfigFile> find_config(ConfigSearch const& search) {
  auto const path = search.named.empty() ? look_for(search.beside) : search.named;
  if (path.empty()) return std::nullopt;
  auto parsed = planner::parse_config(read_trusted(path), path);
  if (!parsed.problems.empty()) throw CommandError{kExitUsage, planner::to_lines(parsed.problems)};
  return std::move(*parsed.config);
}

}  // namespace pgbackfill::engine
