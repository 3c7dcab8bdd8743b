# The pipeline on one machine. `make help` tells what each target does.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv/bin
LOGPIPE := $(VENV)/logpipe
export PYTHON
# Where the tests' packages are installed they stay.
VENV_STAMP := .venv/$(if $(wildcard .venv/installed-dev),installed-dev,installed)
# One make at a time installs; what is due is looked at anew behind the lock.
alone = mkdir -p build && { flock -n build/.lock true || echo "Another make installs here: waiting for it to end." >&2; } \
	&& flock build/.lock $(MAKE) --no-print-directory -s -j3 $(1)

# The longest first; STREAMS of them side by side, each as a whole in one process.
ALL_SUITES := tests/e2e tests/spark tests/replayer tests/servers tests/chain tests/sealing tests/airflow tests/integration tests/accounting tests/hdfs_access tests/kafka_access tests/formats tests/fuzz tests/unit

.DEFAULT_GOAL := help
COMMANDS := run up stop rotate status replay follow unfollow verify audit seal report forget erase rotate-key repair logs
CLUSTER_COMMANDS := $(addprefix cluster-,$(filter-out rotate,$(COMMANDS)) down)
.PHONY: help install install-dev wheel $(COMMANDS) $(CLUSTER_COMMANDS) clean test fuzz test-faults test-cluster mutation bench soak lint lock lock-jars sbom docs cluster-jars

# What stands behind a target as NAME=value reaches its command in the environment, as MAKE_NAME and as it was typed:
# neither make nor a shell reads it.
VALUES := LOG FORMAT FROM OLDDIR ADDRESSES ADDRESS MINUTES URL PACE LIMIT PROFILE CONNECTION DATE REPLAY SERVICE JSON VOLUMES HOURS SEED AIRFLOW FOLLOW SUITES STREAMS SHORT SEEDS SEQUENCES ENGINE SECURE
unexport $(VALUES)
$(foreach name,$(VALUES),$(if $(value $(name)),$(eval export MAKE_$(name) := $$(value $(name)))))

# A misspelt name would be as if nothing had been said. Blanks and newlines in values are no ends of words here.
empty :=
define newline


endef
overrides := $(subst \$(empty) ,_,$(subst $(newline),_,$(MAKEOVERRIDES)))
given := $(foreach word,$(overrides),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word)))))
unknown := $(filter-out $(VALUES) LOGPIPE_% PYTHON VENV VENV_STAMP,$(given:%:=%))
$(if $(unknown),$(error Nothing here is named $(unknown): a target takes some of $(VALUES); see make help))
nothing := $(foreach name,$(VALUES),$(if $(value $(name)),,$(if $(findstring command,$(origin $(name))),$(name))))
$(if $(strip $(nothing)),$(error $(strip $(nothing)) is empty: give it a value, or leave it out for its default))

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Settings are environment variables LOGPIPE_…; a second copy beside this one:"
	@echo "  LOGPIPE_PORT_OFFSET=1000 LOGPIPE_STATE_DIR=/path/of/its/own make run"

install:
	@$(call alone,installed)

install-dev:
	@$(call alone,installed VENV_STAMP=.venv/installed-dev)

.PHONY: installed machine
MODULES := kafka hadoop flume spark page
installed: $(VENV_STAMP) $(MODULES:%=build/jars/%/.made) $(patsubst %,build/classes/%.jsa,kafka hadoop flume spark)

# Side by side, but for Maven, which shares one repository.
build/jars/hadoop/.made: | build/jars/kafka/.made
build/jars/flume/.made: | build/jars/hadoop/.made
build/jars/spark/.made: | build/jars/flume/.made
build/jars/page/.made: | build/jars/spark/.made
build/jars/yarn/.made: | build/jars/page/.made
build/classes/spark.jsa: $(VENV_STAMP)

machine:
	@bin/install check

.venv/installed: requirements.txt pyproject.toml | machine
	@bin/install venv requirements.txt
	@touch $@

.venv/installed-dev: requirements.txt requirements-dev.txt pyproject.toml | machine
	@bin/install venv requirements.txt requirements-dev.txt
	@touch $@

