# SPDX-License-Identifier: MIT
# Everything on a fresh Debian machine, as root: what a step needs, it installs.

# The clone may belong to somebody else than root.
GIT := git -c safe.directory='*'
# Debian's own Python, whatever comes first in PATH: the package's dependencies are there.
PYTHON := /usr/bin/python3
SUITES ?= trixie
SUITE ?= trixie
DEPTH ?= trixie
HEARING ?= bookworm trixie
ACCEPTANCE ?= bookworm noble trixie sid
VERSION := $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
DEB := dist/keepalived-dummy_$(VERSION)_all.deb
VENV := build/venv
EXAMPLES_VENV := build/examples-venv
EXAMPLES_TOOLS := ansible-core==2.19.14 ansible-lint==26.10.1 check-jsonschema==0.39.0 yamllint==1.38.0
RUFF := 0.17.6
MYPY := 2.4.1

# What a step needs of Debian's packages.
BUILD_PACKAGES := build-essential debhelper devscripts dh-python dpkg-dev git lintian pybuild-plugin-pyproject \
	python3-all python3-hypothesis python3-jinja2 python3-jsonschema python3-prometheus-client python3-pyroute2 \
	python3-pytest python3-setuptools systemd
LINT_PACKAGES := python3-venv shellcheck
UNIT_PACKAGES := bash-completion man-db mandoc python3-stdeb python3-yaml zsh
REPRODUCIBLE_PACKAGES := disorderfs faketime locales-all reprotest
REPO_PACKAGES := gpg gpg-agent reprepro
FLEET_PACKAGES := dpkg-dev iputils-ping openssh-client
FIELD_PACKAGES := apt-utils genisoimage piuparts
GUEST_PACKAGES := autopkgtest e2fsprogs iproute2 mmdebstrap qemu-system-x86 qemu-utils zstd

