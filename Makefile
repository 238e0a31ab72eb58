# Tessera. `make help` prints the targets. The build tree mirrors an installed prefix (bin lib share), so the binary finds
# its plugins and roles the same way in both. CONFIG=asan|tsan|fault|debug|fuzz builds beside the release build.
CONFIG ?= release
SHELL := /bin/bash
B := build$(if $(filter-out release,$(CONFIG)),/$(CONFIG))
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
OBJCOPY ?= objcopy
# The processor that is built for; contrib/aarch64 says what a build for another one needs.
MACHINE ?= $(shell uname -m)
JOBS ?= $(shell nproc)
CC ?= gcc

comma := ,
VERSION := $(shell sed -n 's/.*TSR_VERSION "\(.*\)"/\1/p' framework/include/tessera/version.h)
LIBRARY_ABI := $(shell sed -n 's/.*TSR_LIBRARY_ABI \([0-9]*\)/\1/p' framework/library/include/tessera/tessera.h)
LIBRARIES := yaml-0.1 jansson libxxhash libzstd libpcre2-8 libutf8proc openblas
PACKAGE_yaml-0.1 := libyaml-dev
PACKAGE_jansson := libjansson-dev
PACKAGE_libxxhash := libxxhash-dev
PACKAGE_libzstd := libzstd-dev
PACKAGE_libpcre2-8 := libpcre2-dev
PACKAGE_libutf8proc := libutf8proc-dev
PACKAGE_openblas := libopenblas-dev
# Sound files are left out where the library is missing, or with SNDFILE=
SNDFILE ?= $(shell pkg-config --exists sndfile 2>/dev/null && echo sndfile)

# Targets that build nothing themselves, or install what is missing first.
UNCHECKED := help clean bootstrap demo check check-slurm check-python check-asan check-tsan check-fault fuzz soak bench bench-quality stats uninstall dist
ifneq ($(filter-out $(UNCHECKED),$(or $(MAKECMDGOALS),all)),)
ifeq ($(shell command -v pkg-config),)
$(error pkg-config is missing: apt-get install pkg-config, or run contrib/bootstrap)
endif
$(foreach library,$(LIBRARIES),$(if $(shell pkg-config --exists $(library) && echo yes),,$(error \
  library $(library) is missing: apt-get install $(PACKAGE_$(library)), or run contrib/bootstrap)))
endif

# Headers of libraries are not ours to warn about.
LIBRARY_CFLAGS := $(patsubst -I%,-isystem%,$(shell pkg-config --cflags $(LIBRARIES) $(SNDFILE) 2>/dev/null)) \
  $(if $(SNDFILE),-DTSR_SNDFILE)
LIBRARY_LIBS := $(shell pkg-config --libs $(LIBRARIES) $(SNDFILE) 2>/dev/null)

# Warnings, sorted by what each buys: conversions lose bits of sizes, shadows and missing prototypes hide mistakes.
WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wvla -Wstrict-prototypes -Wmissing-prototypes \
  -Wwrite-strings $(if $(WERROR),-Werror)
OPTIMISE_release := -O2
OPTIMISE_debug := -O0
OPTIMISE_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPTIMISE_tsan := -O1 -fsanitize=thread
OPTIMISE_fault := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DTSR_FAULT
OPTIMISE_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# No fused multiply-add and no -march: stored bytes must not depend on compiler or machine.
CFLAGS_ALL := -std=c11 -D_POSIX_C_SOURCE=200809L -g $(OPTIMISE_$(CONFIG)) -ffp-contract=off -fPIC -fvisibility=hidden \
  $(WARNINGS) -MMD -MP -Iframework/include $(CFLAGS)
CORE_CFLAGS := $(CFLAGS_ALL) -Iframework -Iframework/library/include $(LIBRARY_CFLAGS)
# The fuzzer's own main is linked into fuzz targets only.
LDFLAGS_ALL := $(if $(filter asan fault fuzz,$(CONFIG)),-fsanitize=address$(comma)undefined) \
  $(if $(filter tsan,$(CONFIG)),-fsanitize=thread) $(LDFLAGS)
LDLIBS_ALL := $(LIBRARY_LIBS) -lm -lpthread -ldl

