# -DDIFFMINE_FUZZ=ON: libFuzzer targets for what reads other people's bytes (cpp/weights), with ASan and UBSan, and nothing else.
# Needs clang: cmake -DCMAKE_CXX_COMPILER=clang++. scripts/fuzz.mjs builds and runs them.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "DIFFMINE_FUZZ needs clang's libFuzzer: pass -DCMAKE_CXX_COMPILER=clang++.")
endif()
file(GLOB fuzz_readers CONFIGURE_DEPENDS cpp/weights/*.cpp)
list(FILTER fuzz_readers EXCLUDE REGEX "/random\\.cpp$")  # reads nothing, and needs the noise of the core
add_library(diffmine_fuzz_readers OBJECT ${fuzz_readers})
set_target_properties(diffmine_fuzz_readers PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)  # most of the work is parsing ATen's headers
target_include_directories(diffmine_fuzz_readers PUBLIC cpp)
target_compile_options(diffmine_fuzz_readers PUBLIC -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
target_link_libraries(diffmine_fuzz_readers PUBLIC libtorch)
file(GLOB fuzz_targets CONFIGURE_DEPENDS cpp/tests/fuzz/*.cpp)
foreach(source ${fuzz_targets})
  get_filename_component(name "${source}" NAME_WE)
  add_executable(diffmine_fuzz_${name} "${source}")
  target_link_libraries(diffmine_fuzz_${name} PRIVATE diffmine_fuzz_readers)
  target_link_options(diffmine_fuzz_${name} PRIVATE -fsanitize=fuzzer,address,undefined)
endforeach()
