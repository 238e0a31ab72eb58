/* SPDX-License-Identifier: Apache-2.0
 *
 * libsndfile reads and writes through base/fs, so that files have one owner and a failed write is seen. */
#include "wave.h"

#include <base/alloc.h>
#include <base/fs.h>
#include <base/str.h>
#include <math.h>

#ifdef TSR_SNDFILE
#include <sndfile.h>
#include <stdio.h>
#include <string.h>

#define READ_FRAMES 4096
#define CHANNELS_MAX 64

bool wave_available(void) {
    return true;
}

/* ---- writing ---- */

struct wave_writer {
    SNDFILE *sound;
    struct fs_output output;
    char *path, *part;
    bool has_part; /* a file of that name is ours to remove */
    uint64_t at, length; /* where libsndfile writes next; bytes so far */
    tsr_status status; /* the first failed write */
    tsr_error error;
};

static sf_count_t writer_length(void *ctx) {
    return (sf_count_t)((struct wave_writer *)ctx)->length;
}

static sf_count_t writer_seek(sf_count_t offset, int whence, void *ctx) {
    struct wave_writer *writer = ctx;
    sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (sf_count_t)writer->at : (sf_count_t)writer->length;
    if (base + offset < 0) return -1;
    writer->at = (uint64_t)(base + offset);
    return base + offset;
}

static sf_count_t writer_read(void *bytes, sf_count_t size, void *ctx) {
    (void)bytes;
    (void)size;
    (void)ctx;
    return 0;
}

static sf_count_t writer_write(const void *bytes, sf_count_t size, void *ctx) {
    struct wave_writer *writer = ctx;
    if (writer->status != TSR_OK || size < 0) return 0;
    writer->status = fs_write_at(&writer->output, writer->at, bytes, (uint64_t)size, &writer->error);
    if (writer->status != TSR_OK) return 0;
    writer->at += (uint64_t)size;
    if (writer->at > writer->length) writer->length = writer->at;
    return size;
}

static sf_count_t writer_tell(void *ctx) {
    return (sf_count_t)((struct wave_writer *)ctx)->at;
}

static SF_VIRTUAL_IO writer_io(void) {
    return (SF_VIRTUAL_IO){writer_length, writer_seek, writer_read, writer_write, writer_tell};
}

static tsr_status choose_format(const char *path, enum wave_encoding encoding, int *format, tsr_error *err) {
    static const int encodings[] = {SF_FORMAT_PCM_16, SF_FORMAT_PCM_24, SF_FORMAT_FLOAT};
    bool flac = text_ends_with(path, ".flac");
    if (!flac && !text_ends_with(path, ".wav")) {
        return tsr_fail(err, TSR_E_CONFIG, "%s: expected a name that ends in .wav or .flac", path);
    }
    if (flac && encoding == WAVE_FLOAT) return tsr_fail(err, TSR_E_CONFIG, "%s: FLAC holds 16 or 24 bits, not float", path);
    *format = (flac ? SF_FORMAT_FLAC : SF_FORMAT_WAV) | encodings[encoding];
    return TSR_OK;
}

static tsr_status open_writer(struct wave_writer *writer, uint64_t sample_rate, int format, tsr_error *err) {
    SF_INFO info = {.samplerate = (int)sample_rate, .channels = 1, .format = format};
    SF_VIRTUAL_IO io = writer_io();
    struct str part = {0};
    str_add_format(&part, "%s.part", writer->path);
    if (part.failed) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", writer->path);
    writer->part = part.text;
    tsr_status st = fs_create(writer->part, &writer->output, err);
    if (st != TSR_OK) return st;
    writer->has_part = true;
    writer->sound = sf_open_virtual(&io, SFM_WRITE, &info, writer);
    if (writer->sound) return TSR_OK;
    if (writer->status != TSR_OK && err) *err = writer->error;
    return writer->status != TSR_OK ? writer->status : tsr_fail(err, TSR_E_IO, "%s: %.150s", writer->path, sf_strerror(NULL));
}