ifeq ($(MACHINE),x86_64)
VECTOR_avx2 := -mavx2 -mfma -mf16c -mbmi -mbmi2
VECTOR_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -mbmi -mbmi2
endif
vector_flags = $(VECTOR_$(lastword $(subst _, ,$(basename $(notdir $(1))))))

CORE_SOURCES := $(filter-out framework/cli/%,$(wildcard framework/*/*.c))
CLI_SOURCES := $(wildcard framework/cli/*.c)
# What several codecs are made of, no codecs themselves.
SHARED_PARTS := tile_parts vq_parts
CODECS := $(filter-out $(SHARED_PARTS),$(notdir $(patsubst %/,%,$(wildcard plugins/*/))))
MODELS := $(notdir $(patsubst %/,%,$(wildcard models/*/)))
UNIT_SOURCES := $(wildcard tests/unit/test_*.c)
FUZZ_SOURCES := $(wildcard tests/fuzz/fuzz_*.c)
# Script tests; those of bench/, soak/ and slurm/ are run by their own targets.
SCRIPTS := $(filter-out tests/bench/% tests/soak/% tests/slurm/%,$(wildcard tests/*/*.sh))

object = $(patsubst %.c,$(B)/obj/%.o,$(1))
# All names of the core, for our own programs. What others get has those of tessera.h alone.
LIB := $(B)/obj/libtessera-core.a
SHARED := $(B)/lib/libtessera.so
ARCHIVE := $(B)/lib/libtessera.a
BINARY := $(B)/bin/tessera
PLUGINS := $(CODECS:%=$(B)/lib/tessera/tessera-codec-%.so) $(MODELS:%=$(B)/lib/tessera/tessera-model-%.so)
# Plugins that have been renamed or removed since they were built: their codecs would be in two plugins.
STALE := $(filter-out $(PLUGINS),$(wildcard $(B)/lib/tessera/tessera-codec-*.so $(B)/lib/tessera/tessera-model-*.so))
DATA := $(B)/share/tessera
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(UNIT_SOURCES))
# The plugins' sources once more, for programs that link them: each under a symbol of its own, tsr_plugin_NAME.
BUILTIN := $(B)/obj/libtessera-plugins.a
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(FUZZ_SOURCES))
REPLAY_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,$(B)/tests/replay_%,$(FUZZ_SOURCES))

# Sanitizers and fuzzers link the core into the programs they watch.
PUBLIC := $(if $(filter release debug,$(CONFIG)),$(SHARED) $(ARCHIVE))

.PHONY: all help
all: $(if $(CLI_SOURCES),$(BINARY)) $(PUBLIC) $(PLUGINS) $(DATA)/.stamp $(if $(STALE),remove-stale) ## build binary, library and plugins into build/

.PHONY: remove-stale
remove-stale:
	rm -f $(STALE)

help: ## print the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(B)/obj/framework/%.o: framework/%.c
	@mkdir -p $(@D)
	$(CC) $(CORE_CFLAGS) $(call vector_flags,$<) -c $< -o $@

$(B)/obj/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(CORE_CFLAGS) -Itests $(SHARED_PARTS:%=-Iplugins/%) -c $< -o $@

# Plugins see the public headers alone.
$(B)/obj/plugins/%.o: plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(SHARED_PARTS:%=-Iplugins/%) $(call vector_flags,$<) -c $< -o $@

$(B)/obj/models/%.o: models/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(call vector_flags,$<) -c $< -o $@

$(LIB): $(call object,$(CORE_SOURCES))
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(SHARED): $(call object,$(CORE_SOURCES))
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,libtessera.so.$(LIBRARY_ABI) -Wl,-z,defs $^ $(LDLIBS_ALL) -o $(SHARED).$(VERSION)
	@ln -sf libtessera.so.$(VERSION) $(SHARED).$(LIBRARY_ABI)
	@ln -sf libtessera.so.$(LIBRARY_ABI) $@

# One object in which hidden names are local: a program that links it may use any name of its own.
$(ARCHIVE): $(call object,$(CORE_SOURCES))
	@mkdir -p $(@D)
	$(LD) -r $^ -o $(B)/obj/libtessera.o
	$(OBJCOPY) --localize-hidden $(B)/obj/libtessera.o
	@rm -f $@
	$(AR) rcs $@ $(B)/obj/libtessera.o

$(BINARY): $(call object,$(CLI_SOURCES)) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $^ $(LDLIBS_ALL) -o $@

