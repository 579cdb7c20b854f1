// Values that may be missing, for JSON.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/base/text.h"

namespace pgbackfill::engine {

inline boost::json::value or_null(std::optional<std::int64_t> const& number) {
  return number ? boost::json::value(*number) : boost::json::value(nullptr);
}

inline boost::json::value or_null(std::optional<double> const& number) {
  return number ? boost::json::value(*number) : boost::json::value(nullptr);
}

inline boost::json::value text_or_null(std::optional<std::string> const& text) {
  return text && !text->empty() ? boost::json::value(valid_utf8(*text)) : boost::json::value(nullptr);
}

}  // namespace pgbackfill::engine
