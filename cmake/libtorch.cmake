# The target `libtorch`: an INTERFACE library over a LibTorch folder. find_package(Torch) is
# fragile with CUDA and writes bogus RUNPATHs; these lines need nothing but the folder.
if(NOT EXISTS "${LIBTORCH}/lib/libtorch_cpu.so" AND NOT EXISTS "${LIBTORCH}/lib/libtorch_cpu.dylib")
  message(FATAL_ERROR "No LibTorch at '${LIBTORCH}'. Pass -DLIBTORCH=<folder with include/ and lib/>, or run `npx diffmine setup`.")
endif()

add_library(libtorch INTERFACE)
target_include_directories(libtorch SYSTEM INTERFACE
  "${LIBTORCH}/include" "${LIBTORCH}/include/torch/csrc/api/include")
# <ATen/TensorOperators.h> then takes in what it needs, not every function of ATen.
target_compile_definitions(libtorch INTERFACE AT_PER_OPERATOR_HEADERS)
target_link_directories(libtorch INTERFACE "${LIBTORCH}/lib")
target_link_libraries(libtorch INTERFACE torch_cpu c10 pthread)
file(GLOB libtorch_gomp "${LIBTORCH}/lib/libgomp*.so*")
if(libtorch_gomp)
  list(GET libtorch_gomp 0 libtorch_gomp)
  # A program names it. The addon does not: it shares the one that LibTorch has opened, whose file has another name in another build of LibTorch.
  target_link_libraries(libtorch INTERFACE "$<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:${libtorch_gomp}>")
  # at::parallel_for is a template: without this it is a plain loop in whatever is compiled here. (Clang's OpenMP is another library's.)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(libtorch INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-fopenmp>")
  endif()
endif()
set(CMAKE_BUILD_RPATH "${LIBTORCH}/lib")
