#include "planner/model/compute.h"

namespace pgbackfill::planner {

std::string program_name(std::vector<std::string> const& command) {
  auto const last_part = [](std::string const& path) { return path.substr(path.find_last_of('/') + 1); };
  std::string name = command.empty() ? "" : last_part(command.front());
  for (std::size_t index = 1; index < command.size(); ++index) {
    if (command[index].starts_with('-')) continue;
    return name + ' ' + last_part(command[index]);
  }
  return name;
}

}  // namespace pgbackfill::planner
