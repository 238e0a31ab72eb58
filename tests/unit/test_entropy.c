/* SPDX-License-Identifier: Apache-2.0
 *
 * The entropy coder: what goes in comes out, at the cost the model promises; damage is found; every kernel writes and
 * reads the same bytes. */
#include "unit.h"

#include <base/alloc.h>
#include <base/rng.h>
#include <math.h>
#include <numeric/entropy.h>
#include <numeric/entropy_rans.h>
#include <string.h>

static void *host_alloc(const tsr_host *host, uint64_t size) {
    (void)host;
    return size ? mem_alloc_aligned(size) : NULL;
}

static void host_free(const tsr_host *host, void *memory) {
    (void)host;
    mem_free(memory);
}

static const tsr_host HOST = {.struct_size = sizeof(tsr_host), .alloc = host_alloc, .free = host_free};

/* A source of symbols: geometric-like counts over the alphabet, peak in the middle, some symbols unused. */
struct source {
    uint32_t alphabet, contexts, bits;
    uint32_t counts[TSR_ENTROPY_CONTEXTS_MAX * TSR_ENTROPY_ALPHABET_MAX];
    tsr_entropy_model *model;
};

static struct source SOURCE;

static uint32_t draw(struct rng *rng, uint32_t alphabet, uint32_t context) {
    uint64_t bits = rng_next(rng);
    uint32_t distance = (uint32_t)__builtin_ctzll(bits | UINT64_C(1) << 40) * (alphabet / 64 + 1);
    distance += (uint32_t)(bits >> 42) % (alphabet / 64 + 1);
    return (alphabet / 2 + context * 3 + (bits >> 63 ? distance : alphabet - distance % alphabet)) % alphabet;
}

static void make_values(uint64_t seed, uint64_t count, uint16_t *values, uint8_t *contexts) {
    struct rng rng = {seed};
    memset(SOURCE.counts, 0, sizeof SOURCE.counts);
    for (uint64_t i = 0; i < count; i++) {
        contexts[i] = (uint8_t)(i * 7 / 5 % SOURCE.contexts);
        values[i] = (uint16_t)draw(&rng, SOURCE.alphabet, contexts[i]);
        SOURCE.counts[contexts[i] * SOURCE.alphabet + values[i]]++;
    }
    tsr_entropy_shape shape = {sizeof shape, SOURCE.alphabet, SOURCE.contexts, SOURCE.bits, 0};
    tsr_status status = entropy_services()->model_create_contexts(&HOST, SOURCE.counts, &shape, &SOURCE.model, NULL);
    CU_ASSERT_EQUAL_FATAL(status, TSR_OK);
}

#define COUNT_MAX 20000
static uint16_t VALUES[COUNT_MAX], BACK[COUNT_MAX + 64];
static uint8_t CONTEXTS[COUNT_MAX], STREAM[4 * COUNT_MAX + 1024], OTHER[sizeof STREAM];

static const struct {
    uint32_t alphabet, contexts, bits;
} SHAPES[] = {{1, 1, 8},     {2, 1, 8},     {3, 1, 12},    {200, 1, 12}, {256, 1, 8},    {1000, 1, 12},
              {1024, 1, 14}, {4096, 1, 12}, {4096, 1, 14}, {100, 5, 11}, {1024, 64, 13}, {17, 3, 9}};
static const uint64_t COUNTS[] = {0, 1, 2, 31, 32, 33, 63, 64, 65, 1000, 4096, COUNT_MAX};

static void for_all_shapes(void (*check)(uint64_t count)) {
    for (unsigned s = 0; s < sizeof SHAPES / sizeof *SHAPES; s++) {
        for (unsigned c = 0; c < sizeof COUNTS / sizeof *COUNTS; c++) {
            SOURCE.alphabet = SHAPES[s].alphabet;
            SOURCE.contexts = SHAPES[s].contexts;
            SOURCE.bits = SHAPES[s].bits;
            make_values(s * 100 + c, COUNTS[c], VALUES, CONTEXTS);
            check(COUNTS[c]);
            entropy_services()->model_destroy(&HOST, SOURCE.model);
        }
    }
}

