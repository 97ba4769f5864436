# The CUDA backend: cpp/kernels/*.cu and, in the core's .cpp files, what stands under DIFFMINE_CUDA.
#
#   -DDIFFMINE_CUDA_ARCHITECTURES=90     the cards to compile for; the default holds Ampere, Ada and Hopper, and later ones by their driver's JIT
#   -DDIFFMINE_CUDA_COMPILE_ONLY=ON      no GPU, no CUDA LibTorch: the CPU LibTorch has the ATen and c10 CUDA headers, so that all files can
#                                        be compiled, though not linked (target diffmine_cuda_check, scripts/cuda-compile-check.sh)
option(DIFFMINE_CUDA_COMPILE_ONLY "only check that the CUDA code compiles" OFF)
set(DIFFMINE_CUDA_ARCHITECTURES "80;86;89;90" CACHE STRING "CUDA compute capabilities, without the dot")
set(CMAKE_CUDA_ARCHITECTURES "${DIFFMINE_CUDA_ARCHITECTURES}")
# The same runtime library as LibTorch's: one per process, one idea of the current device.
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 knows no CUDA C++20
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

target_compile_definitions(diffmine_core PUBLIC DIFFMINE_CUDA)
target_include_directories(diffmine_core SYSTEM PUBLIC ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
if(NOT EXISTS "${LIBTORCH}/include/c10/cuda/impl/cuda_cmake_macros.h")
  target_compile_definitions(diffmine_core PUBLIC C10_CUDA_NO_CMAKE_CONFIGURE_FILE)
endif()

# NVIDIA's wheels beside a Python torch: what LibTorch needs of CUDA, and headers that a small toolkit may lack.
file(GLOB cuda_wheel_libraries "${LIBTORCH}/../nvidia/*/lib")
file(GLOB cuda_wheel_headers "${LIBTORCH}/../nvidia/*/include")
find_path(DIFFMINE_NVTX nvtx3/nvToolsExt.h PATHS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} ${cuda_wheel_headers} NO_DEFAULT_PATH)
if(NOT DIFFMINE_NVTX)
  message(FATAL_ERROR "nvtx3/nvToolsExt.h was found neither in the CUDA toolkit nor beside LibTorch. Install NVTX (Debian and Ubuntu: cuda-nvtx-13-0; pip: nvidia-nvtx).")
endif()
target_include_directories(diffmine_core SYSTEM PUBLIC ${DIFFMINE_NVTX})

