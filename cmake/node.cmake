# The addon: build/<config>/diffmine.node. Headers come from cmake-js (CMAKE_JS_INC) or, with plain
# cmake, from node_modules (node-api-headers and node-addon-api: headers only, no download).
set(node_includes ${CMAKE_JS_INC})
foreach(package node-api-headers/include node-addon-api)
  if(EXISTS "${CMAKE_SOURCE_DIR}/node_modules/${package}")
    list(APPEND node_includes "${CMAKE_SOURCE_DIR}/node_modules/${package}")
  elseif(EXISTS "${CMAKE_SOURCE_DIR}/../${package}")
    list(APPEND node_includes "${CMAKE_SOURCE_DIR}/../${package}")
  endif()
endforeach()

file(GLOB binding_sources CONFIGURE_DEPENDS binding/*.cpp)
add_library(diffmine MODULE ${binding_sources})
target_include_directories(diffmine SYSTEM PRIVATE ${node_includes})
target_include_directories(diffmine PRIVATE binding)
target_compile_definitions(diffmine PRIVATE NAPI_VERSION=9 NAPI_CPP_EXCEPTIONS NODE_GYP_MODULE_NAME=diffmine NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
target_compile_options(diffmine PRIVATE -Wall -Wextra -Wno-unused-parameter)
target_link_libraries(diffmine PRIVATE diffmine_core)
if(APPLE)
  target_link_options(diffmine PRIVATE "SHELL:-undefined dynamic_lookup")  # Node-API comes from the executable
endif()
set_target_properties(diffmine PROPERTIES PREFIX "" SUFFIX ".node")

# For platform packages (scripts/pack.mjs): opens LibTorch before the addon.
add_library(diffmine_preload MODULE binding/preload/preload.cpp)
target_include_directories(diffmine_preload SYSTEM PRIVATE ${node_includes})
target_compile_definitions(diffmine_preload PRIVATE NAPI_VERSION=9 NODE_GYP_MODULE_NAME=preload)
target_link_libraries(diffmine_preload PRIVATE ${CMAKE_DL_LIBS})
if(APPLE)
  target_link_options(diffmine_preload PRIVATE "SHELL:-undefined dynamic_lookup")
endif()
set_target_properties(diffmine_preload PROPERTIES OUTPUT_NAME preload PREFIX "" SUFFIX ".node" SKIP_BUILD_RPATH ON)
add_dependencies(diffmine diffmine_preload)

# The addon finds LibTorch relative to itself: package and cache may move together (a container image, another home).
# Node opens the real path of an addon, so the way leads from real path to real path.
set(addon_folder "${CMAKE_LIBRARY_OUTPUT_DIRECTORY}")
if(NOT addon_folder)
  set(addon_folder "${CMAKE_BINARY_DIR}")
endif()
file(MAKE_DIRECTORY "${addon_folder}")
file(REAL_PATH "${addon_folder}" addon_folder)
file(REAL_PATH "${LIBTORCH}/lib" libtorch_folder)
file(RELATIVE_PATH libtorch_relative "${addon_folder}" "${libtorch_folder}")
if(APPLE)
  set(addon_rpath "@loader_path/${libtorch_relative}")
else()
  set(addon_rpath "$ORIGIN/${libtorch_relative}")
endif()
if(DIFFMINE_CUDA)
  # libcudart and NVRTC are direct needs of the addon, found before LibTorch's own search path counts: in NVIDIA's wheels beside a Python torch, or in the toolkit.
  list(APPEND addon_rpath ${cuda_wheel_libraries} ${CUDAToolkit_LIBRARY_DIR})
endif()
set_target_properties(diffmine PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "${addon_rpath}")
