# Every check of this project, under the same names for people and for the machine that guards the main branch.
# `make demo` and `make test` install what they need; the other targets need `make venv` only.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
COVERAGE := $(BIN)/python -m coverage

# What the demo runs, and what the tests run beside it. scripts/packages knows the names elsewhere than on Debian.
DEMO_PACKAGES := iproute2 iputils-ping nftables openssh-client openssh-server wireguard-go wireguard-tools
TEST_PACKAGES := $(DEMO_PACKAGES) charon-systemd dbus libcharon-extauth-plugins libcharon-extra-plugins libnss3-tools \
	libstrongswan-extra-plugins libstrongswan-standard-plugins netcat-openbsd ocserv openconnect openssl openvpn ppp \
	pptp-linux strace strongswan-charon strongswan-swanctl tcpdump tinc vpnc
LAB_PACKAGES := hostapd iw kmod pptpd qemu-system-x86 wpasupplicant xz-utils

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export COVERAGE_FILE := $(CURDIR)/.coverage
unexport MAKEFLAGS MAKELEVEL MFLAGS # a make that a test or a hook runs is its own

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test quick netns lab lab-kernel soak lint format types gates tunnel-table venv packages lab-packages demo-packages clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' $(MAKEFILE_LIST)

demo: demo-packages $(VENV)/.runs ## show the daemon doing its job in network namespaces (root)
	$(BIN)/autovpn demo

# Every check runs, also after one has failed, so that a red run names all that is wrong.
test: packages $(VENV)/.tests ## install what is needed and run every check but the lab (root for the netns tier)
	@status=0; \
	for check in lint types; do $(MAKE) --no-print-directory $$check || status=1; done; \
	rm -f $(COVERAGE_FILE) $(COVERAGE_FILE).*; \
	$(COVERAGE) run -m pytest -m 'not lab' || status=1; \
	$(MAKE) --no-print-directory gates || status=1; \
	exit $$status

quick: $(VENV)/.tests ## the unit and system tiers, without root, in under 3 minutes: two halves side by side
	@$(PYTEST) -m 'not netns and not lab' tests/daemon tests/dns & half=$$!; status=0; \
	$(PYTEST) -m 'not netns and not lab' --ignore=tests/daemon --ignore=tests/dns || status=1; \
	wait $$half || status=1; exit $$status

netns: packages $(VENV)/.tests ## the tier that needs root, network namespaces and real programs
	$(PYTEST) -m netns

lab: packages lab-packages lab-kernel $(VENV)/.tests ## the tier in virtual machines: kernel WireGuard, real Wi-Fi (root, qemu)
	$(PYTEST) -m lab

lab-kernel: $(VENV)/.tests ## the kernel of these machines: 107 MB, kept in .cache and never installed
	@$(BIN)/python -m tests.lab.kernel

soak: packages $(VENV)/.tests ## kill real daemons at random for ten minutes (root); AUTOVPN_SOAK_SECONDS, AUTOVPN_SOAK_SEED
	$(PYTEST) tests/netns/soak.py

lint: $(VENV)/.tests ## every rule of ruff, and its format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

tunnel-table: packages $(VENV)/.tests ## measure each type of tunnel anew for docs/tunnels.md (root)
	@record=$$(mktemp) && AUTOVPN_TUNNEL_RECORD=$$record $(PYTEST) -q tests/netns/test_driver_*.py && \
	  $(BIN)/python docs/tunnel_table.py "$$record"; status=$$?; rm -f "$$record"; exit $$status

format: $(VENV)/.tests ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.tests ## mypy, strict
	$(BIN)/mypy

# The gates are about all tiers together; without root the netns tier was skipped, and the numbers mean nothing.
gates:
	@$(COVERAGE) combine --quiet
	@if [ "$$(id -u)" -ne 0 ]; then echo 'coverage: not judged, since the tiers that need root were skipped'; exit 0; fi; \
	status=0; \
	echo 'coverage of autovpn/core, which must be 100 %:'; \
	$(COVERAGE) report --include='*/autovpn/core/*' --fail-under=100 || status=1; \
	echo 'coverage of the rest, which must be 90 %:'; \
	$(COVERAGE) report --omit='*/autovpn/core/*' --fail-under=90 || status=1; \
	exit $$status

venv: $(VENV)/.tests ## a virtual environment in .venv with autovpn and the tools of the tests

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'autovpn needs Python 3.11 or later; name one with: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/packages python3-venv
	$(PYTHON) -m venv $(VENV)

# The two stamps: what runs autovpn, and what tests it.
$(VENV)/.runs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.tests: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/.runs

packages: ## the Debian packages of the tests; elsewhere, what is missing and how to get it
	@scripts/packages $(TEST_PACKAGES)
	@scripts/libreswan .cache/libreswan
	@scripts/unpack .cache/openresolv openresolv
	@scripts/unpack .cache/resolvconf resolvconf
	@scripts/unpack .cache/systemd-resolved systemd-resolved libsystemd-shared
	@scripts/unpack .cache/networkmanager network-manager libbluetooth3 libmm-glib0 libndp0 libnewt0.52 libnm0 libteamdctl0

lab-packages:
	@scripts/packages $(LAB_PACKAGES)

demo-packages:
	@scripts/packages $(DEMO_PACKAGES)

clean: ## remove what these targets made in this folder
	rm -rf $(VENV) .cache build dist *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
