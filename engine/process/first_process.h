// The first process of a container, which the kernel makes the parent of every process there that has lost its own.
#pragma once

namespace pgbackfill::engine {

// As the first process: goes on in a child, and returns there. The first one itself hands signals on to it, reaps what
// others have left behind, and ends as the child does. Else it does nothing. To be called before there are threads.
void leave_first_process();

}  // namespace pgbackfill::engine