static uint64_t encode_at(enum rans_level level, const tsr_entropy_split *split, uint64_t count, uint8_t *stream) {
    uint64_t written = 0;
    memset(stream, 0xee, sizeof STREAM);
    uint64_t bound = entropy_services()->split_bound(split, count);
    CU_ASSERT_EQUAL_FATAL(rans_encode(split, level, VALUES, count, stream, bound, &written, NULL), TSR_OK);
    for (uint64_t i = bound; i < sizeof STREAM; i++) {
        if (stream[i] != 0xee) CU_FAIL_FATAL("encode wrote behind its bound");
    }
    return written;
}

static void decode_at(enum rans_level level, const tsr_entropy_split *split, uint64_t count, const uint8_t *stream,
                      uint64_t size) {
    /* In a block of exactly `size` bytes, so that sanitizers see a read behind it. */
    uint8_t *exact = mem_alloc(size);
    memcpy(exact, stream, size);
    memset(BACK, 0xcc, sizeof BACK);
    CU_ASSERT_EQUAL(rans_decode(split, level, exact, size, BACK, count, NULL), TSR_OK);
    CU_ASSERT_EQUAL(memcmp(BACK, VALUES, count * 2), 0);
    CU_ASSERT_EQUAL(BACK[count], 0xcccc);
    mem_free(exact);
}

static void check_levels(uint64_t count) {
    tsr_entropy_split split = {sizeof split, SOURCE.model, SOURCE.contexts > 1 ? CONTEXTS : NULL, 0, 16};
    uint64_t size = encode_at(RANS_SCALAR, &split, count, STREAM);
    for (enum rans_level level = RANS_SCALAR; level < RANS_LEVELS; level++) {
        CU_ASSERT_EQUAL(encode_at(level, &split, count, OTHER), size);
        CU_ASSERT_EQUAL(memcmp(STREAM, OTHER, size), 0);
        decode_at(level, &split, count, STREAM, size);
    }
}

static void every_level_writes_and_reads_the_same_bytes(void) {
    for_all_shapes(check_levels);
}

static void check_split(uint64_t count) {
    uint32_t symbol_bits = 0;
    while (SOURCE.alphabet > 1u << symbol_bits) symbol_bits++;
    struct rng rng = {count};
    for (uint32_t low = 0; low + symbol_bits <= 16; low += low < 9 ? 1 : 3) {
        uint32_t mask = ((1u << symbol_bits) - 1) << low;
        uint16_t symbols[33];
        uint64_t kept = count < 33 ? count : 33;
        memcpy(symbols, VALUES, kept * 2);
        for (uint64_t i = 0; i < count; i++) {
            VALUES[i] = (uint16_t)((rng_next(&rng) & ~mask) | (uint32_t)VALUES[i] << low);
        }
        tsr_entropy_split split = {sizeof split, SOURCE.model, SOURCE.contexts > 1 ? CONTEXTS : NULL, low, symbol_bits};
        uint64_t size = encode_at(RANS_SCALAR, &split, count, STREAM);
        for (enum rans_level level = RANS_SCALAR; level < RANS_LEVELS; level++) {
            CU_ASSERT_EQUAL(encode_at(level, &split, count, OTHER), size);
            CU_ASSERT_EQUAL(memcmp(STREAM, OTHER, size), 0);
            decode_at(level, &split, count, STREAM, size);
        }
        for (uint64_t i = 0; i < count; i++) VALUES[i] = (uint16_t)((VALUES[i] & mask) >> low);
        CU_ASSERT_EQUAL(memcmp(symbols, VALUES, kept * 2), 0);
    }
}

static void raw_bits_come_back_around_the_symbol(void) {
    for_all_shapes(check_split);
}

