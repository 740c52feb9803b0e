"""build.sh of the operator package: what it says without CANN, and what it hands to CANN's CMake functions.

No CANN is here: its functions are stand-ins that accept what the real ones do, and demand that every source exists.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path("kernels/ascendc/build.sh").absolute()

STAND_INS = r"""
set(ASCEND_AUTOGEN_PATH "${CMAKE_BINARY_DIR}/autogen")
function(demand_files)
  foreach(file ${ARGN})
    get_filename_component(path "${file}" ABSOLUTE)
    if(NOT EXISTS "${path}")
      message(FATAL_ERROR "${file} is not there")
    endif()
  endforeach()
endfunction()
function(npu_op_package name)
  cmake_parse_arguments(GIVEN "" "TYPE" "CONFIG" ${ARGN})
  add_custom_target(binary)
  add_custom_target(package COMMAND ${CMAKE_COMMAND} -E touch "${CMAKE_BINARY_DIR}/custom_opp_linux.run")
endfunction()
function(npu_op_code_gen)
  cmake_parse_arguments(GIVEN "" "OUT_DIR;PACKAGE" "SRC;COMPILE_OPTIONS" ${ARGN})
  demand_files(${GIVEN_SRC})
  file(WRITE "${GIVEN_OUT_DIR}/op_proto.cc" "")
  file(WRITE "${GIVEN_OUT_DIR}/aclnn_ifa_decode.cpp" "")
endfunction()
function(npu_op_library name type)
  demand_files(${ARGN})
  add_library(${name} OBJECT EXCLUDE_FROM_ALL ${ARGN})
endfunction()
function(npu_op_kernel_sources name)
  cmake_parse_arguments(GIVEN "" "OP_TYPE;KERNEL_FILE" "" ${ARGN})
  set_property(GLOBAL PROPERTY kernel_file "${GIVEN_KERNEL_FILE}")
endfunction()
function(npu_op_kernel_library name)
  cmake_parse_arguments(GIVEN "" "SRC_BASE;TILING_LIBRARY" "" ${ARGN})
  get_property(file GLOBAL PROPERTY kernel_file)
  demand_files("${GIVEN_SRC_BASE}/${file}")
endfunction()
function(npu_op_kernel_options)
endfunction()
function(npu_op_package_add name)
  message(STATUS "packed: ${ARGN}")
endfunction()
"""


def build(home: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "ASCEND_HOME_PATH"}
    if home is not None:
        environment["ASCEND_HOME_PATH"] = str(home)
    return subprocess.run([SCRIPT, *arguments], env=environment, text=True, capture_output=True)


@pytest.mark.parametrize(
    ("home", "arguments", "said"),
    [
        (None, [], "ASCEND_HOME_PATH is not set; it must be the folder of an installed CANN"),
        (Path("/nowhere"), [], "ASCEND_HOME_PATH is '/nowhere', in which there is no tools/opbuild/op_build"),
        (None, ["a", "b"], "2 arguments were given; it takes at most one"),
    ],
)
def test_without_cann_one_sentence_says_what_is_needed(home, arguments, said):
    result = build(home, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert result.stderr.startswith("build.sh: ")
    assert result.stderr.count("\n") == 1


def test_a_cann_without_the_cmake_package_is_refused_in_one_sentence(tmp_path):
    tool = tmp_path / "cann/tools/opbuild/op_build"
    tool.parent.mkdir(parents=True)
    tool.touch(0o755)
    result = build(tmp_path / "cann", str(tmp_path / "build"))
    assert result.returncode != 0
    said = f"The CANN at '{tmp_path}/cann' has no CMake package ASC; CANN 8.3.RC1 or newer is needed."
    assert said in " ".join(result.stderr.split())
    assert result.stderr.count("CMake Error") == 1


def test_every_source_goes_into_the_package(tmp_path):
    home = tmp_path / "cann"
    functions = home / "compiler/tikcpp/ascendc_kernel_cmake/asc-config.cmake"
    tool = home / "tools/opbuild/op_build"
    for file in (functions, tool):
        file.parent.mkdir(parents=True)
    functions.write_text(STAND_INS)
    tool.touch(0o755)
    result = build(home, str(tmp_path / "build"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(f"{tmp_path}/build/custom_opp_linux.run\n")
    assert "packed: LIBRARY;cust_optiling;cust_opapi;cust_op_proto;ascendc_kernels" in result.stdout
