# What is installed with the program, and the packages that tools/package makes of it.

set(doc_dir ${CMAKE_INSTALL_DATAROOTDIR}/doc/pgbackfill)

# Compressed as Debian wants it: without name and time, so that the same source makes the same file.
find_program(PGBACKFILL_GZIP gzip REQUIRED)
set(man_page ${PROJECT_BINARY_DIR}/pgbackfill.1.gz)
set(changelog ${PROJECT_BINARY_DIR}/changelog.gz)
add_custom_command(OUTPUT ${man_page} DEPENDS ${PROJECT_SOURCE_DIR}/packaging/pgbackfill.1 VERBATIM
  COMMAND ${PGBACKFILL_GZIP} -9nc ${PROJECT_SOURCE_DIR}/packaging/pgbackfill.1 > ${man_page})
add_custom_command(OUTPUT ${changelog} DEPENDS ${PROJECT_SOURCE_DIR}/CHANGELOG.md VERBATIM
  COMMAND ${PGBACKFILL_GZIP} -9nc ${PROJECT_SOURCE_DIR}/CHANGELOG.md > ${changelog})
add_custom_target(pgbackfill_docs ALL DEPENDS ${man_page} ${changelog})

install(FILES ${man_page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
install(FILES ${changelog} packaging/copyright DESTINATION ${doc_dir} COMPONENT runtime)
install(FILES packaging/completions/pgbackfill.bash RENAME pgbackfill
  DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/bash-completion/completions COMPONENT runtime)
install(FILES packaging/completions/_pgbackfill
  DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/zsh/vendor-completions COMPONENT runtime)
install(FILES packaging/completions/pgbackfill.fish
  DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/fish/vendor_completions.d COMPONENT runtime)
install(FILES packaging/systemd/pgbackfill@.service packaging/systemd/pgbackfill@.timer packaging/systemd/pgbackfill-serve.service
  DESTINATION lib/systemd/system COMPONENT runtime)
# The rest of examples/ needs the sources. The schema stands where the examples look for it.
install(DIRECTORY examples/ DESTINATION ${doc_dir}/examples COMPONENT runtime
  FILES_MATCHING PATTERN "*.yaml" PATTERN "*.yml" PATTERN "*.sql" PATTERN "*.py" PATTERN "*.ini" PATTERN "*.js"
  PATTERN package.json PATTERN "*.rb" PATTERN "*.rake" PATTERN Rakefile
  PATTERN quickstart.yaml EXCLUDE PATTERN embed EXCLUDE)
install(FILES packaging/prometheus/pgbackfill.rules.yaml packaging/prometheus/pgbackfill.rules.test.yaml
  DESTINATION ${doc_dir}/prometheus COMPONENT runtime)
install(FILES packaging/grafana/pgbackfill.json DESTINATION ${doc_dir}/grafana COMPONENT runtime)
install(DIRECTORY packaging/kubernetes packaging/compose DESTINATION ${doc_dir} COMPONENT runtime)
install(FILES packaging/Dockerfile DESTINATION ${doc_dir} COMPONENT runtime)
install(FILES docs/migration.schema.json docs/config.schema.json DESTINATION ${doc_dir}/docs COMPONENT runtime)

# Licences ask that what is linked in statically brings them; Boost's does not. Shared libraries have packages of their
# own, except in the archive.
foreach(package libpg-query-dev libcli11-dev libconcurrentqueue-dev)
  install(FILES /usr/share/doc/${package}/copyright RENAME ${package} DESTINATION ${doc_dir}/licenses
    COMPONENT runtime OPTIONAL)
endforeach()

# The program of the archive differs in where it looks for libraries. It has an RPATH, not a RUNPATH, because only the
# former holds for what the libraries themselves need.
add_executable(pgbackfill_portable EXCLUDE_FROM_ALL engine/cli/main.cpp)
target_link_libraries(pgbackfill_portable PRIVATE pgbackfill_engine)
target_link_options(pgbackfill_portable PRIVATE LINKER:--disable-new-dtags)
set_target_properties(pgbackfill_portable PROPERTIES OUTPUT_NAME pgbackfill
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/portable BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN/../lib")
# A file of about the same time is taken for up to date; both are linked in the same second at times.
install(CODE "file(REMOVE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/pgbackfill\")"
  COMPONENT portable EXCLUDE_FROM_ALL)
install(TARGETS pgbackfill_portable RUNTIME_DEPENDENCY_SET portable_libraries
  RUNTIME COMPONENT portable EXCLUDE_FROM_ALL)
install(FILES LICENSE DESTINATION . COMPONENT portable EXCLUDE_FROM_ALL)
# All but glibc, which has to fit the kernel and the name services of the host.
install(RUNTIME_DEPENDENCY_SET portable_libraries
  PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|resolv|util|anl|mvec|nsl|nss_[a-z]+)\\.so"
  LIBRARY DESTINATION lib COMPONENT portable EXCLUDE_FROM_ALL)
install(CODE "execute_process(COMMAND_ERROR_IS_FATAL ANY COMMAND ${PROJECT_SOURCE_DIR}/packaging/inventory copyrights
  ${PROJECT_BINARY_DIR}/portable/pgbackfill \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${doc_dir}/licenses\")"
  COMPONENT portable EXCLUDE_FROM_ALL)

set(CPACK_PACKAGE_NAME pgbackfill)
set(CPACK_PACKAGE_VENDOR "pgbackfill")
set(PGBACKFILL_MAINTAINER "pgbackfill maintainers <maintainers@pgbackfill.example>" CACHE STRING
  "Who made the package: its field Maintainer")
set(CPACK_PACKAGE_CONTACT ${PGBACKFILL_MAINTAINER})
set(CPACK_PACKAGE_DESCRIPTION "pgbackfill rewrites every row of a large PostgreSQL table while the
application keeps using it. It works in small transactions, on several
connections, at a pace set by replication lag, commit latency and lock waits.
Stopped, killed or cut off, it continues where it was, and each row is changed
exactly once.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_SOURCE_DIR}/packaging/cpack.cmake)
set(CPACK_PGBACKFILL_BUILD ${PROJECT_BINARY_DIR})
set(CPACK_PGBACKFILL_PROCESSOR ${CMAKE_SYSTEM_PROCESSOR})

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS tzdata)  # windows name time zones
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)  # https in hooks, probes and deliveries
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "postgresql, postgresql-client")  # sandbox; backups by pg_dump
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
if(PROJECT_IS_TOP_LEVEL)
  include(CPack)
endif()
