# Finds the MindSpore wheel of the Python that builds: its headers, its libraries and its exact version.
# Defines the interface target MindSpore::MindSpore and MINDSPORE_VERSION.

find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)

# A build in isolation hides the environment it installs into behind PYTHONPATH; MindSpore is looked up in that
# environment, because the wheel's C++ interface is tied to its exact version.
execute_process(
  COMMAND ${CMAKE_COMMAND} -E env --unset=PYTHONPATH "${Python_EXECUTABLE}" -c
          "import importlib.metadata as m, importlib.util as u; print(u.find_spec('mindspore').submodule_search_locations[0], m.version('mindspore'), sep=';')"
  OUTPUT_VARIABLE _found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE _result)
if(NOT _result EQUAL 0)
  message(FATAL_ERROR "ifa_fusion is built against an installed MindSpore 2.10, and ${Python_EXECUTABLE} has none: "
                      "pip install 'mindspore==2.10.*' 'numpy>=1.26,<2' first.")
endif()
list(GET _found 0 MINDSPORE_ROOT)
list(GET _found 1 MINDSPORE_VERSION)
if(NOT MINDSPORE_VERSION MATCHES "^2\\.10\\.")
  message(FATAL_ERROR "ifa_fusion is built against MindSpore 2.10, and MindSpore ${MINDSPORE_VERSION} is installed: "
                      "pip install 'mindspore==2.10.*' first.")
endif()
message(STATUS "MindSpore ${MINDSPORE_VERSION} in ${MINDSPORE_ROOT}")

add_library(MindSpore::MindSpore INTERFACE IMPORTED)
set(_include "${MINDSPORE_ROOT}/include")
# The list is the one that mindspore.ops.CustomOpBuilder compiles with.
target_include_directories(
  MindSpore::MindSpore SYSTEM
  INTERFACE "${MINDSPORE_ROOT}"
            "${_include}"
            "${_include}/mindspore/include"
            "${_include}/mindspore/core/include"
            "${_include}/mindspore/core/mindrt/include"
            "${_include}/mindspore/core/mindrt"
            "${_include}/mindspore/ops"
            "${_include}/mindspore/ops/include"
            "${_include}/mindspore/ccsrc"
            "${_include}/mindspore/ccsrc/include"
            "${_include}/mindspore/ccsrc/minddata/mindrecord/include"
            "${_include}/third_party"
            "${_include}/third_party/robin_hood_hashing")
target_compile_definitions(MindSpore::MindSpore INTERFACE ENABLE_FAST_HASH_TABLE=1)
foreach(_name mindspore_core mindspore_common mindspore_backend_common mindspore_ms_backend mindspore_ops_host
              mindspore_hardware_abstract)
  target_link_libraries(MindSpore::MindSpore INTERFACE "${MINDSPORE_ROOT}/lib/lib${_name}.so")
endforeach()
target_link_libraries(MindSpore::MindSpore INTERFACE "${MINDSPORE_ROOT}/lib/plugin/libmindspore_ops_cpu.so")