/* In pieces of `piece` symbols; stops at the first that is refused. */
static tsr_status decode_pieces(enum rans_level level, const uint8_t *stream, uint64_t size, uint64_t count,
                                uint64_t piece) {
    tsr_entropy_stream state;
    uint8_t *exact = mem_alloc(size);
    memcpy(exact, stream, size);
    memset(BACK, 0xcc, sizeof BACK);
    tsr_status status = rans_stream_begin(&state, SOURCE.model, exact, size, count, NULL);
    for (uint64_t at = 0; at < count && status == TSR_OK; at += piece) {
        uint64_t now = count - at < piece ? count - at : piece;
        status = rans_stream_decode(&state, level, CONTEXTS + at, BACK + at, now, NULL);
    }
    if (status == TSR_OK) status = rans_stream_end(&state, NULL);
    CU_ASSERT_EQUAL(BACK[count], 0xcccc);
    mem_free(exact);
    return status;
}

static void check_pieces(uint64_t count) {
    static const uint64_t PIECES[] = {1, 31, 32, 33, 96, 640, COUNT_MAX};
    if (SOURCE.contexts == 1) memset(CONTEXTS, 0, sizeof CONTEXTS);
    tsr_entropy_split split = {sizeof split, SOURCE.model, CONTEXTS, 0, 16};
    uint64_t size = encode_at(RANS_SCALAR, &split, count, STREAM);
    for (unsigned p = count > 5000 ? 1 : 0; p < sizeof PIECES / sizeof *PIECES; p++) {
        for (enum rans_level level = RANS_SCALAR; level < RANS_LEVELS; level++) {
            CU_ASSERT_EQUAL(decode_pieces(level, STREAM, size, count, PIECES[p]), TSR_OK);
            CU_ASSERT_EQUAL(memcmp(BACK, VALUES, count * 2), 0);
        }
        if (size > 0)
            CU_ASSERT_EQUAL(decode_pieces(RANS_LEVELS - 1, STREAM, size - 1, count, PIECES[p]), TSR_E_CORRUPT);
        STREAM[size / 2] ^= 1;
        if (size > 0) CU_ASSERT_EQUAL(decode_pieces(RANS_LEVELS - 1, STREAM, size, count, PIECES[p]), TSR_E_CORRUPT);
        STREAM[size / 2] ^= 1;
    }
}

static void a_stream_decodes_in_pieces(void) {
    for_all_shapes(check_pieces);
}

static void check_rate(uint64_t count) {
    tsr_entropy_split split = {sizeof split, SOURCE.model, SOURCE.contexts > 1 ? CONTEXTS : NULL, 0, 16};
    double cost = entropy_services()->model_cost(SOURCE.model, SOURCE.counts);
    double size = 8.0 * (double)encode_at(RANS_SCALAR, &split, count, STREAM);
    double ideal = 0;
    for (uint32_t c = 0; c < SOURCE.contexts; c++) {
        const uint32_t *counts = SOURCE.counts + c * SOURCE.alphabet;
        double total = 0;
        for (uint32_t s = 0; s < SOURCE.alphabet; s++) total += counts[s];
        for (uint32_t s = 0; s < SOURCE.alphabet; s++) {
            if (counts[s]) ideal += counts[s] * log2(total / counts[s]);
        }
    }
    CU_ASSERT(size <= cost + 32 * 32 + 16 && size >= cost - 16);
    CU_ASSERT(cost >= ideal - 0.001 * ideal - 1);
    /* Probabilities of 12 bits or more lose little unless the symbols are nearly as many as the slots. */
    if (SOURCE.alphabet * 4 <= 1u << SOURCE.bits) CU_ASSERT(cost <= ideal * 1.02 + 1);
}

static void size_is_the_models_cost_and_near_the_entropy(void) {
    for_all_shapes(check_rate);
}