# A library of their own: nvcc takes neither the core's warnings nor its sanitizers.
file(GLOB cuda_sources CONFIGURE_DEPENDS cpp/kernels/*.cu)
if(DIFFMINE_CUDA_COMPILE_ONLY AND CMAKE_UNITY_BUILD)
  # CMake makes unity builds of CUDA files from 3.31 on. Reading CUDA's headers is most of the work.
  list(TRANSFORM cuda_sources REPLACE "(.+)" "#include \"\\1\"\n" OUTPUT_VARIABLE includes)
  string(JOIN "" includes ${includes})
  set(cuda_sources "${CMAKE_BINARY_DIR}/kernels.cu")
  file(CONFIGURE OUTPUT "${cuda_sources}" CONTENT "${includes}")
endif()
add_library(diffmine_kernels OBJECT ${cuda_sources})
target_include_directories(diffmine_kernels PRIVATE cpp)

if(DIFFMINE_CUDA_COMPILE_ONLY)
  # Nothing that would have to be linked.
  set(DIFFMINE_TESTS OFF)
  set(DIFFMINE_NODE OFF)
  # A .cpp without the word is the same file in both builds, unless a header has it.
  file(GLOB check_headers CONFIGURE_DEPENDS cpp/*/*.h binding/*.h)
  file(GLOB check_sources CONFIGURE_DEPENDS cpp/*/*.cpp cpp/tests/bench/*.cpp binding/*.cpp)
  set(check_all FALSE)
  foreach(header ${check_headers})
    file(STRINGS ${header} uses REGEX DIFFMINE_CUDA)
    if(uses)
      set(check_all TRUE)
    endif()
  endforeach()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${check_headers} ${check_sources})
  set(checked)
  find_path(DOCTEST_INCLUDE doctest/doctest.h)
  foreach(source ${check_sources})
    file(STRINGS ${source} uses REGEX DIFFMINE_CUDA)
    if(source MATCHES "/cpp/tests/" AND NOT DOCTEST_INCLUDE)
      continue()
    endif()
    if(source MATCHES "/binding/" AND NOT EXISTS "${CMAKE_SOURCE_DIR}/node_modules/node-addon-api")
      continue()
    endif()
    if(uses OR check_all)
      list(APPEND checked ${source})
    endif()
  endforeach()
  add_library(diffmine_cuda_check OBJECT ${checked})
  # Parsing ATen's headers is nearly all of the work: in a unity build all files do it once.
  set_target_properties(diffmine_cuda_check PROPERTIES UNITY_BUILD_BATCH_SIZE 0)
  set_target_properties(diffmine_kernels PROPERTIES UNITY_BUILD OFF)
  target_link_libraries(diffmine_cuda_check PRIVATE diffmine_core)
  target_compile_options(diffmine_cuda_check PRIVATE -Wall -Wextra -Wno-unused-parameter)
  target_include_directories(diffmine_cuda_check PRIVATE binding cpp/tests)
  target_include_directories(diffmine_cuda_check SYSTEM PRIVATE
    "${CMAKE_SOURCE_DIR}/node_modules/node-api-headers/include" "${CMAKE_SOURCE_DIR}/node_modules/node-addon-api")
  if(DOCTEST_INCLUDE)
    target_include_directories(diffmine_cuda_check SYSTEM PRIVATE ${DOCTEST_INCLUDE})
  endif()
  target_compile_definitions(diffmine_cuda_check PRIVATE NAPI_VERSION=9 NAPI_CPP_EXCEPTIONS NODE_GYP_MODULE_NAME=diffmine
    DIFFMINE_TEST_DATA="${CMAKE_SOURCE_DIR}/test/data")
  add_dependencies(diffmine_cuda_check diffmine_kernels)
  return()
endif()

if(NOT EXISTS "${LIBTORCH}/lib/libtorch_cuda.so")
  message(FATAL_ERROR "The LibTorch in '${LIBTORCH}' is built without CUDA. Pass -DLIBTORCH=<a CUDA LibTorch, or a Python torch's folder>, or build with -DDIFFMINE_CUDA=OFF.")
endif()
target_sources(diffmine_core PRIVATE $<TARGET_OBJECTS:diffmine_kernels>)
find_package(CUDAToolkit REQUIRED)

# cuDNN compiles some of its kernels, Hopper's attention among them, when they are first asked for. It opens NVRTC by name, does not look into the
# wheels, and throws where it finds none: Python's torch loads both files before cuDNN is used, so here they are linked.
set(nvrtc)
foreach(folder ${cuda_wheel_libraries} "${LIBTORCH}/lib" ${CUDAToolkit_LIBRARY_DIR})
  file(GLOB nvrtc_here "${folder}/libnvrtc.so.[0-9][0-9]" "${folder}/libnvrtc-builtins.so.[0-9][0-9].[0-9]")
  list(LENGTH nvrtc_here found)
  if(found EQUAL 2)
    list(JOIN nvrtc_here "," nvrtc)
    string(PREPEND nvrtc ",")
    break()
  endif()
endforeach()
if(NOT nvrtc)
  message(STATUS "No NVRTC was found: where cuDNN finds none either, attention is left to LibTorch's other kernels.")
endif()

# One argument, so that nothing comes between: no symbol of these is referred to by name, and linkers drop such a library silently.
target_link_libraries(diffmine_core PUBLIC "-Wl,--push-state,--no-as-needed,-ltorch_cuda,-lc10_cuda${nvrtc},--pop-state")
target_link_libraries(diffmine_core PUBLIC CUDA::cudart ${CMAKE_DL_LIBS})  # NVTX, all headers, opens its library
# LibTorch knows where its own needs lie, and linkers need not: an executable is linked though they do not find cuDNN.
target_link_options(diffmine_core INTERFACE "-Wl,--allow-shlib-undefined")
list(APPEND CMAKE_BUILD_RPATH ${cuda_wheel_libraries})
