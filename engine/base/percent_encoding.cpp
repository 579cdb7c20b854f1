#include "engine/base/percent_encoding.h"

#include <fmt/format.h>

namespace pgbackfill::engine {

std::string percent_encoded(std::string_view text, std::string_view plain) {
  std::string encoded;
  for (char const letter : text) {
    bool const is_plain = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
                          (letter >= '0' && letter <= '9') || plain.find(letter) != std::string_view::npos;
    encoded += is_plain ? std::string(1, letter) : fmt::format("%{:02X}", static_cast<unsigned char>(letter));
  }
  return encoded;
}

}  // namespace pgbackfill::engine
