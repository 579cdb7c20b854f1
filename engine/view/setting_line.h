// A setting of a job that can be changed while it runs, as it is shown. Plain values.
#pragma once

#include <string>

namespace pgbackfill::engine {

struct SettingLine {
  std::string key;
  std::string value;
  std::string origin;  // "default", "file", "live", "job"
  std::string help;
  std::string bounds;
};

}  // namespace pgbackfill::engine
