#include "engine/web/signature.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>
#include <cstddef>
#include <stdexcept>

namespace pgbackfill::engine {

namespace {

constexpr std::size_t kBytes = 32;

std::string hex_of(unsigned char const* bytes, std::size_t count) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (std::size_t at = 0; at < count; ++at) {
    text += kDigits[bytes[at] >> 4];
    text += kDigits[bytes[at] & 0xF];
  }
  return text;
}

}  // namespace

std::string random_secret() {
  std::array<unsigned char, kBytes> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) throw std::runtime_error("no random numbers");
  return hex_of(bytes.data(), bytes.size());
}

std::string signature_of(std::string_view secret, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<unsigned char const*>(text.data()), text.size(), digest.data(), &length);
  return hex_of(digest.data(), length);
}

bool is_same_secret(std::string_view one, std::string_view other) {
  return one.size() == other.size() && CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

}  // namespace pgbackfill::engine
