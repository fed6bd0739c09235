# One interface target carries the warnings and sanitizers to every target of ours.
add_library(qs_flags INTERFACE)
target_compile_options(qs_flags INTERFACE $<$<COMPILE_LANGUAGE:C>:
  -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wundef -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes
  -Wpointer-arith -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough -fno-common -ffp-contract=off
  $<$<BOOL:${QS_WERROR}>:-Werror>>)
target_include_directories(qs_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(qs_flags INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64
  QS_VERSION="${PROJECT_VERSION}" G_LOG_DOMAIN="quadslide")
if(QS_SANITIZE)
  string(REPLACE ";" "," _san "${QS_SANITIZE}")
  target_compile_options(qs_flags INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${_san} -fno-omit-frame-pointer -O1 -g>)
  target_link_options(qs_flags INTERFACE -fsanitize=${_san})
endif()

# qs_library(NAME SOURCES … DEPS …): one static library a folder.
function(qs_library name)
  cmake_parse_arguments(A "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC qs_flags ${A_DEPS})
endfunction()

# qs_test(NAME SOURCES … DEPS … [LABELS …] [TIMEOUT s]): one GTest program.
function(qs_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;DEPS;LABELS;ARGS" ${ARGN})
  if(QS_SANITIZE STREQUAL "thread")
    list(APPEND A_SOURCES ${PROJECT_SOURCE_DIR}/tests/tsan_glib.c)
  endif()
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE qs_flags ${A_DEPS})
  add_test(NAME ${name} COMMAND ${name} ${A_ARGS} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 900)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${A_TIMEOUT} LABELS "${A_LABELS}"
    ENVIRONMENT "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp;QS_SOURCE_DIR=${PROJECT_SOURCE_DIR};QS_BINARY_DIR=${PROJECT_BINARY_DIR};G_SLICE=always-malloc;OMP_WAIT_POLICY=passive")
endfunction()
