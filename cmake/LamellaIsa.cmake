# lamella_add_isa_objects(<prefix> <source>...) compiles the sources once per ISA level into object libraries
# <prefix>_<isa>. Sets <prefix>_OBJECTS and LAMELLA_BUILT_DEFINITIONS in the caller.

function(lamella_add_isa_objects prefix)
  set(isas ${LAMELLA_ISAS})
  if(isas STREQUAL "auto")
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
      set(isas portable avx2 avx512)
    else()
      set(isas portable)
    endif()
  endif()
  if(NOT "portable" IN_LIST isas)
    list(PREPEND isas portable)  # the truth for every dtype: always there
  endif()

  # Beside wider levels, portable is for float64 and for machines of old: a quarter smaller, hardly slower.
  # What -O2 leaves rolled are the loops over the lanes of a vector, hence -fpeel-loops.
  set(flags_portable "")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT isas STREQUAL "portable")
    set(flags_portable -O2 -fpeel-loops -fvect-cost-model=dynamic)
  endif()
  set(flags_avx2 -mavx2 -mfma -mbmi2)
  set(flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mbmi2 -mprefer-vector-width=512)

  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC's own avx512fintrin.h reads "undefined" registers on purpose and then warns about it (GCC bug 105593).
    list(APPEND flags_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()

  # Sanitizers multiply the size of kernels that inline everything: at -O3, with a scope per vector, one file takes an
  # hour to compile. Bounds and overflow checks stay. Linked last, for the last option wins.
  add_library(${prefix}_sanitize INTERFACE)
  if(LAMELLA_SANITIZE)
    target_compile_options(${prefix}_sanitize INTERFACE -O1)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND LAMELLA_SANITIZE MATCHES "address")
      target_compile_options(${prefix}_sanitize INTERFACE -fno-sanitize-address-use-after-scope)
    endif()
  endif()

  set(objects "")
  set(definitions "")
  foreach(isa IN LISTS isas)
    if(NOT DEFINED flags_${isa})
      message(FATAL_ERROR "LAMELLA_ISAS: unknown level '${isa}'; known: portable, avx2, avx512")
    endif()
    string(TOUPPER ${isa} upper)
    add_library(${prefix}_${isa} OBJECT ${ARGN})
    target_link_libraries(${prefix}_${isa} PRIVATE lamella_flags ${prefix}_sanitize)
    target_compile_definitions(${prefix}_${isa} PRIVATE LAMELLA_NS=${isa} LAMELLA_ISA_${upper}=1)
    # -ffp-contract=off: fma happens where the source says so, so that every path of a kernel rounds alike.
    target_compile_options(${prefix}_${isa} PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O3> ${flags_${isa}} -ffp-contract=off
                           -fno-math-errno -fno-trapping-math -fno-exceptions -fno-rtti -fno-threadsafe-statics)
    list(APPEND objects $<TARGET_OBJECTS:${prefix}_${isa}>)
    list(APPEND definitions LAMELLA_BUILT_${upper}=1)
  endforeach()
  set(${prefix}_OBJECTS ${objects} PARENT_SCOPE)
  set(LAMELLA_BUILT_DEFINITIONS ${definitions} PARENT_SCOPE)
endfunction()
