# Read by CPack, once for each kind of package: the parts that go into it.

set(CPACK_INSTALL_CMAKE_PROJECTS "${CPACK_PGBACKFILL_BUILD};pgbackfill;runtime;/")
if(CPACK_GENERATOR STREQUAL TGZ)
  # After runtime, because it replaces the program.
  list(APPEND CPACK_INSTALL_CMAKE_PROJECTS "${CPACK_PGBACKFILL_BUILD};pgbackfill;portable;/")
  set(CPACK_PACKAGE_FILE_NAME pgbackfill-${CPACK_PACKAGE_VERSION}-linux-${CPACK_PGBACKFILL_PROCESSOR})
  set(CPACK_PACKAGING_INSTALL_PREFIX /)
endif()