static void check_model_bytes(uint64_t count) {
    const tsr_entropy *entropy = entropy_services();
    (void)count;
    uint64_t bound = SOURCE.contexts * entropy->model_bound(SOURCE.alphabet), written = 0, consumed = 0;
    uint8_t *bytes = mem_alloc(bound + 5);
    tsr_entropy_model *back = NULL;
    CU_ASSERT_EQUAL_FATAL(entropy->model_write(SOURCE.model, bytes, bound, &written, NULL), TSR_OK);
    CU_ASSERT_EQUAL(entropy->model_write(SOURCE.model, OTHER, written - 1, &consumed, NULL), TSR_E_SPACE);
    CU_ASSERT_EQUAL_FATAL(entropy->model_read(&HOST, bytes, written + 5, &consumed, &back, NULL), TSR_OK);
    CU_ASSERT_EQUAL(consumed, written);
    tsr_entropy_shape shape;
    entropy->model_shape(back, &shape);
    CU_ASSERT(shape.alphabet == SOURCE.alphabet && shape.contexts == SOURCE.contexts &&
              shape.probability_bits == SOURCE.bits);
    uint64_t symbols = ((uint64_t)back->contexts << back->stride_bits) * sizeof *back->symbols;
    CU_ASSERT_EQUAL(memcmp(back->symbols, SOURCE.model->symbols, symbols), 0);
    entropy->model_destroy(&HOST, back);
    for (uint64_t size = 0; size < written; size += 1 + written / 50) {
        CU_ASSERT_EQUAL(entropy->model_read(&HOST, bytes, size, &consumed, &back, NULL), TSR_E_CORRUPT);
        CU_ASSERT_PTR_NULL(back);
    }
    mem_free(bytes);
}

static void a_model_reads_back_and_its_truncations_do_not(void) {
    for_all_shapes(check_model_bytes);
}

static void damaged_streams_are_refused_or_end_within_bounds(void) {
    struct rng rng = {7};
    SOURCE.alphabet = 300;
    SOURCE.contexts = 2;
    SOURCE.bits = 12;
    make_values(3, 3000, VALUES, CONTEXTS);
    tsr_entropy_split split = {sizeof split, SOURCE.model, CONTEXTS, 0, 16};
    uint64_t size = encode_at(RANS_SCALAR, &split, 3000, STREAM);
    uint8_t *bytes = mem_alloc(size);
    unsigned missed = 0;
    for (unsigned i = 0; i < 3000; i++) {
        enum rans_level level = (enum rans_level)(i % RANS_LEVELS);
        memcpy(bytes, STREAM, size);
        bytes[rng_next(&rng) % size] ^= (uint8_t)(1u << rng_next(&rng) % 8);
        memset(BACK, 0xcc, sizeof BACK);
        missed += rans_decode(&split, level, bytes, size, BACK, 3000, NULL) != TSR_E_CORRUPT;
        CU_ASSERT_EQUAL(BACK[3000], 0xcccc);
    }
    CU_ASSERT(missed < 30); /* flips hide in the last words only by the luck of every state ending right */
    for (uint64_t cut = 0; cut < size; cut += 1 + cut / 64) {
        uint8_t *shorter = mem_alloc(cut);
        memcpy(shorter, STREAM, cut);
        for (enum rans_level level = RANS_SCALAR; level < RANS_LEVELS; level++) {
            CU_ASSERT_EQUAL(rans_decode(&split, level, shorter, cut, BACK, 3000, NULL), TSR_E_CORRUPT);
        }
        mem_free(shorter);
    }
    mem_free(bytes);
    entropy_services()->model_destroy(&HOST, SOURCE.model);
}

