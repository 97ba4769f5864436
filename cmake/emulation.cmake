# diffmine_emulated_tests: the core's tests with the CUDA kernels of cpp/kernels/*.cu in the place of their CPU implementations, compiled as C++ and run
# on a CPU by the emulator of cpp/tests/emulation. It needs neither nvcc nor a GPU.
file(GLOB emulation_sources CONFIGURE_DEPENDS cpp/tests/emulation/*.cpp)
file(GLOB emulated_kernels CONFIGURE_DEPENDS cpp/kernels/*.cu)
set(emulated_sources)
foreach(kernel ${emulated_kernels})
  get_filename_component(name "${kernel}" NAME_WE)
  set(source "${CMAKE_BINARY_DIR}/emulated/${name}.cpp")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include \"kernels/${name}.cu\"\n")
  list(APPEND emulated_sources "${source}")
endforeach()

# Its kernels have the names of the emulator's own.
set_source_files_properties(cpp/tests/emulation/emulation_test.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
# The linker takes the CUDA kernels and leaves their CPU implementations in the archive, each of which is therefore an object of its own.
file(GLOB cpu_kernels CONFIGURE_DEPENDS cpp/kernels/*_cpu.cpp)
set_source_files_properties(${cpu_kernels} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
add_executable(diffmine_emulated_tests $<TARGET_OBJECTS:diffmine_test_cases> ${emulation_sources} ${emulated_sources})
target_include_directories(diffmine_emulated_tests BEFORE PRIVATE cpp/tests/emulation/cuda ${DOCTEST_INCLUDE})
# No fused products, which the CPU implementations do not use either: tests compare some sums bit by bit.
target_compile_options(diffmine_emulated_tests PRIVATE -Wall -Wextra -Wno-unused-parameter -Wno-unknown-pragmas -ffp-contract=off)
if(DIFFMINE_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(diffmine_emulated_tests PRIVATE -fsanitize-sections=cuda_shared)
endif()
target_compile_definitions(diffmine_emulated_tests PRIVATE DIFFMINE_TEST_DATA="${CMAKE_SOURCE_DIR}/test/data")
target_link_libraries(diffmine_emulated_tests PRIVATE diffmine_core)
reuse_precompiled_headers(diffmine_emulated_tests)
