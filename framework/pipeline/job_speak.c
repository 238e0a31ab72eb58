/* SPDX-License-Identifier: Apache-2.0
 *
 * run, for models that speak: opens model and sound file, makes the prompt, and turns codes into samples piece by piece. Codes
 * are kept (64 bytes a frame), samples never: memory does not grow with the sound. */
#include "job_speak.h"

#include "speak_rules.h"

#include <base/alloc.h>
#include <base/checked.h>
#include <base/error.h>
#include <model/codes_file.h>
#include <reading/members.h>
#include <reading/meter.h>
#include <time.h>

#define PIECE_FRAMES 16 /* decoded at once */
#define LIVE_FRAMES 4   /* the same while somebody listens */
#define REFERENCE_SECONDS_MAX 120

struct speaking {
    const struct job_speak_options *options;
    const struct env *env;
    const struct job_speak_io *io;
    struct open_model model;
    const tsr_speech *table;
    tsr_speech_info info;
    struct tokenizer *tokenizer;
    struct wave_writer *wave;
    struct speech_prompt prompt;
    float *vector;
    uint32_t *reference; /* codes */
    uint64_t reference_frames;
    tsr_speech_rules rules;
    uint64_t frames_max;
    struct speech speech;
    void *decoder;
    float *piece;    /* [PIECE_FRAMES * samples_per_frame] */
    uint64_t pushed; /* of speech.frames */
    uint64_t skip;   /* samples of the reference that are still to be dropped */
    uint64_t samples;
    double code_seconds, sound_seconds;
    tsr_error *err;
};

static double now_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double share(double a, double b) {
    return b > 0 ? a / b : 0;
}

/* ---- samples ---- */

static tsr_status emit(struct speaking *s, const float *samples, uint64_t count) {
    uint64_t dropped = min_u64(s->skip, count);
    s->skip -= dropped;
    samples += dropped;
    count -= dropped;
    s->samples += count;
    if (!count) return TSR_OK;
    tsr_status st = s->wave ? wave_write(s->wave, samples, count, s->err) : TSR_OK;
    return st == TSR_OK && s->io->samples ? s->io->samples(s->io->ctx, samples, count, s->err) : st;
}

static tsr_status decode(struct speaking *s, const uint32_t *codes, uint64_t frames) {
    tsr_status st = TSR_OK;
    while (frames && st == TSR_OK) {
        uint64_t count = min_u64(frames, PIECE_FRAMES);
        double begin = now_seconds();
        st = meter_check_cancel(s->env, s->err);
        if (st == TSR_OK) st = s->table->decoder_push(s->model.self, s->decoder, codes, count, s->piece, s->err);
        s->sound_seconds += now_seconds() - begin;
        if (st == TSR_OK) st = emit(s, s->piece, count * s->info.samples_per_frame);
        codes += count * s->info.groups;
        frames -= count;
    }
    return st;
}

/* What was generated and not yet decoded. */
static tsr_status decode_pending(struct speaking *s) {
    tsr_status st = decode(s, s->speech.codes + s->pushed * s->info.groups, s->speech.frames - s->pushed);
    s->pushed = s->speech.frames;
    return st;
}

static tsr_status open_decoder(struct speaking *s) {
    uint64_t chunk = s->options->one_piece ? 0 : s->info.chunk_frames;
    s->piece = mem_alloc_array(PIECE_FRAMES, s->info.samples_per_frame * sizeof *s->piece);
    if (!s->piece) return tsr_fail(s->err, TSR_E_NOMEM, "out of memory for samples");
    return s->table->decoder_create(s->model.self, chunk, s->info.context_frames, NULL, &s->decoder, s->err);
}

/* ---- codes ---- */

static void tell_progress(const struct speaking *s) {
    double length = (double)s->speech.frames * (double)s->info.samples_per_frame / (double)s->info.sample_rate;
    char subject[64];
    struct progress progress = {.stage = "speak", .subject = subject, .done_items = s->speech.frames, .total_items = s->frames_max};
    if (!s->env->progress) return;
    (void)snprintf(subject, sizeof subject, "%.1f s of speech, real-time factor %.2f", length,
                   share(s->code_seconds + s->sound_seconds, length));
    s->env->progress(s->env->ctx, &progress);
}

static tsr_status next_frame(struct speaking *s, void *utterance, uint32_t *codes) {
    double begin = now_seconds();
    tsr_status st = meter_check_cancel(s->env, s->err);
    if (st == TSR_OK) st = s->table->utterance_next(s->model.self, utterance, NULL, codes, &s->speech.end, s->err);
    s->code_seconds += now_seconds() - begin;
    if (st != TSR_OK || s->speech.end != TSR_SPEECH_FRAME) return st;
    st = speech_add_frame(&s->speech, codes, s->info.groups, s->err);
    /* A listener hears at once; a file waits, since where a reference is cut depends on the whole length. */
    if (st == TSR_OK && s->io->samples && s->speech.frames - s->pushed == LIVE_FRAMES) st = decode_pending(s);
    tell_progress(s);
    return st;
}

