#include "engine/cli/cli.h"
#include "engine/process/first_process.h"

int main(int argc, char** argv) {
  pgbackfill::engine::leave_first_process();
  return pgbackfill::engine::run_cli(argc, argv);
}
