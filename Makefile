# `make demo` and `make test` work in a fresh clone; everything lands in .venv.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
ROBOSUITE := robosuite==1.5.2
TIMED := tests/ros/test_faults.py
PEERS := $(VENV)/peers
AGAIN := --reruns 1 --rerun-show-tracebacks -rR
# Compiled modules are kept: tests start hundreds of processes, and each would compile the project again where this is set.
export PYTHONDONTWRITEBYTECODE :=
APT := sudo apt install -y make python3-venv libegl1 libegl-mesa0 libgl1-mesa-dri

.PHONY: demo test test-faults test-core test-robot-side test-sim test-cli test-rest test-peers test-all lint check clean

demo: $(VENV)/.demo-installed
	$(PY) -m robot_pt demo --out runs/demo

# The fault matrix reads times to hold, so only what computes in one process and in one thread runs beside it (test-rest). Then five at once,
# for the robot side's tests wait for processes and clocks more than they compute; each in one thread, since more would spin while they wait
# for a core. Simulation is a process of its own: beside other native libraries (TensorFlow's parity tests) Mesa's software renderer aborts.
# A test that fails is tried once more and named in the summary: the machine may be a busy one.
test test-faults test-robot-side test-core test-cli test-sim test-rest test-peers: export OMP_NUM_THREADS := 1
test: $(VENV)/.dev-installed $(VENV)/.peers-installed
	$(MAKE) -j5 --output-sync=target ROBOT_PT_FIRST=test-faults test-faults test-rest test-peers test-robot-side test-core test-cli test-sim

test-faults: $(VENV)/.dev-installed
	$(PY) -m pytest -m "not slow" $(AGAIN) $(TIMED)

test-core: $(VENV)/.dev-installed | $(ROBOT_PT_FIRST)
	$(PY) -m pytest -m "not slow" $(AGAIN) tests/core

test-robot-side: $(VENV)/.dev-installed | $(ROBOT_PT_FIRST)
	$(PY) -m pytest -m "not slow" $(AGAIN) tests/ros --ignore=$(TIMED)

test-sim: $(VENV)/.dev-installed | $(ROBOT_PT_FIRST)
	$(PY) -m pytest -m "not slow" $(AGAIN) tests/sim

test-cli: $(VENV)/.dev-installed | $(ROBOT_PT_FIRST)
	$(PY) -m pytest -m "not slow" $(AGAIN) tests/cli

test-rest: $(VENV)/.dev-installed
	$(PY) -m pytest -m "not slow" $(AGAIN) --ignore=tests/core --ignore=tests/sim --ignore=tests/ros --ignore=tests/cli

# Losses beside d3rlpy's on the same numbers. Its requirements lie in a folder of their own, which no other test sees.
test-peers: $(VENV)/.peers-installed | $(ROBOT_PT_FIRST)
	PYTHONPATH=$(PEERS) $(PY) -m pytest -m "not slow" $(AGAIN) tests/core/test_conservative_peer.py tests/core/test_soft_peer.py tests/core/test_offline_peer.py

test-all: $(VENV)/.dev-installed
	$(PY) -m pytest tests/sim
	$(PY) -m pytest --ignore=tests/sim

lint: $(VENV)/.dev-installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

check: test lint

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "robot-pt needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11."; exit 1; }
	@[ "$$(uname)" != Linux ] || PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p | grep -qE 'libEGL.so.1|libOSMesa' || { echo "off-screen rendering needs EGL or OSMesa; on Debian/Ubuntu: $(APT)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "creating $(VENV) failed; on Debian/Ubuntu: $(APT)"; exit 1; }
	$(PY) -m pip install --quiet --upgrade pip

$(VENV)/.demo-installed: pyproject.toml .ci/install | $(PY)
	bash .ci/install $(PY) rlds,robosuite,video $(ROBOSUITE)
	@touch $@

$(VENV)/.dev-installed: pyproject.toml .ci/install | $(PY)
	bash .ci/install $(PY) dev $(ROBOSUITE)
	@touch $@ $(VENV)/.demo-installed

$(VENV)/.peers-installed: benchmarks/requirements-d3rlpy.txt | $(VENV)/.dev-installed
	$(PY) -m pip install --quiet --no-deps --target $(PEERS) -r $<
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
