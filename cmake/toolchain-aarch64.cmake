# Cross-compiles for 64-bit ARM Linux with Debian's g++-aarch64-linux-gnu:
#   cmake -S . -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=cmake/toolchain-aarch64.cmake -DLAMELLA_PYTHON=OFF
# With qemu-user installed, ctest runs the native tests too.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)  # header-only libraries stand in /usr/include
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)

find_program(LAMELLA_QEMU qemu-aarch64)
if(LAMELLA_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${LAMELLA_QEMU} -L /usr/aarch64-linux-gnu)
endif()
