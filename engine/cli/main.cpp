#include "engine/cli/cli.h"

int main(int argc, char** argv) {
  return pgbackfill::engine::run_cli(argc, argv);
}