# What the package is made of: another digest of it, another build.
SOURCES := keepalived_dummy lib etc examples sbin debian tests/unit tests/generate tests/wire tests/adopt docs/man docs/*.md docs/how-it-works.* docs/*.schema.json completions \
	pyproject.toml README.md LICENSE
SHELL_SCRIPTS = $(shell $(GIT) ls-files --cached --others --exclude-standard | xargs -r grep -lIE '^\#!/bin/(ba)?sh' 2>/dev/null)
PYTHON_FILES = keepalived_dummy sbin tests debian/tests

step = @printf '\n==> %s (%s)\n' "$(1)" "$$(date +%H:%M:%S)"

.DELETE_ON_ERROR:
.PHONY: force help setup lint unit deb lintian images reproducible autopkgtest autopkgtest-dsc examples turns \
	man test demo bench acceptance repo field fleet install debianize picture clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@echo "  SUITES=\"bookworm trixie sid\" make test: on these releases; SUITE=sid make autopkgtest, demo, field, fleet: on this one"

# $(1): packages. Installs those that are not there.
define packages
	@missing=""; for p in $(1); do \
	  dpkg-query -W -f '$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
	  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $$missing; } \
	    > build/apt.log 2>&1 || { cat build/apt.log; exit 1; }; fi
endef

# $(1): folder. Copies what git tracks, or would, there.
tree = $(GIT) ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C $(1)

build dist:
	@mkdir -p $@

setup: build ## install what building and testing needs
	$(call packages,$(BUILD_PACKAGES) $(LINT_PACKAGES) $(UNIT_PACKAGES) $(GUEST_PACKAGES))

$(VENV)/ready-$(RUFF)-$(MYPY): | build
	$(call packages,python3-venv $(BUILD_PACKAGES))
	@rm -rf $(VENV)
	@$(PYTHON) -m venv --system-site-packages $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check ruff==$(RUFF) mypy==$(MYPY)
	@touch $@

lint: $(VENV)/ready-$(RUFF)-$(MYPY) ## ruff, mypy --strict, shellcheck
	$(call step,lint)
	$(call packages,$(LINT_PACKAGES))
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy keepalived_dummy
	@$(VENV)/bin/mypy tests/unit tests/bench
	@MYPYPATH=tests/guest $(VENV)/bin/mypy tests/guest/run tests/packaging/picture.py
	@$(VENV)/bin/mypy docs/man/generate.py
	@MYPYPATH=tests/fleet:debian/tests $(VENV)/bin/mypy tests/fleet
	@MYPYPATH=tests/acceptance $(VENV)/bin/mypy tests/demo
	@MYPYPATH=tests/field:debian/tests $(VENV)/bin/mypy tests/field/run tests/field/*.py
	@shellcheck -x -P SCRIPTDIR $(SHELL_SCRIPTS)
	@echo "lint: clean"

# Prometheus' own tool for metrics and rules; the package would also start its server.
PROMTOOL := build/promtool/usr/bin/promtool

$(PROMTOOL): | build
	@rm -rf build/promtool && mkdir -p build/promtool
	@cd build/promtool && apt-get -qq update && apt-get -qq -o APT::Sandbox::User=root download prometheus && \
	  dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb

EXAMPLES_READY := $(EXAMPLES_VENV)/ready-$(shell echo $(EXAMPLES_TOOLS) | cksum | cut -d' ' -f1)
$(EXAMPLES_READY): | build
	$(call packages,python3-venv)
	@rm -rf $(EXAMPLES_VENV)
	@$(PYTHON) -m venv $(EXAMPLES_VENV)
	@$(EXAMPLES_VENV)/bin/pip install --quiet --disable-pip-version-check $(EXAMPLES_TOOLS)
	@touch $@

examples: $(EXAMPLES_READY) ## ansible-lint, yamllint and the schemas of pipelines on examples/
	$(call step,examples)
	@cd examples/ansible && PATH="$(CURDIR)/$(EXAMPLES_VENV)/bin:$$PATH" PYTHONWARNINGS=ignore ansible-lint --offline --nocolor --profile production
	@$(EXAMPLES_VENV)/bin/yamllint --strict -d '{extends: default, rules: {line-length: {max: 120}}}' \
	  examples/ansible examples/ci debian/salsa-ci.yml
	@$(EXAMPLES_VENV)/bin/check-jsonschema --builtin-schema vendor.gitlab-ci examples/ci/gitlab-ci.yml debian/salsa-ci.yml
	@$(EXAMPLES_VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows examples/ci/github.yml
	@echo "examples: clean"

turns: $(EXAMPLES_READY) ## examples/ansible over several clusters of doubles: who has its turn when
	$(call step,turns)
	@$(PYTHON) -m pytest -q -p no:cacheprovider tests/fleet

unit: build $(PROMTOOL) ## unit tests
	$(call step,unit tests)
	$(call packages,$(BUILD_PACKAGES) $(UNIT_PACKAGES))
	@$(PYTHON) -m pytest -q tests/unit

deb: $(DEB) ## the package, in dist/

build/digest: force | build
	@$(GIT) ls-files -z --cached --others --exclude-standard -- $(SOURCES) | \
	  tar -c --null -T - --sort=name --mtime=@0 --owner=0 --group=0 | sha256sum > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# Built in a copy of what git tracks, or would, so the tree stays clean.
$(DEB): build/digest | dist
	$(call packages,$(BUILD_PACKAGES))
	$(call step,package $(VERSION))
	@rm -rf build/source && mkdir -p build/source/keepalived-dummy
	@$(call tree,build/source/keepalived-dummy)
	@cd build/source/keepalived-dummy && PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg-buildpackage -us -uc -ui > ../build.log 2>&1 || { cat ../build.log; exit 1; }
	@rm -rf dist/*
	@cp build/source/keepalived-dummy_* dist/
	@ls -l dist/*.deb

reproducible: $(DEB) ## two more builds, as unlike the first as can be: the same bytes
	$(call step,reproducible)
	$(call packages,$(REPRODUCIBLE_PACKAGES))
	@rm -rf build/tree && mkdir -p build/tree
	@$(call tree,build/tree)
	@tests/packaging/reproducible build/tree $(DEB)

lintian: $(DEB) ## lintian --pedantic on the package
	$(call step,lintian)
	$(call packages,lintian)
	@lintian --pedantic --fail-on error,warning,info,pedantic dist/*.changes
	@echo "lintian: clean"

# LAN_PARTS: those of debian/tests/on-a-lan to run, else all.
autopkgtest: $(DEB) ## all of the package's own tests, or those named in TESTS, in a guest of SUITE
	$(call step,autopkgtest on $(SUITE))
	$(call packages,$(GUEST_PACKAGES))
	@rm -rf build/tree && mkdir -p build/tree
	@$(call tree,build/tree)
	@tests/guest/autopkgtest $(SUITE) build/tree $(DEB) -- $(TESTS:%=--test-name=%) $(if $(LAN_PARTS),"--env=LAN_PARTS=$(LAN_PARTS)")

# Side by side, as each is the work of one core.
images: build
	$(call step,guest images for $(SUITES))
	$(call packages,$(GUEST_PACKAGES))
	@started=""; for suite in $(SUITES); do tests/guest/image $$suite > /dev/null & started="$$started $$!"; done; \
	  failed=0; for pid in $$started; do wait $$pid || failed=1; done; exit $$failed

autopkgtest-dsc: $(DEB) ## the same as a distribution runs them: from the source package, against the built one
	$(call step,autopkgtest of the source package on $(SUITE))
	$(call packages,$(GUEST_PACKAGES))
	@tests/guest/autopkgtest $(SUITE) dist/keepalived-dummy_$(VERSION).dsc $(DEB) $(if $(TESTS),-- $(TESTS:%=--test-name=%))

# Of debian/tests/control what each release has to show, on DEPTH the wire frame by frame and the decisive part of the
# matrix, and on HEARING (keepalived 2.2 and 2.3) a node that has lost its own address; the rest takes too long for every
# change: make autopkgtest, make acceptance.
test: export DEB_BUILD_OPTIONS = nocheck # `unit` has run them
test: lint unit lintian images ## all of it, on each of SUITES
	@for suite in $(SUITES); do \
	  parts=""; \
	  case " $(DEPTH) " in *" $$suite "*) parts="wire matrix" ;; esac; \
	  case " $(HEARING) " in *" $$suite "*) parts="$${parts:+$$parts }hearing" ;; esac; \
	  $(MAKE) --no-print-directory autopkgtest SUITE=$$suite TESTS="on-a-host $${parts:+on-a-lan}" LAN_PARTS="$$parts" || exit 1; \
	done
	$(call step,all passed on $(SUITES))

demo: $(DEB) ## the job side by side, in a guest of SUITE with clients pinging
	$(call step,demo on $(SUITE))
	$(call packages,$(GUEST_PACKAGES))
	@tests/demo/run $(SUITE) $(DEB)

bench: build ## what the generator costs a boot, the message of the day a login, reading a large keepalived.conf, and the way out a client
	$(call packages,python3-jinja2 python3-pyroute2)
	@for bench in tests/bench/bench_*.py; do $(PYTHON) $$bench || exit 1; done

acceptance: $(DEB) ## the long proof on bookworm, noble (Debian 12 with systemd 254), trixie and sid: hours; results in docs/evidence
	$(call packages,$(GUEST_PACKAGES))
	@tests/acceptance/run --deb $(DEB) $(ACCEPTANCE)

repo: $(DEB) ## a signed apt repository of the package, in dist/repo; SIGN_WITH=FINGERPRINT: by your own key
	$(call packages,$(REPO_PACKAGES))
	$(call step,repository)
	@SIGN_WITH="$(SIGN_WITH)" tests/packaging/repository dist/repo dist/*.changes

field: repo ## first boot, apt and the package's whole life on hosts of SUITE; results in docs/evidence/field
	$(call packages,$(GUEST_PACKAGES) $(FIELD_PACKAGES))
	$(call step,field on $(SUITE))
	@tests/field/run --repository dist/repo --results docs/evidence/field $(SUITE) $(FIELD)

fleet: $(DEB) $(EXAMPLES_READY) ## examples/ansible by ansible-playbook on three nodes, guests of SUITE, with a client pinging
	$(call packages,$(GUEST_PACKAGES) $(FLEET_PACKAGES))
	$(call step,fleet on $(SUITE))
	@tests/fleet/run $(SUITE) $(DEB)

install: $(DEB) ## build the package and install it on this very host
	@apt-get -y install ./$(DEB)

debianize: build ## derive Debian metadata with stdeb, into build/debianized
	$(call packages,$(BUILD_PACKAGES) $(UNIT_PACKAGES))
	@rm -rf build/debianized
	@tests/packaging/debianize build/debianized

man: build ## the man pages, in build/man: man -l build/man/keepalived-dummy.8
	$(call packages,python3-jinja2)
	@$(PYTHON) docs/man/generate.py build/man

picture: ## the pictures of docs/, drawn from their text
	@for text in docs/*.txt; do $(PYTHON) tests/packaging/picture.py $$text > $${text%.txt}.svg || exit 1; done

clean: ## remove what was built; images of guests stay in build/images
	@rm -rf dist build/source build/autopkgtest build/promtool build/venv build/examples-venv build/debianized build/man
	@find . -name __pycache__ -prune -exec rm -rf {} +
