# The CUDA backend: a shared object of its own, loaded when somebody asks for the device. LAMELLA_CUDA=AUTO builds it
# where nvcc and a GPU are found, ON insists (a compiler is enough), OFF leaves it out.
set(LAMELLA_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
set_property(CACHE LAMELLA_CUDA PROPERTY STRINGS AUTO ON OFF)
set(LAMELLA_CUDA_ARCHITECTURES "80;86;89;90a;100" CACHE STRING
    "Compute capabilities to compile for; PTX of the last is added, for GPUs to come")

option(LAMELLA_CUDA_WERROR "Treat warnings in CUDA sources as errors" ${LAMELLA_WERROR})
option(LAMELLA_CUDA_LINEINFO "Name the source lines of kernels to profilers, in a module of twice the size" OFF)

function(lamella_find_cuda result)
  set(${result} OFF PARENT_SCOPE)
  if(LAMELLA_CUDA STREQUAL "OFF")
    return()
  endif()
  if(NOT LAMELLA_CUDA MATCHES "^(AUTO|ON)$")
    message(FATAL_ERROR "LAMELLA_CUDA: expected AUTO, ON or OFF, got '${LAMELLA_CUDA}'")
  endif()
  if(LAMELLA_CUDA STREQUAL "AUTO")
    find_program(LAMELLA_NVIDIA_SMI nvidia-smi)
    if(NOT LAMELLA_NVIDIA_SMI)
      return()
    endif()
    execute_process(COMMAND ${LAMELLA_NVIDIA_SMI} -L RESULT_VARIABLE failed OUTPUT_VARIABLE gpus ERROR_QUIET)
    if(failed OR NOT gpus MATCHES "GPU 0")
      return()
    endif()
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    if(LAMELLA_CUDA STREQUAL "ON")
      message(FATAL_ERROR "LAMELLA_CUDA=ON: no nvcc is found; set CUDACXX or CMAKE_CUDA_COMPILER to it")
    endif()
    return()
  endif()
  set(${result} ON PARENT_SCOPE)
endfunction()

# lamella_add_cuda_module(<target> <kernel target>): the Python module _cuda over the given kernels.
function(lamella_add_cuda_module target kernels)
  execute_process(COMMAND ${Python_EXECUTABLE} -m nanobind --cmake_dir OUTPUT_STRIP_TRAILING_WHITESPACE
                  OUTPUT_VARIABLE nanobind_ROOT RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "The CUDA module needs nanobind in ${Python_EXECUTABLE}: pip install nanobind")
  endif()
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module OPTIONAL_COMPONENTS Development.SABIModule)
  find_package(nanobind CONFIG REQUIRED PATHS ${nanobind_ROOT})
  nanobind_add_module(${target} STABLE_ABI NB_STATIC ${PROJECT_SOURCE_DIR}/csrc/bindings/cuda_module.cpp
                      ${PROJECT_SOURCE_DIR}/csrc/base/tensor.cpp)
  target_link_libraries(${target} PRIVATE ${kernels})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/csrc)
  target_compile_definitions(${target} PRIVATE LAMELLA_VERSION="${PROJECT_VERSION}")
  set_target_properties(${target} PROPERTIES OUTPUT_NAME _cuda)
endfunction()

# Options for every target that holds CUDA sources.
function(lamella_cuda_options target)
  set(architectures "")
  foreach(a IN LISTS LAMELLA_CUDA_ARCHITECTURES)
    list(APPEND architectures ${a}-real)
  endforeach()
  list(GET LAMELLA_CUDA_ARCHITECTURES -1 newest)
  list(APPEND architectures ${newest}-virtual)
  set_target_properties(${target} PROPERTIES CUDA_ARCHITECTURES "${architectures}" CUDA_STANDARD 20
                        CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY Static CUDA_VISIBILITY_PRESET hidden
                        POSITION_INDEPENDENT_CODE ON)
  set(warnings -Wall,-Wextra)
  if(LAMELLA_CUDA_WERROR)
    string(APPEND warnings ,-Werror)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings>)
  endif()
  include(CheckCompilerFlag)
  check_compiler_flag(CUDA --compress-mode=size LAMELLA_CUDA_COMPRESS_MODE)
  if(LAMELLA_CUDA_COMPRESS_MODE)
    set(compress --compress-mode=size)
  else()  # before 12.8
    set(compress -Xfatbin=-compress-all)
  endif()
  # nvcc's -O is about the host's code alone, and would override -Os: it prepares launches, most of a kernel's file by
  # the time it takes to compile. Kernels are always optimized.
  foreach(config RELEASE RELWITHDEBINFO)
    string(REGEX REPLACE "-O[0-9]" "" CMAKE_CUDA_FLAGS_${config} "${CMAKE_CUDA_FLAGS_${config}}")
    set(CMAKE_CUDA_FLAGS_${config} "${CMAKE_CUDA_FLAGS_${config}}" PARENT_SCOPE)
  endforeach()
  # nvcc knows no -Wall; what it passes on is compiled by the host compiler, whose view of generated code has no say.
  target_compile_options(
    ${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr --extended-lambda ${compress}
                      $<$<BOOL:${LAMELLA_CUDA_LINEINFO}>:-lineinfo> -Xcompiler=${warnings},-Wno-unused-parameter
                      $<$<NOT:$<CONFIG:Debug>>:-Xcompiler=-Os>>)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/csrc)
endfunction()
