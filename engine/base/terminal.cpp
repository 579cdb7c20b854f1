#include "engine/base/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace pgbackfill::engine {

namespace {

std::string_view environment(char const* name) {
  char const* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_utf8_locale() {
  for (auto const* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    auto const value = environment(name);
    if (value.empty()) continue;
    auto const has = [value](std::string_view part) { return value.find(part) != std::string_view::npos; };
    return has("UTF-8") || has("utf8") || has("utf-8") || has("UTF8");
  }
  return false;
}

}  // namespace

Terminal look_at_terminal(int fd) {
  Terminal terminal;
  auto const term = environment("TERM");
  bool const is_terminal = isatty(fd) != 0;
  terminal.is_live = is_terminal && !term.empty() && term != "dumb";
  terminal.has_color = terminal.is_live && environment("NO_COLOR").empty();
  // The Linux console has no thin half lines.
  terminal.has_unicode = !terminal.is_live || (is_utf8_locale() && term != "linux");
  winsize size{};
  if (is_terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    terminal.columns = size.ws_col;
    terminal.lines = size.ws_row;
  }
  return terminal;
}

}  // namespace pgbackfill::engine