tsr_status wave_create(const char *path, uint64_t sample_rate, enum wave_encoding encoding, struct wave_writer **writer,
                       tsr_error *err) {
    int format = 0;
    tsr_status st = choose_format(path, encoding, &format, err);
    if (st != TSR_OK) return st;
    if (fs_kind_of(path) == FS_FOLDER) return tsr_fail(err, TSR_E_IO, "%s: is a folder", path);
    struct wave_writer *made = mem_alloc_zero(1, sizeof *made);
    if (!made) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    made->path = mem_dup_text(path);
    st = made->path ? open_writer(made, sample_rate, format, err) : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    if (st == TSR_OK) {
        *writer = made;
    } else {
        wave_abandon(made);
    }
    return st;
}

tsr_status wave_write(struct wave_writer *writer, const float *samples, uint64_t count, tsr_error *err) {
    sf_count_t wrote = sf_writef_float(writer->sound, samples, (sf_count_t)count);
    if (wrote == (sf_count_t)count && writer->status == TSR_OK) return TSR_OK;
    if (writer->status != TSR_OK && err) *err = writer->error;
    return writer->status != TSR_OK ? writer->status
                                    : tsr_fail(err, TSR_E_IO, "%s: %.150s", writer->path, sf_strerror(writer->sound));
}

static void destroy(struct wave_writer *writer) {
    mem_free(writer->path);
    mem_free(writer->part);
    mem_free(writer);
}

tsr_status wave_finish(struct wave_writer *writer, tsr_error *err) {
    int closed = sf_close(writer->sound);
    writer->sound = NULL;
    tsr_status st = writer->status;
    if (st != TSR_OK && err) *err = writer->error;
    if (st == TSR_OK && closed) st = tsr_fail(err, TSR_E_IO, "%s: %.150s", writer->path, sf_error_number(closed));
    if (st == TSR_OK) st = fs_sync(&writer->output, err);
    if (st == TSR_OK) st = fs_finish(&writer->output, err);
    if (st == TSR_OK) st = fs_rename(writer->part, writer->path, err);
    if (st != TSR_OK) {
        wave_abandon(writer);
        return st;
    }
    destroy(writer);
    return TSR_OK;
}

void wave_abandon(struct wave_writer *writer) {
    if (!writer) return;
    if (writer->sound) (void)sf_close(writer->sound);
    fs_abandon(&writer->output);
    if (writer->has_part) (void)fs_remove(writer->part, NULL);
    destroy(writer);
}

/* ---- reading ---- */

struct wave_reader {
    struct fs_file file;
    uint64_t at;
};

static sf_count_t reader_length(void *ctx) {
    return (sf_count_t)((struct wave_reader *)ctx)->file.size;
}

static sf_count_t reader_seek(sf_count_t offset, int whence, void *ctx) {
    struct wave_reader *reader = ctx;
    sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (sf_count_t)reader->at : (sf_count_t)reader->file.size;
    if (base + offset < 0) return -1;
    reader->at = (uint64_t)(base + offset);
    return base + offset;
}

static sf_count_t reader_read(void *bytes, sf_count_t size, void *ctx) {
    struct wave_reader *reader = ctx;
    uint64_t left = reader->at < reader->file.size ? reader->file.size - reader->at : 0;
    uint64_t take = size < 0 ? 0 : (uint64_t)size < left ? (uint64_t)size : left;
    if (!take || fs_read_at(&reader->file, reader->at, bytes, take, NULL) != TSR_OK) return 0;
    reader->at += take;
    return (sf_count_t)take;
}

static sf_count_t reader_write(const void *bytes, sf_count_t size, void *ctx) {
    (void)bytes;
    (void)size;
    (void)ctx;
    return 0;
}

static sf_count_t reader_tell(void *ctx) {
    return (sf_count_t)((struct wave_reader *)ctx)->at;
}