static tsr_status generate(struct speaking *s) {
    uint32_t *codes = mem_alloc_array(s->info.groups, sizeof *codes);
    void *utterance = NULL;
    double begin = now_seconds();
    tsr_status st = codes ? TSR_OK : tsr_fail(s->err, TSR_E_NOMEM, "out of memory for a frame");
    if (st == TSR_OK) {
        st = s->table->utterance_create(s->model.self, &s->prompt.prompt, s->frames_max, &s->rules, NULL, &utterance, s->err);
    }
    s->code_seconds += now_seconds() - begin;
    if (st == TSR_OK && s->io->samples && s->reference) {
        s->skip = s->reference_frames * s->info.samples_per_frame;
        st = decode(s, s->reference, s->reference_frames);
    }
    while (st == TSR_OK && s->speech.end == TSR_SPEECH_FRAME) st = next_frame(s, utterance, codes);
    if (utterance) s->table->utterance_destroy(s->model.self, utterance);
    mem_free(codes);
    if (st == TSR_OK && s->speech.end == TSR_SPEECH_LENGTH) {
        env_log(s->env, TSR_LOG_WARNING, "speech: stopped after %llu frames without an end", (unsigned long long)s->speech.frames);
    }
    return st;
}

/* Everything that is not decoded yet; a file begins behind the reference. */
static tsr_status finish_sound(struct speaking *s) {
    if (!s->io->samples && s->reference) {
        uint64_t total = s->reference_frames + s->speech.frames;
        s->skip = speech_cut(s->reference_frames, total, total * s->info.samples_per_frame);
        tsr_status st = decode(s, s->reference, s->reference_frames);
        if (st != TSR_OK) return st;
    }
    tsr_status st = decode_pending(s);
    if (st == TSR_OK && s->wave) {
        st = wave_finish(s->wave, s->err);
        s->wave = NULL;
    }
    return st;
}

/* ---- the request ---- */

static tsr_status read_reference(struct speaking *s, float *samples, uint64_t count) {
    tsr_status st = TSR_OK;
    s->vector = mem_alloc_array(s->info.vector_width, sizeof *s->vector);
    if (!s->vector) return tsr_fail(s->err, TSR_E_NOMEM, "out of memory for reference speech");
    st = s->table->encode_speaker(s->model.self, samples, count, NULL, s->vector, s->err);
    if (st != TSR_OK || !s->options->reference_text) return st;
    s->reference_frames = ceil_div(count, s->info.samples_per_frame);
    s->reference = mem_alloc_array(s->reference_frames, s->info.groups * sizeof *s->reference);
    if (!s->reference) return tsr_fail(s->err, TSR_E_NOMEM, "out of memory for reference speech");
    return s->table->encode_speech(s->model.self, samples, count, NULL, s->reference, s->err);
}

static tsr_status open_reference(struct speaking *s) {
    float *samples = NULL;
    uint64_t count = 0;
    if (!s->options->reference_audio) return TSR_OK;
    if (!s->info.has_speaker_encoder || !s->info.has_speech_encoder) {
        return tsr_fail(s->err, TSR_E_UNSUPPORTED, "%s: has no encoders for reference speech (a Base model has them)",
                        s->options->model);
    }
    tsr_status st = wave_read(s->options->reference_audio, s->info.sample_rate, REFERENCE_SECONDS_MAX, &samples, &count, s->err);
    if (st == TSR_OK) st = read_reference(s, samples, count);
    mem_free(samples);
    return st;
}

static bool streams(const struct speaking *s) {
    return s->options->layout == SPEAK_USUAL ? s->info.streams_text != 0 : s->options->layout == SPEAK_STREAMING;
}

static tsr_status make_prompt(struct speaking *s) {
    const struct job_speak_options *options = s->options;
    const struct speech_request request = {.text = options->text,
                                           .instruct = options->instruct,
                                           .reference_text = options->reference_text,
                                           .speaker = options->speaker,
                                           .language = options->language,
                                           .speaker_vector = s->vector,
                                           .reference_codes = s->reference,
                                           .reference_frames = s->reference_frames,
                                           .streaming = streams(s)};
    if (options->instruct && !s->info.takes_instruct) {
        env_log(s->env, TSR_LOG_WARNING, "%s: this model takes no instruction, it is left out", options->model);
    }
    tsr_status st = tokenizer_open(s->model.root, &s->tokenizer, s->err);
    if (st == TSR_OK) st = speak_rules_read(s->model.root, &options->rules, &s->rules, &s->frames_max, s->err);
    return st == TSR_OK ? speech_prompt_make(&s->model, s->tokenizer, &request, &s->prompt, s->err) : st;
}

