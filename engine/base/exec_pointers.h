// The form in which execve() wants arguments and environment.
#pragma once

#include <string>
#include <vector>

namespace pgbackfill::engine {

// Into `texts`, which must live as long; ends with nullptr. The program that is run may write to them, we do not.
inline std::vector<char*> pointers_to(std::vector<std::string> const& texts) {
  std::vector<char*> pointers;
  for (auto const& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace pgbackfill::engine
