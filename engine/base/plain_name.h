// Names of relations without their quotes, for readers who compare them with those of others, who do not quote.
//
// Pure function.
#pragma once

#include <string>

namespace pgbackfill::engine {

// Of "public"."users", public.users.
std::string plain_name(std::string const& quoted);

}  // namespace pgbackfill::engine
