# Tessera. `make help` prints the targets. The build tree mirrors an installed prefix (bin lib share), so the binary finds
# its plugins and roles the same way in both. CONFIG=asan|tsan|fault|debug builds beside the release build.
CONFIG ?= release
B := build$(if $(filter-out release,$(CONFIG)),/$(CONFIG))
PREFIX ?= /usr/local
CC ?= gcc

VERSION := $(shell sed -n 's/.*TSR_VERSION "\(.*\)"/\1/p' framework/include/tessera/version.h)
LIBRARIES := yaml-0.1 jansson libxxhash libzstd libpcre2-8
# Headers of libraries are not ours to warn about.
LIBRARY_CFLAGS := $(patsubst -I%,-isystem%,$(shell pkg-config --cflags $(LIBRARIES) 2>/dev/null))
LIBRARY_LIBS := $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null)

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
CORE_CFLAGS := $(CFLAGS_ALL) -Iframework $(LIBRARY_CFLAGS)
LDFLAGS_ALL := $(filter -fsanitize=%,$(OPTIMISE_$(CONFIG):-fsanitize=fuzzer-no-link%=-fsanitize=%)) $(LDFLAGS)
LDLIBS_ALL := $(LIBRARY_LIBS) -lm -lpthread -ldl

ifeq ($(shell uname -m),x86_64)
VECTOR_avx2 := -mavx2 -mfma -mf16c -mbmi -mbmi2
VECTOR_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c -mbmi -mbmi2
endif
vector_flags = $(VECTOR_$(lastword $(subst _, ,$(basename $(notdir $(1))))))

CORE_SOURCES := $(wildcard framework/base/*.c framework/format/*.c framework/plugin/*.c framework/numeric/*.c \
  framework/policy/*.c framework/pipeline/*.c)
CLI_SOURCES := $(wildcard framework/cli/*.c)
CODECS := $(notdir $(patsubst %/,%,$(wildcard plugins/*/)))
MODELS := $(notdir $(patsubst %/,%,$(wildcard models/*/)))
UNIT_SOURCES := $(wildcard tests/unit/test_*.c)

object = $(patsubst %.c,$(B)/obj/%.o,$(1))
LIB := $(B)/lib/libtessera.a
BINARY := $(B)/bin/tessera
PLUGINS := $(CODECS:%=$(B)/lib/tessera/tessera-codec-%.so) $(MODELS:%=$(B)/lib/tessera/tessera-model-%.so)
DATA := $(B)/share/tessera
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(UNIT_SOURCES))

.PHONY: all help
all: $(if $(CLI_SOURCES),$(BINARY)) $(PLUGINS) $(DATA)/.stamp ## build binary and plugins into build/

help: ## print the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(B)/obj/framework/%.o: framework/%.c
	@mkdir -p $(@D)
	$(CC) $(CORE_CFLAGS) $(call vector_flags,$<) -c $< -o $@

$(B)/obj/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(CORE_CFLAGS) -Itests -c $< -o $@

# Plugins see the public headers alone.
$(B)/obj/plugins/%.o: plugins/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(call vector_flags,$<) -c $< -o $@

$(B)/obj/models/%.o: models/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(call vector_flags,$<) -c $< -o $@

$(LIB): $(call object,$(CORE_SOURCES))
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(BINARY): $(call object,$(CLI_SOURCES)) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $^ $(LDLIBS_ALL) -o $@

define plugin_rule
$(B)/lib/tessera/tessera-$(1)-$(2).so: $(call object,$(wildcard $(3)/$(2)/*.c))
	@mkdir -p $$(@D)
	$(CC) $(LDFLAGS_ALL) -shared $$^ -lm -o $$@
endef
$(foreach c,$(CODECS),$(eval $(call plugin_rule,codec,$(c),plugins)))
$(foreach m,$(MODELS),$(eval $(call plugin_rule,model,$(m),models)))

# Data is copied, so that the build tree is complete in itself.
$(DATA)/.stamp: $(wildcard roles/*.yaml configs/*.yaml)
	@mkdir -p $(DATA)/roles $(DATA)/configs
	@rm -f $(DATA)/roles/* $(DATA)/configs/*
	@cp $(wildcard roles/*.yaml) $(DATA)/roles/ 2>/dev/null || true
	@cp $(wildcard configs/*.yaml) $(DATA)/configs/ 2>/dev/null || true
	@touch $@

.PHONY: unit
unit: all $(UNIT_TESTS) ## build and run the unit tests
	@TESSERA_BUILD=$(B) tests/run $(UNIT_TESTS)

$(B)/tests/%: $(B)/obj/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) $^ -lcunit $(LDLIBS_ALL) -o $@

.PHONY: clean
clean: ## remove build/
	rm -rf build

.SECONDARY:
-include $(wildcard $(addprefix $(B)/obj/,framework/*/*.d plugins/*/*.d models/*/*.d tests/*/*.d))
