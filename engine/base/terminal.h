// What a descriptor can show: whether it is a terminal, of which size, with colours and Unicode or not.
//
// Looks at the descriptor and the environment (TERM, NO_COLOR, LC_ALL, LC_CTYPE, LANG) at each call. Thread rule: none.
#pragma once

namespace pgbackfill::engine {

struct Terminal {
  bool is_live = false;  // can be redrawn in place
  bool has_color = false;
  bool has_unicode = true;  // files and pipes get UTF-8, as logs should
  int columns = 0;          // 0: no terminal, or it does not say
  int lines = 0;
};
Terminal look_at_terminal(int fd);

}  // namespace pgbackfill::engine
