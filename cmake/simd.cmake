# cpp/kernels/*_simd.cpp is compiled once for each instruction set that LibTorch's vector types know; which is used is found out when
# the program runs (cpp/kernels/simd.h). Elsewhere than on x86-64 the baseline is all there is (NEON is part of it on ARM).
# Each compilation defines its functions by the same names.
set_source_files_properties(cpp/kernels/rows_simd.cpp cpp/kernels/winograd_simd.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  # Of these files alone: the precompiled headers of the core serve whoever has the same definitions as the core.
  set_source_files_properties(cpp/kernels/rows.cpp cpp/kernels/winograd.cpp PROPERTIES COMPILE_DEFINITIONS DIFFMINE_SIMD SKIP_PRECOMPILE_HEADERS ON)
  set(simd_avx2 -mavx2 -mfma -mf16c -Wno-psabi -Wno-uninitialized -Wno-maybe-uninitialized)  # GCC 12 warns of its own intrinsics
  set(simd_avx512 ${simd_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq)
  foreach(capability AVX2 AVX512)
    string(TOLOWER ${capability} name)
    foreach(kernels rows winograd)
      set(source "${CMAKE_BINARY_DIR}/simd/${kernels}_${name}.cpp")
      file(CONFIGURE OUTPUT "${source}" CONTENT "#define DIFFMINE_KERNELS ${kernels}_kernels_${name}\n#include \"kernels/${kernels}_simd.cpp\"\n")
      set_source_files_properties("${source}" PROPERTIES SKIP_PRECOMPILE_HEADERS ON
        COMPILE_OPTIONS "${simd_${name}}" COMPILE_DEFINITIONS "CPU_CAPABILITY=${capability};CPU_CAPABILITY_${capability}")
      target_sources(diffmine_core PRIVATE "${source}")
    endforeach()
  endforeach()

  # Attention for AMX, where the compiler knows it.
  include(CheckCXXCompilerFlag)
  set(simd_amx ${simd_avx512} -mavx512bf16 -mamx-tile -mamx-bf16)
  string(REPLACE ";" " " simd_amx_flags "${simd_amx}")
  check_cxx_compiler_flag("${simd_amx_flags}" DIFFMINE_COMPILER_HAS_AMX)
  if(DIFFMINE_COMPILER_HAS_AMX)
    set_source_files_properties(cpp/kernels/attention_cpu.cpp cpp/kernels/attention_amx.cpp PROPERTIES COMPILE_DEFINITIONS DIFFMINE_AMX)
    set_source_files_properties(cpp/kernels/attention_amx.cpp PROPERTIES COMPILE_OPTIONS "${simd_amx}")
  endif()
endif()