/* Bits that fill up a last byte would let two streams mean the same. */
static void bits_that_mean_nothing_must_be_zero(void) {
    enum { VALUE_COUNT = 13 };
    const tsr_entropy *entropy = entropy_services();
    uint64_t written = 0, consumed = 0;
    unsigned checked = 0;
    SOURCE.alphabet = 256;
    SOURCE.contexts = 1;
    SOURCE.bits = 12;
    make_values(5, VALUE_COUNT, VALUES, CONTEXTS);
    for (uint32_t symbol_bits = 8; symbol_bits < 16; symbol_bits++) {
        tsr_entropy_split split = {sizeof split, SOURCE.model, NULL, 0, symbol_bits};
        uint64_t used = VALUE_COUNT * (16 - symbol_bits) % 8, last = VALUE_COUNT * (16 - symbol_bits) / 8;
        uint64_t size = encode_at(RANS_SCALAR, &split, VALUE_COUNT, STREAM);
        CU_ASSERT_EQUAL(rans_decode(&split, RANS_SCALAR, STREAM, size, BACK, VALUE_COUNT, NULL), TSR_OK);
        for (uint64_t bit = used; used && bit < 8; bit++, checked++) {
            STREAM[last] ^= (uint8_t)(1u << bit);
            CU_ASSERT_EQUAL(rans_decode(&split, RANS_SCALAR, STREAM, size, BACK, VALUE_COUNT, NULL), TSR_E_CORRUPT);
            STREAM[last] ^= (uint8_t)(1u << bit);
        }
    }
    CU_ASSERT(checked > 10);
    CU_ASSERT_EQUAL(entropy->model_write(SOURCE.model, STREAM, sizeof STREAM, &written, NULL), TSR_OK);
    tsr_entropy_model *again = NULL;
    unsigned refused = 0;
    for (unsigned bit = 0; bit < 8; bit++) {
        STREAM[written - 1] ^= (uint8_t)(1u << bit);
        tsr_status st = entropy->model_read(&HOST, STREAM, written, &consumed, &again, NULL);
        refused += st == TSR_E_CORRUPT;
        if (st == TSR_OK) entropy->model_destroy(&HOST, again);
        STREAM[written - 1] ^= (uint8_t)(1u << bit);
    }
    CU_ASSERT_EQUAL(refused, 8); /* a bit that is used spoils the sum */
    entropy->model_destroy(&HOST, SOURCE.model);
}