build/jars/flume/.made: java/pom.xml java/sums/flume flume/pom.xml $(shell find flume/src/main -name '*.java') | machine
	@bin/install jars flume

build/jars/%/.made: java/pom.xml java/%/pom.xml java/sums/% | machine
	@bin/install jars $*

build/classes/%.jsa: build/jars/%/.made conf/classes/%.txt.gz | machine
	@bin/install classes $*

run: ## Install what is missing, start everything, replay the bundled log, account for every line
up: ## Start everything and replay nothing; what runs is left alone
stop: ## Stop everything in order, Flume agents drained first
rotate: ## Change passwords and keys; what runs is stopped in order and runs again, no line is lost
status: ## A table of the services; JSON=1 prints one JSON object
replay: ## Replay URL=… at PACE=… (delay:0.1, speed:600, max), LIMIT=… lines, FORMAT=… (auto, caddy, …), ADDRESSES=… (keep, shorten, hash); ends when all are in HDFS and windows
follow: ## Follow LOG=/var/log/nginx/access.log (or a pattern) as it is written; FORMAT=combined (auto), FROM=start for all that is there (end), OLDDIR=… where rotation puts old files elsewhere, ADDRESSES=…
unfollow: ## Follow LOG=… no more
verify: ## Prove by addition that HDFS and windows hold each line once; ends with one JSON line
audit: ## Read the bytes again, of DATE=2026-11-23, of REPLAY=…, or of all; names the lines that differ
seal: ## Seal the day DATE=2026-11-23, once it is over: few large files, a manifest, _SUCCESS
report: ## Report on the sealed day DATE=2026-11-23, or on each that has no report: figures beside its manifest on HDFS
forget: ## Delete the lines of the sealed day DATE=2026-11-23 from HDFS, its sums stay; or give up REPLAY=…, which stopped half sent
erase: ## Replace ADDRESS=203.0.113.7 in sealed days (DATE=… for one) and in the windows; says what still holds it
rotate-key: ## Begin a new key for the addresses of logs that begin with ADDRESSES=hash
repair: ## The exception: lost lines are sent again, files on HDFS are mended from the topic; DATE=… for one day
logs: ## Follow the log of SERVICE=… (kafka, namenode, flume-agent1, analytics, …)

$(COMMANDS): install
	@$(LOGPIPE) $@

test: install-dev ## Lint, types, Java, unit, DAG, integration and end-to-end tests; SUITES=tests/spark for one suite, STREAMS=1 for one at a time
	@$(VENV)/ruff check . && $(VENV)/ruff format --check . && $(VENV)/mypy && $(VENV)/lint-imports
	@mvn -B -q -f flume/pom.xml test
	@$(VENV)/python -m pytest -n "$${MAKE_STREAMS:-auto}" --dist loadscope --no-loadscope-reorder -m "not slow and not faults and not cluster" \
		$${MAKE_SUITES:-$(ALL_SUITES)}

test-faults: install-dev ## Faults in replays, single and in sequences; writes docs/reliability.md (SHORT=1: some; SEEDS=1,2: these sequences)
	@$(if $(value SHORT)$(value SEEDS),,WRITE_RELIABILITY=1) SEEDS="$$MAKE_SEEDS" SEQUENCES="$$MAKE_SEQUENCES" $(VENV)/python -m pytest \
		$(if $(value SEEDS),tests/faults/test_sequences.py,$(if $(value SHORT),tests/faults,-m "slow or faults")) $(if $(value SHORT),--short-faults)

fuzz: install-dev ## Hostile inputs for every parser of tests/fuzz/parsers.py, for MINUTES=… (10); what fails is kept in the corpus
	@FUZZ_MINUTES="$${MAKE_MINUTES:-10}" $(VENV)/python -m pytest -q tests/fuzz

# mutmut takes a package in src for what its tests import, and writes beside it.
mutation: install-dev ## Change each line where lines are counted, one at a time, and name the changes that no test notices
	@rm -rf build/mutation && mkdir -p build/mutation/src && cp -r plugins/logpipe spark_jobs/windows build/mutation/src && cp -r tests pyproject.toml build/mutation
	@cd build/mutation && $(abspath $(VENV))/mutmut run && $(abspath $(VENV))/mutmut results

