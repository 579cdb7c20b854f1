#include "engine/cli/output_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "engine/base/command_error.h"
#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

[[noreturn]] void refuse_file(std::string const& path, int error) {
  throw CommandError{kExitFailed, fmt::format("cannot write {}: {}", neutralised(path),
                                              std::error_code(error, std::generic_category()).message())};
}

}  // namespace

bool is_standard_output(std::string const& path) {
  return path.empty() || path == "-";
}

void write_output(std::string const& path, std::string const& text) {
  std::string const partial = path + ".part";
  errno = 0;
  std::ofstream file(partial, std::ios::binary | std::ios::trunc);
  if (!file) refuse_file(path, errno);
  file << text;
  file.close();
  if (!file) {
    int const error = errno;
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    refuse_file(path, error);
  }
  std::error_code error;
  std::filesystem::rename(partial, path, error);
  if (!error) return;
  std::error_code ignored;
  std::filesystem::remove(partial, ignored);
  refuse_file(path, error.value());
}

}  // namespace pgbackfill::engine
