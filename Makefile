# Builds and installs the extension, and names the tests and benchmarks. `make help` lists the targets.

# The one list of capabilities, in the order in which one may use another. It gives the objects,
# the order of the SQL and the regress schedule.
CAPABILITIES = tenancy events registry secrets priority jobs gpu gateway

EXTENSION = aurora
MODULE_big = aurora
DATA = aurora--1.0.sql
MODULE_DIRS = src src/core src/shared $(addprefix src/,$(CAPABILITIES))
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard $(addsuffix /*.c,$(MODULE_DIRS)))))
SOURCES_H = $(wildcard $(addsuffix /*.h,$(MODULE_DIRS)))

REGRESS = $(notdir $(basename $(sort $(wildcard sql/*.sql))))
ISOLATION = $(notdir $(basename $(sort $(wildcard specs/*.spec))))
TAP_TESTS = $(if $(wildcard t/*.pl),1)

PG_CONFIG ?= pg_config
PG_CPPFLAGS = -I$(srcdir)/src -isystem $(shell $(PG_CONFIG) --includedir-server) -I$(shell $(PG_CONFIG) --includedir)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter $(if $(WERROR),-Werror)
SHLIB_LINK = -L$(shell $(PG_CONFIG) --libdir) -lpq -lcurl -lhiredis -lssl -lcrypto -lm
EXTRA_CLEAN = results output_iso tmp_check log regression.diffs regression.out

# Bitcode only serves the inlining of operators into compiled queries; nothing here is one.
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
CONTRIB_TESTDB = aurora_regress
ISOLATION_TESTDB = aurora_isolation

$(OBJS): $(SOURCES_H)

.PHONY: help sql check-sql format check-format programs fuzz demo test bench soak

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '  make %-14s %s\n' all 'build the extension' install 'install it' installcheck 'regress, isolation and TAP tests'

# The SQL of each capability, in order.
SQL_core = core
SQL_tenancy = tenancy
SQL_events = events cursors consumers rights
SQL_registry = registry agents health services connectivity topology rights
SQL_secrets = secrets keys values audit rights
SQL_priority = priority surface settings items duties rights
SQL_jobs = jobs queues verbs settle views rights
SQL_gpu = gpu devices generate output views rights
SQL_gateway = gateway sessions streams webhooks metrics rights
SQL_SOURCES = $(foreach c,core $(CAPABILITIES),$(patsubst %,src/$(c)/%.sql,$(SQL_$(c))))

sql: aurora--1.0.sql  ## rebuild aurora--1.0.sql from src/*/*.sql

aurora--1.0.sql: $(SQL_SOURCES) Makefile
	@sh scripts/join-sql $(SQL_SOURCES) > $@.new && mv $@.new $@

check-sql:  ## fail when aurora--1.0.sql is not what src/*/*.sql give
	@sh scripts/join-sql $(SQL_SOURCES) | diff -u aurora--1.0.sql -

# Versions format differently; this one is in Debian 12 and 13.
CLANG_FORMAT ?= clang-format-19
FORMATTED = $(wildcard $(addsuffix /*.[ch],$(MODULE_DIRS)))

format:  ## format the C files
	$(CLANG_FORMAT) -i $(FORMATTED)
	@$(MAKE) -s -C workers CLANG_FORMAT='$(CLANG_FORMAT)' format

check-format:  ## fail when a C file is not formatted
	$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED)

programs:  ## build the programs of workers/, which make -C workers install installs
	@$(MAKE) -C workers all

fuzz:  ## feed what reads bytes from outside with broken ones, for FUZZ_SECONDS
	@$(MAKE) -C workers FUZZ_SECONDS='$(or $(FUZZ_SECONDS),600)' fuzz

demo:  ## a lead and a hot standby under .aurora/ with a generated company
	@scripts/demo

test:  ## install what is missing, build, run every check and test
	@scripts/test

bench:  ## run the benchmarks of bench/ and print their tables
	@bench/run

soak:  ## push SOAK_JOBS jobs through the queue while takers and PostgreSQL are killed
	@bench/soak_jobs $(or $(SOAK_JOBS),100000)