bench: install-dev ## Measure the product and write docs/benchmarks.md with plots (SHORT=1: ten minutes)
	@$(VENV)/python -m benchmarks $(if $(value SHORT),--short)

soak: install-dev ## Run for HOURS=… (1) at PACE=… with random kills; fails when anything grows (AIRFLOW=1: all of it; FOLLOW=1: real servers; SEED=…)
	@$(VENV)/python -m benchmarks.soak --hours="$${MAKE_HOURS:-1}" $${MAKE_PACE:+--pace="$$MAKE_PACE"} $${MAKE_SEED:+--seed="$$MAKE_SEED"} \
		$${MAKE_AIRFLOW:+--airflow} $${MAKE_FOLLOW:+--follow} $${MAKE_JSON:+--json="$$MAKE_JSON"}

lock: install-dev ## Compile requirements.in and requirements-dev.in anew
	$(VENV)/uv pip compile -q --generate-hashes requirements.in --override overrides.txt -o requirements.txt
	$(VENV)/uv pip compile -q --generate-hashes requirements-dev.in --override overrides.txt -o requirements-dev.txt
	cd docker && ../$(VENV)/uv pip compile -q --generate-hashes requirements.in --override ../overrides.txt -o requirements.txt

lock-jars: | machine ## List the jars of java/pom.xml anew, with their SHA-256, in java/sums
	@for module in $(MODULES) yarn; do NEW_SUMS=1 bin/install jars $$module || exit; done

wheel: install ## Build the package for an Airflow that exists already, in build/wheel: docs/package.md
	@$(VENV)/python -m hatchling build -t wheel -d build/wheel

sbom: install-dev ## Bills of material (CycloneDX, JSON) of the Python packages and of the jars, in build/sbom
	@mkdir -p build/sbom
	@$(VENV)/cyclonedx-py environment .venv --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom/python.json
	@mvn -B -q -C -f java/pom.xml org.cyclonedx:cyclonedx-maven-plugin:makeAggregateBom -DoutputFormat=json -DoutputName=jars \
		-DoutputReactorProjects=false -DincludeTestScope=false -DoutputDirectory=$(abspath build/sbom)
	@ls -l build/sbom/*.json

docs: install-dev ## Write docs/settings.md, docs/public-names.md, and the picture of the rooms, from the code
	@$(VENV)/python -m logpipe.settings > docs/settings.md
	@$(VENV)/python -m tests.rooms
	@$(VENV)/python -m tests.public_names

clean: ## Stop everything, then delete the state folder (data, logs, secrets)
	@if [ -x $(LOGPIPE) ]; then $(LOGPIPE) clean; fi

cluster-up: ## The same pipeline on a cluster of containers (docker/): build the images, start everything (SECURE=0: nobody asks who it is)
cluster-run: ## Start the cluster, replay URL=… at PACE=…, account for every line
cluster-status: ## And cluster-replay, -follow, -unfollow, -verify, -audit, -seal, -report, -forget, -erase, -rotate-key, -repair, -logs: as above, on the cluster
cluster-down: ## Stop the cluster, agents drained first; VOLUMES=1 deletes its data too

$(CLUSTER_COMMANDS): install cluster-jars
	@$(if $(value SECURE),LOGPIPE_SECURE="$$MAKE_SECURE") $(LOGPIPE) --target cluster $(patsubst down,$(if $(value VOLUMES),clean,stop),$(@:cluster-%=%))

cluster-jars: install
	@$(call alone,build/jars/yarn/.made)

test-cluster: install-dev cluster-jars ## Build, start, run and hit the cluster (SHORT=1: one fault; ENGINE=own: Debian, as root: install and start an engine)
	@$(if $(value SHORT),,WRITE_RELIABILITY=1) $(VENV)/python -m pytest -m cluster tests/cluster $(if $(value SHORT),--short-faults) \
		$${MAKE_ENGINE:+--engine="$$MAKE_ENGINE"}