# An archive: a codec takes from it what it uses.
PARTS := $(B)/obj/plugins/parts.a
$(PARTS): $(call object,$(wildcard $(SHARED_PARTS:%=plugins/%/*.c)))
	@rm -f $@
	$(AR) rcs $@ $^

define plugin_rule
$(B)/lib/tessera/tessera-$(1)-$(2).so: $(call object,$(wildcard $(3)/$(2)/*.c)) $(PARTS)
	@mkdir -p $$(@D)
	$(CC) $(LDFLAGS_ALL) -shared $$^ -lm -o $$@
endef
$(foreach c,$(CODECS),$(eval $(call plugin_rule,codec,$(c),plugins)))
$(foreach m,$(MODELS),$(eval $(call plugin_rule,model,$(m),models)))

# Data is copied, so that the build tree is complete in itself.
FAMILIES := $(wildcard models/*/families/*.yaml)
$(DATA)/.stamp: $(wildcard roles/*.yaml configs/*) $(FAMILIES)
	@mkdir -p $(DATA)/roles $(DATA)/configs $(DATA)/families
	@rm -f $(DATA)/roles/* $(DATA)/configs/* $(DATA)/families/*
	@cp $(FAMILIES) $(DATA)/families/
	@cp $(wildcard roles/*.yaml) $(DATA)/roles/ 2>/dev/null || true
	@cp $(wildcard configs/*) $(DATA)/configs/ 2>/dev/null || true
	@touch $@

# The last folders that are searched; whatever PREFIX was when these two were compiled, an installed binary finds its own
# neighbours first.
INSTALLED := -DTSR_DATA_DIR='"$(PREFIX)/share/tessera"' -DTSR_PLUGIN_DIR='"$(LIBDIR)/tessera"' -DTSR_PROGRAM_DIR='"$(PREFIX)/bin"'
$(call object,framework/library/library_folders.c framework/plugin/registry_folders.c): CORE_CFLAGS += $(INSTALLED)

$(B)/obj/builtin/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(SHARED_PARTS:%=-Iplugins/%) -DTSR_PLUGIN_NAME=tsr_plugin_$(subst -,_,$(word 2,$(subst /, ,$<))) $(call vector_flags,$<) -c $< -o $@

$(BUILTIN): $(patsubst %.c,$(B)/obj/builtin/%.o,$(wildcard $(CODECS:%=plugins/%/*.c) $(SHARED_PARTS:%=plugins/%/*.c) $(MODELS:%=models/%/*.c)))
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

.PHONY: programs
programs: all $(UNIT_TESTS) $(REPLAY_TARGETS) ## build all test programs

.PHONY: unit
unit: all $(UNIT_TESTS) ## build and run the unit tests
	@TESSERA_BUILD=$(B) tests/run $(UNIT_TESTS)

$(B)/tests/%: $(B)/obj/tests/unit/%.o $(BUILTIN) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $^ -lcunit $(LDLIBS_ALL) -o $@

# A fuzz target without the fuzzer: runs the files it is given.
$(B)/tests/replay_%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/obj/tests/fuzz/replay.o $(BUILTIN) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $^ $(LDLIBS_ALL) -o $@

.PHONY: fuzz-programs
fuzz-programs: $(FUZZ_TARGETS)
$(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(BUILTIN) $(LIB)
	@mkdir -p $(@D)
	$(CC) -fsanitize=fuzzer $(LDFLAGS_ALL) $^ $(LDLIBS_ALL) -o $@

.PHONY: bench-programs
bench-programs: $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/bench_*.c))
$(B)/bench/%: $(B)/obj/tests/bench/%.o $(BUILTIN) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $^ $(LDLIBS_ALL) -o $@

# ---- what people type ----

.PHONY: bench-quality
bench-quality: ## quality per byte against llama.cpp; writes docs/results/quality.md and .svg (tests/bench/bench_quality.py)
	@$(MAKE) --no-print-directory bench BENCH=quality

.PHONY: bootstrap demo check check-asan check-tsan check-fault fuzz soak bench golden stats
bootstrap: ## install missing Debian packages
	@contrib/bootstrap

demo: ## set up, build, compress the bundled model with every shipped config
	@contrib/bootstrap
	@[ -e $(BINARY) ] || echo "building: a minute or two of silence"
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@TESSERA_BUILD=$(B) contrib/demo

check: ## set up, build with -Werror, run all tests
	@contrib/bootstrap
	@$(MAKE) --no-print-directory -s -j$(JOBS) WERROR=1 programs
	@$(MAKE) --no-print-directory -s -j$(JOBS) CONFIG=fault all
	@TESSERA_BUILD=$(B) tests/run $(UNIT_TESTS) $(SCRIPTS)

# Sanitizers see programs; scripts of groups that build, install or measure add nothing there.
SANITIZED := $(filter-out tests/fault/% tests/structure/% tests/install/% tests/oot/% tests/kill/% tests/docs/%,$(SCRIPTS))
check-asan: ## tests under AddressSanitizer and UBSan
	@contrib/bootstrap
	@$(MAKE) --no-print-directory -s -j$(JOBS) CONFIG=asan programs
	@TESSERA_BUILD=build/asan tests/run $(patsubst $(B)/%,build/asan/%,$(UNIT_TESTS)) $(SANITIZED)

check-tsan: ## tests under ThreadSanitizer
	@contrib/bootstrap
	@$(MAKE) --no-print-directory -s -j$(JOBS) CONFIG=tsan programs
	@TESSERA_BUILD=build/tsan tests/run $(patsubst $(B)/%,build/tsan/%,$(UNIT_TESTS)) $(SANITIZED)

check-fault: ## fault tests: every N-th allocation, read, write, fsync, rename fails
	@contrib/bootstrap
	@$(MAKE) --no-print-directory -s -j$(JOBS) CONFIG=fault programs
	@TESSERA_FAULTS=all tests/run $(wildcard tests/fault/*.sh)

.PHONY: check-slurm
check-slurm: ## batches on a Slurm of this machine's own (installs slurm-wlm and munge)
	@contrib/bootstrap
	@contrib/bootstrap slurm
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@TESSERA_BUILD=$(B) tests/run $(wildcard tests/slurm/*.sh)

.PHONY: check-python
check-python: ## the Python package in a fresh environment (needs PyPI)
	@contrib/bootstrap
	@contrib/bootstrap python
	@contrib/python/check

FUZZ_SECONDS ?= 60
fuzz: ## fuzz every parser for FUZZ_SECONDS each (clang); FUZZ_SEED=N: always the same inputs
	@contrib/bootstrap
	@$(MAKE) --no-print-directory -s -j$(JOBS) CONFIG=fuzz CC=clang WARNINGS=-w fuzz-programs
	@FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_SEED=$(FUZZ_SEED) tests/fuzz/run build/fuzz

soak: ## the long forms: 30 min of fuzzing each, 100 kills, 10000 bit flips
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=1800
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@TESSERA_BUILD=$(B) TESSERA_SOAK=1 tests/run $(wildcard tests/kill/*.sh tests/soak/*.sh)

bench: ## measure against the peers; writes docs/results
	@contrib/bootstrap
	@$(MAKE) --no-print-directory -s -j$(JOBS) all bench-programs
	@TESSERA_BUILD=$(B) tests/bench/run

golden: all ## write the golden files anew (say why in the commit)
	@TESSERA_BUILD=$(B) tests/golden/regenerate $(NAMES)

stats: ## lengths of functions and files
	@tests/structure/lengths

# ---- installation ----

MAN_PAGES = $(DATA)/../man/man1/tessera.1
$(MAN_PAGES): $(BINARY)
	@TESSERA_BUILD=$(B) contrib/install describe

.PHONY: install uninstall
install: all $(MAN_PAGES) ## install below DESTDIR/PREFIX
	@TESSERA_BUILD=$(B) PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" VERSION="$(VERSION)" \
	  LIBRARY_ABI="$(LIBRARY_ABI)" PRIVATE_LIBS="$(LDLIBS_ALL)" contrib/install install

uninstall: ## remove exactly what install put there
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" contrib/install uninstall

.PHONY: dist
dist: ## pack the last commit into build/dist, always into the same bytes
	@contrib/dist "$(VERSION)" build/dist

.PHONY: clean
clean: ## remove build/
	rm -rf build

.SECONDARY:
-include $(wildcard $(addprefix $(B)/obj/,framework/*/*.d plugins/*/*.d models/*/*.d tests/*/*.d builtin/*/*/*.d))
