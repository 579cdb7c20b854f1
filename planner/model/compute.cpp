#include "planner/model/compute.h"

namespace pgbackfill::planner {

std::string name_of(Compute const& compute) {
  if (compute.service) return place_of(compute.service->url);
  auto const& command = compute.command;
  auto const last_part = [](std::string const& path) { return path.substr(path.find_last_of('/') + 1); };
  std::string name = command.empty() ? "" : last_part(command.front());
  for (std::size_t index = 1; index < command.size(); ++index) {
    if (command[index].starts_with('-')) continue;
    return name + ' ' + last_part(command[index]);
  }
  return name;
}

}  // namespace pgbackfill::planner