static tsr_status check_info(const char *path, const SF_INFO *info, uint64_t sample_rate, uint64_t seconds_max, tsr_error *err) {
    if (info->channels < 1 || info->channels > CHANNELS_MAX || info->frames < 1) {
        return tsr_fail(err, TSR_E_INPUT, "%s: %d channels of %lld samples: expected 1 to %d channels, and samples", path,
                        info->channels, (long long)info->frames, CHANNELS_MAX);
    }
    if ((uint64_t)info->samplerate != sample_rate) {
        return tsr_fail(err, TSR_E_INPUT, "%s: sample rate %d, expected %llu (ffmpeg -i IN -ar %llu -ac 1 OUT.wav converts)", path,
                        info->samplerate, (unsigned long long)sample_rate, (unsigned long long)sample_rate);
    }
    if ((uint64_t)info->frames <= seconds_max * sample_rate) return TSR_OK;
    return tsr_fail(err, TSR_E_LIMIT, "%s: longer than %llu seconds", path, (unsigned long long)seconds_max);
}

/* A file that says more than it holds ends early: what is there counts. */
static tsr_status read_all(SNDFILE *sound, int channels, float *samples, uint64_t expected, uint64_t *count, const char *path,
                           tsr_error *err) {
    float *block = mem_alloc_array(READ_FRAMES, (uint64_t)channels * sizeof *block);
    if (!block) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    for (*count = 0; *count < expected;) {
        uint64_t left = expected - *count;
        sf_count_t got = sf_readf_float(sound, block, left < READ_FRAMES ? (sf_count_t)left : READ_FRAMES);
        if (got <= 0) break;
        for (sf_count_t i = 0; i < got; i++) {
            float sum = 0;
            for (int c = 0; c < channels; c++) sum += block[i * channels + c];
            samples[(*count)++] = sum / (float)channels;
        }
    }
    mem_free(block);
    for (uint64_t i = 0; i < *count; i++) {
        if (!isfinite(samples[i])) return tsr_fail(err, TSR_E_INPUT, "%s: sample %llu is no number", path, (unsigned long long)i);
    }
    return *count ? TSR_OK : tsr_fail(err, TSR_E_INPUT, "%s: holds no samples", path);
}

tsr_status wave_read(const char *path, uint64_t sample_rate, uint64_t seconds_max, float **samples, uint64_t *count,
                     tsr_error *err) {
    struct wave_reader reader = {0};
    SF_INFO info = {0};
    SF_VIRTUAL_IO io = {reader_length, reader_seek, reader_read, reader_write, reader_tell};
    SNDFILE *sound = NULL;
    *samples = NULL;
    tsr_status st = fs_open(path, &reader.file, err);
    if (st == TSR_OK && !(sound = sf_open_virtual(&io, SFM_READ, &info, &reader))) {
        st = tsr_fail(err, TSR_E_INPUT, "%s: %.150s", path, sf_strerror(NULL));
    }
    if (st == TSR_OK) st = check_info(path, &info, sample_rate, seconds_max, err);
    if (st == TSR_OK && !(*samples = mem_alloc_array((uint64_t)info.frames, sizeof **samples))) {
        st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    }
    if (st == TSR_OK) st = read_all(sound, info.channels, *samples, (uint64_t)info.frames, count, path, err);
    if (sound) (void)sf_close(sound);
    fs_close(&reader.file);
    return st;
}

#else /* without the library */

bool wave_available(void) {
    return false;
}

static tsr_status refuse(const char *path, tsr_error *err) {
    return tsr_fail(err, TSR_E_UNSUPPORTED, "%s: this build has no sound files (libsndfile was missing); -o - writes samples",
                    path);
}

tsr_status wave_create(const char *path, uint64_t sample_rate, enum wave_encoding encoding, struct wave_writer **writer,
                       tsr_error *err) {
    (void)sample_rate;
    (void)encoding;
    (void)writer;
    return refuse(path, err);
}

tsr_status wave_write(struct wave_writer *writer, const float *samples, uint64_t count, tsr_error *err) {
    (void)writer;
    (void)samples;
    (void)count;
    return refuse("sound", err);
}

tsr_status wave_finish(struct wave_writer *writer, tsr_error *err) {
    return wave_write(writer, NULL, 0, err);
}

void wave_abandon(struct wave_writer *writer) {
    (void)writer;
}

tsr_status wave_read(const char *path, uint64_t sample_rate, uint64_t seconds_max, float **samples, uint64_t *count,
                     tsr_error *err) {
    (void)sample_rate;
    (void)seconds_max;
    (void)count;
    *samples = NULL;
    return refuse(path, err);
}
#endif
