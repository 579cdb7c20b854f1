// What a text of `on:` stands for: variables of the environment and files are read here, when they are needed.
//
// Nothing keeps what it gives, and no message shows it. Any thread.
#pragma once

#include <string>
#include <variant>

#include "planner/model/delivery.h"

namespace pgbackfill::engine {

struct SecretProblem {
  std::string text;  // says what is missing, without its value
};

std::variant<std::string, SecretProblem> secret_of(planner::SecretText const& secret);

// What is missing of a delivery's secrets now; empty: nothing.
std::string missing_of(planner::Delivery const& delivery);

}  // namespace pgbackfill::engine
