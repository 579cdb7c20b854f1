// A user's signal by HTTP: any URL that answers 200 when all is well, or a Prometheus instant query, whose value
// counts.
//
// What an answer means; engine/http asks. Whatever is not clearly good is a bad sample with a reason. Pure.
#pragma once

#include <string>

#include "engine/http/http_call.h"
#include "throttle/reading.h"

namespace pgbackfill::engine {

// Of an instant query for this PromQL at the server with this base URL.
std::string prometheus_query_url(std::string base, std::string const& expression);

// 200 is 0 and any other status 1. Of a query the largest value of its series.
throttle::Sample<double> judge(Url const& url, HttpReply const& answer, throttle::TimePoint asked);

}  // namespace pgbackfill::engine