static void misuse_is_refused(void) {
    const tsr_entropy *entropy = entropy_services();
    uint32_t counts[300] = {5, 0, 9};
    tsr_entropy_model *model = NULL;
    uint16_t symbols[3] = {0, 2, 1}, large = 3;
    uint64_t written = 0;
    CU_ASSERT_EQUAL_FATAL(entropy->model_create(&HOST, counts, 3, 12, &model, NULL), TSR_OK);
    uint64_t bound = entropy->encode_bound(3);
    CU_ASSERT_EQUAL(entropy->encode(model, symbols, 2, STREAM, bound, &written, NULL), TSR_OK);
    CU_ASSERT_EQUAL(entropy->encode(model, symbols, 3, STREAM, bound, &written, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(entropy->encode(model, &large, 1, STREAM, bound, &written, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(entropy->encode(model, symbols, 2, STREAM, 9, &written, NULL), TSR_E_SPACE);
    CU_ASSERT(isinf(entropy->model_cost(model, (const uint32_t[]){1, 1, 1})));
    uint8_t context = 1;
    tsr_entropy_split split = {sizeof split, model, &context, 0, 16};
    CU_ASSERT_EQUAL(entropy->split_encode(&split, symbols, 1, STREAM, bound, &written, NULL), TSR_E_ARGUMENT);
    split = (tsr_entropy_split){sizeof split, model, NULL, 8, 9};
    CU_ASSERT_EQUAL(entropy->split_encode(&split, symbols, 1, STREAM, bound, &written, NULL), TSR_E_ARGUMENT);
    split = (tsr_entropy_split){sizeof split, model, NULL, 0, 1};
    CU_ASSERT_EQUAL(entropy->split_decode(&split, STREAM, 6, BACK, 1, NULL), TSR_E_ARGUMENT);
    entropy->model_destroy(&HOST, model);
    for (int i = 0; i < 300; i++) counts[i] = 1;
    CU_ASSERT_EQUAL(entropy->model_create(&HOST, counts, 300, 8, &model, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(entropy->model_create(&HOST, counts, 300, 15, &model, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_EQUAL(entropy->model_create(&HOST, counts, 5000, 12, &model, NULL), TSR_E_ARGUMENT);
    CU_ASSERT_PTR_NULL(model);
}

static void extreme_counts_make_a_model(void) {
    static uint32_t counts[4096];
    tsr_entropy_model *model = NULL;
    for (uint32_t i = 0; i < 4096; i++) counts[i] = i % 2 ? UINT32_MAX : 1;
    CU_ASSERT_EQUAL_FATAL(entropy_services()->model_create(&HOST, counts, 4096, 12, &model, NULL), TSR_OK);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 4096; i++) sum += model->symbols[i].freq;
    CU_ASSERT_EQUAL(sum, 4096);
    entropy_services()->model_destroy(&HOST, model);
    counts[0] = UINT32_MAX;
    for (uint32_t i = 1; i < 4096; i++) counts[i] = 1;
    CU_ASSERT_EQUAL_FATAL(entropy_services()->model_create(&HOST, counts, 4096, 14, &model, NULL), TSR_OK);
    CU_ASSERT_EQUAL(model->symbols[0].freq, (1u << 14) - 4095);
    entropy_services()->model_destroy(&HOST, model);
}

static void bits_pack_at_every_width(void) {
    struct rng rng = {1};
    for (uint32_t width = 0; width <= 16; width++) {
        for (uint64_t count = 0; count < 70; count++) {
            uint64_t size = (count * width + 7) / 8;
            for (uint64_t i = 0; i < count; i++) VALUES[i] = (uint16_t)rng_next(&rng);
            memset(STREAM, 0xee, 200);
            entropy_services()->bits_pack(VALUES, count, width, STREAM);
            CU_ASSERT_EQUAL(STREAM[size], 0xee);
            entropy_services()->bits_unpack(STREAM, count, width, BACK);
            for (uint64_t i = 0; i < count; i++) CU_ASSERT_EQUAL(BACK[i], VALUES[i] & ((1u << width) - 1));
        }
    }
}

static void symbols_are_counted(void) {
    static uint32_t counts[65536];
    for (uint32_t bits = 0; bits <= 16; bits += 2) {
        tsr_entropy_split split = {sizeof split, NULL, NULL, bits < 16, bits < 16 ? bits : 16};
        memset(counts, 0, sizeof counts);
        for (uint64_t i = 0; i < 5003; i++) VALUES[i] = (uint16_t)(i * 40503);
        entropy_services()->split_count(&split, VALUES, 5003, counts);
        for (uint64_t i = 0; i < 5003; i++)
            counts[(uint32_t)VALUES[i] >> split.low_bits & ((1u << split.symbol_bits) - 1)]--;
        for (uint32_t s = 0; s < 65536; s++) CU_ASSERT_EQUAL(counts[s], 0);
    }
}

static const struct unit_test TESTS[] = {
    {"every_level_writes_and_reads_the_same_bytes", every_level_writes_and_reads_the_same_bytes},
    {"raw_bits_come_back_around_the_symbol", raw_bits_come_back_around_the_symbol},
    {"size_is_the_models_cost_and_near_the_entropy", size_is_the_models_cost_and_near_the_entropy},
    {"a_model_reads_back_and_its_truncations_do_not", a_model_reads_back_and_its_truncations_do_not},
    {"bits_that_mean_nothing_must_be_zero", bits_that_mean_nothing_must_be_zero},
    {"damaged_streams_are_refused_or_end_within_bounds", damaged_streams_are_refused_or_end_within_bounds},
    {"misuse_is_refused", misuse_is_refused},
    {"a_stream_decodes_in_pieces", a_stream_decodes_in_pieces},
    {"extreme_counts_make_a_model", extreme_counts_make_a_model},
    {"bits_pack_at_every_width", bits_pack_at_every_width},
    {"symbols_are_counted", symbols_are_counted},
};
UNIT_MAIN(TESTS)