static tsr_status take_codes(struct speaking *s) {
    if (s->options->codes_in) {
        s->speech.end = TSR_SPEECH_END;
        return codes_file_read(s->options->codes_in, &s->info, &s->speech.codes, &s->speech.frames, s->err);
    }
    tsr_status st = open_reference(s);
    if (st == TSR_OK) st = make_prompt(s);
    return st == TSR_OK ? generate(s) : st;
}

/* ---- the whole ---- */

static tsr_status check_options(const struct job_speak_options *options, tsr_error *err) {
    if (!options->text == !options->codes_in) return tsr_fail(err, TSR_E_CONFIG, "run speaks --text or --codes-in, one of the two");
    if (options->reference_text && !options->reference_audio) {
        return tsr_fail(err, TSR_E_CONFIG, "--ref-text: needs --ref-audio, the speech that it writes down");
    }
    if (options->reference_audio && options->codes_in) return tsr_fail(err, TSR_E_CONFIG, "--ref-audio: goes with --text");
    return TSR_OK;
}

static tsr_status open_speaker(struct speaking *s, const struct registry *registry, const struct job_paths *paths) {
    const struct model_paths model_paths = {.family_folders = paths->family_folders,
                                            .family_folder_count = paths->family_folder_count,
                                            .decoded_bytes = s->env->memory_bytes};
    tsr_status st = model_open(s->options->model, registry, &model_paths, s->env, &s->model, s->err);
    if (st != TSR_OK) return st;
    s->table = speech_table(&s->model);
    if (!s->table) return tsr_fail(s->err, TSR_E_UNSUPPORTED, "%s: this model does not speak; --prompt is for it", s->options->model);
    s->info = speech_facts(&s->model);
    if (s->options->output) {
        st = wave_create(s->options->output, s->info.sample_rate, s->options->encoding, &s->wave, s->err);
    }
    return st == TSR_OK ? open_decoder(s) : st;
}

static tsr_status make_result(struct speaking *s, json_t **result) {
    double length = (double)s->samples / (double)s->info.sample_rate;
    struct members whole = members_object();
    members_text(&whole, "model", s->options->model);
    members_text(&whole, "output", s->options->output);
    members_count(&whole, "frames", s->speech.frames);
    members_count(&whole, "samples", s->samples);
    members_count(&whole, "sample_rate", s->info.sample_rate);
    members_text(&whole, "end", s->speech.end == TSR_SPEECH_LENGTH ? "length" : "end");
    members_real(&whole, "frames_per_second", share((double)s->speech.frames, s->code_seconds));
    members_real(&whole, "vocoder_real_time_factor", share(s->sound_seconds, length));
    members_real(&whole, "real_time_factor", share(s->code_seconds + s->sound_seconds, length));
    members_count(&whole, "peak_decoded_bytes", model_weights_peak(s->model.weights));
    env_log(s->env, TSR_LOG_INFO, "%.2f s of speech: %.2f frames/s, vocoder at %.2f of real time, real-time factor %.2f", length,
            share((double)s->speech.frames, s->code_seconds), share(s->sound_seconds, length),
            share(s->code_seconds + s->sound_seconds, length));
    return members_finish(&whole, result, s->err);
}

static void close_all(struct speaking *s) {
    wave_abandon(s->wave);
    if (s->decoder) s->table->decoder_destroy(s->model.self, s->decoder);
    speech_prompt_clear(&s->prompt);
    speech_clear(&s->speech);
    tokenizer_close(s->tokenizer);
    mem_free(s->piece);
    mem_free(s->vector);
    mem_free(s->reference);
    model_close(&s->model);
}

tsr_status job_speak(const struct job_speak_options *options, const struct registry *registry, const struct job_paths *paths,
                     const struct env *env, const struct job_speak_io *io, json_t **result, tsr_error *err) {
    struct speaking s = {.options = options, .env = env, .io = io, .err = err};
    tsr_status st = check_options(options, err);
    if (st == TSR_OK) st = open_speaker(&s, registry, paths);
    if (st == TSR_OK) st = take_codes(&s);
    if (st == TSR_OK && options->codes_out) {
        st = codes_file_write(options->codes_out, &s.info, s.speech.codes, s.speech.frames, err);
    }
    if (st == TSR_OK) st = finish_sound(&s);
    if (st == TSR_OK) st = make_result(&s, result);
    close_all(&s);
    return st;
}
