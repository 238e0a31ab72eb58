/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading, writing and durable replacement of files. Interrupted calls are repeated, short reads and writes are
 * continued; fault_hit stands in front of every operation that the fault tests make fail. */
#define _GNU_SOURCE /* copy_file_range, renameat2 */
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "alloc.h"
#include "checked.h"
#include "fault.h"

#define IO_PIECE ((uint64_t)1 << 30)
#define COPY_PIECE ((uint64_t)1 << 20)

static tsr_status fail_io(tsr_error *err, const char *path, const char *action) {
    return tsr_fail(err, TSR_E_IO, "%s: cannot %s: %s", path, action, strerror(errno));
}

static bool fault_errno(enum fault_kind kind, int code) {
    if (!fault_hit(kind)) return false;
    errno = code;
    return true;
}

/* ---- reading ---- */

tsr_status fs_open(const char *path, struct fs_file *file, tsr_error *err) {
    struct stat facts;
    /* O_NONBLOCK: to open a FIFO that nobody writes to would wait for ever. Regular files do not heed it. */
    int fd = fault_errno(FAULT_OPEN, EIO) ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        bool absent = errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
        return tsr_fail(err, absent ? TSR_E_INPUT : TSR_E_IO, "%s: cannot open: %s", path, strerror(errno));
    }
    if (fstat(fd, &facts)) {
        tsr_status st = fail_io(err, path, "look at");
        close(fd);
        return st;
    }
    if (!S_ISREG(facts.st_mode)) {
        close(fd);
        return tsr_fail(err, TSR_E_INPUT, "%s: is %s, expected a regular file", path,
                        S_ISDIR(facts.st_mode) ? "a folder" : "not a file");
    }
    char *copy = mem_dup_text(path);
    if (!copy) {
        close(fd);
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    }
    *file = (struct fs_file){.path = copy,
                             .fd = fd,
                             .size = (uint64_t)facts.st_size,
                             .device = (uint64_t)facts.st_dev,
                             .inode = (uint64_t)facts.st_ino,
                             .mtime_seconds = facts.st_mtim.tv_sec,
                             .mtime_nanoseconds = facts.st_mtim.tv_nsec};
    return TSR_OK;
}

void fs_close(struct fs_file *file) {
    if (!file->path) return;
    if (file->map && file->size) munmap((void *)(uintptr_t)file->map, (size_t)file->size);
    close(file->fd);
    mem_free(file->path);
    *file = (struct fs_file){0};
}

tsr_status fs_read_at(const struct fs_file *file, uint64_t offset, void *dst, uint64_t size, tsr_error *err) {
    uint8_t *to = dst;
    while (size) {
        ssize_t got = fault_errno(FAULT_READ, EIO) ? -1 : pread(file->fd, to, min_u64(size, IO_PIECE), (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_io(err, file->path, "read");
        if (got == 0) {
            return tsr_fail(err, TSR_E_INPUT, "%s: file ends at byte %llu, %llu more were expected", file->path,
                            (unsigned long long)offset, (unsigned long long)size);
        }
        to += got;
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
    return TSR_OK;
}

tsr_status fs_map(struct fs_file *file, tsr_error *err) {
    static const uint8_t nothing[1];
    if (file->map) return TSR_OK;
    if (file->size == 0) {
        file->map = nothing;
        return TSR_OK;
    }
    void *map = mmap(NULL, (size_t)file->size, PROT_READ, MAP_PRIVATE, file->fd, 0);
    if (map == MAP_FAILED) return fail_io(err, file->path, "map");
    file->map = map;
    return TSR_OK;
}

tsr_status fs_unchanged(const struct fs_file *file, tsr_error *err) {
    struct stat facts;
    if (fstat(file->fd, &facts)) return fail_io(err, file->path, "look at");
    if ((uint64_t)facts.st_size != file->size || facts.st_mtim.tv_sec != file->mtime_seconds ||
        facts.st_mtim.tv_nsec != file->mtime_nanoseconds) {
        return tsr_fail(err, TSR_E_INPUT, "%s: the file changed while it was read", file->path);
    }
    return TSR_OK;
}

tsr_status fs_read_whole(const char *path, uint64_t limit, char **bytes, uint64_t *size, tsr_error *err) {
    struct fs_file file = {0};
    char *buffer = NULL;
    *bytes = NULL;
    tsr_status st = fs_open(path, &file, err);
    if (st != TSR_OK) return st;
    if (file.size > limit) {
        st = tsr_fail(err, TSR_E_LIMIT, "%s: has %llu bytes, at most %llu are read", path,
                      (unsigned long long)file.size, (unsigned long long)limit);
        goto done;
    }
    buffer = mem_alloc((size_t)file.size + 1);
    if (!buffer) {
        st = tsr_fail(err, TSR_E_NOMEM, "%s: out of memory for %llu bytes", path, (unsigned long long)file.size);
        goto done;
    }
    st = fs_read_at(&file, 0, buffer, file.size, err);
    if (st != TSR_OK) goto done;
    buffer[file.size] = '\0';
    *bytes = buffer;
    *size = file.size;
    buffer = NULL;
done:
    mem_free(buffer);
    fs_close(&file);
    return st;
}

/* ---- writing ---- */

static tsr_status open_output(const char *path, int flags, struct fs_output *output, tsr_error *err) {
    int fd = fault_errno(FAULT_OPEN, EACCES) ? -1 : open(path, O_RDWR | O_CLOEXEC | flags, 0666);
    if (fd < 0) return fail_io(err, path, "create");
    char *copy = mem_dup_text(path);
    if (!copy) {
        close(fd);
        return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    }
    *output = (struct fs_output){.path = copy, .fd = fd};
    return TSR_OK;
}

tsr_status fs_create(const char *path, struct fs_output *output, tsr_error *err) {
    return open_output(path, O_CREAT | O_TRUNC, output, err);
}

tsr_status fs_open_log(const char *path, struct fs_output *output, tsr_error *err) {
    tsr_status st = open_output(path, O_CREAT | O_APPEND, output, err);
    struct stat facts;
    if (st == TSR_OK && !fstat(output->fd, &facts)) output->size = (uint64_t)facts.st_size;
    return st;
}

tsr_status fs_reopen(const char *path, uint64_t keep, struct fs_output *output, tsr_error *err) {
    tsr_status st = open_output(path, 0, output, err);
    if (st != TSR_OK) return st;
    off_t end = lseek(output->fd, 0, SEEK_END);
    if (end < 0 || (uint64_t)end < keep || ftruncate(output->fd, (off_t)keep)) {
        st = end >= 0 && (uint64_t)end < keep
                 ? tsr_fail(err, TSR_E_INPUT, "%s: has %lld bytes, %llu were expected", path, (long long)end,
                            (unsigned long long)keep)
                 : fail_io(err, path, "cut");
        fs_abandon(output);
        return st;
    }
    output->size = keep;
    return TSR_OK;
}

tsr_status fs_continue(const char *path, struct fs_output *output, tsr_error *err) {
    tsr_status st = open_output(path, 0, output, err);
    if (st != TSR_OK) return st;
    off_t end = lseek(output->fd, 0, SEEK_END);
    if (end < 0) {
        st = fail_io(err, path, "look at");
        fs_abandon(output);
        return st;
    }
    output->size = (uint64_t)end;
    return TSR_OK;
}

tsr_status fs_write_at(struct fs_output *output, uint64_t offset, const void *bytes, uint64_t size, tsr_error *err) {
    const uint8_t *from = bytes;
    while (size) {
        ssize_t put =
            fault_errno(FAULT_WRITE, ENOSPC) ? -1 : pwrite(output->fd, from, min_u64(size, IO_PIECE), (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_io(err, output->path, "write");
        from += put;
        offset += (uint64_t)put;
        size -= (uint64_t)put;
    }
    return TSR_OK;
}

tsr_status fs_write(struct fs_output *output, const void *bytes, uint64_t size, tsr_error *err) {
    tsr_status st = fs_write_at(output, output->size, bytes, size, err);
    if (st == TSR_OK) output->size += size;
    return st;
}

/* For file systems where the kernel cannot copy between these two files. */
static tsr_status append_by_hand(struct fs_output *output, const struct fs_file *from, uint64_t offset, uint64_t size,
                                 tsr_error *err) {
    void *buffer = mem_alloc(COPY_PIECE);
    if (!buffer) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", output->path);
    tsr_status st = TSR_OK;
    while (size && st == TSR_OK) {
        uint64_t piece = min_u64(size, COPY_PIECE);
        st = fs_read_at(from, offset, buffer, piece, err);
        if (st == TSR_OK) st = fs_write(output, buffer, piece, err);
        offset += piece;
        size -= piece;
    }
    mem_free(buffer);
    return st;
}

tsr_status fs_append_range(struct fs_output *output, const struct fs_file *from, uint64_t offset, uint64_t size,
                           tsr_error *err) {
    while (size) {
        off_t in = (off_t)offset, out = (off_t)output->size;
        if (fault_errno(FAULT_WRITE, ENOSPC)) return fail_io(err, output->path, "write");
        ssize_t moved = copy_file_range(from->fd, &in, output->fd, &out, min_u64(size, IO_PIECE), 0);
        if (moved < 0 && errno == EINTR) continue;
        if (moved < 0 && (errno == ENOSPC || errno == EIO || errno == EDQUOT || errno == EFBIG)) {
            return fail_io(err, output->path, "write");
        }
        if (moved <= 0) return append_by_hand(output, from, offset, size, err);
        offset += (uint64_t)moved;
        size -= (uint64_t)moved;
        output->size += (uint64_t)moved;
    }
    return TSR_OK;
}

tsr_status fs_sync(struct fs_output *output, tsr_error *err) {
    if (fault_errno(FAULT_FSYNC, EIO) || fsync(output->fd)) return fail_io(err, output->path, "sync");
    return TSR_OK;
}

void fs_abandon(struct fs_output *output) {
    if (!output->path) return;
    close(output->fd);
    mem_free(output->path);
    *output = (struct fs_output){0};
}

tsr_status fs_finish(struct fs_output *output, tsr_error *err) {
    tsr_status st = TSR_OK;
    if (close(output->fd)) st = fail_io(err, output->path, "close");
    mem_free(output->path);
    *output = (struct fs_output){0};
    return st;
}

tsr_status fs_sync_folder(const char *path, tsr_error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_io(err, path, "open");
    tsr_status st = TSR_OK;
    /* EINVAL: a file system on which folders cannot be synced has nothing to sync. */
    if (fault_errno(FAULT_FSYNC, EIO) || (fsync(fd) && errno != EINVAL)) st = fail_io(err, path, "sync");
    close(fd);
    return st;
}

static tsr_status sync_parent(const char *path, tsr_error *err) {
    const char *base = fs_base_name(path);
    if (base == path) return fs_sync_folder(".", err);
    char *folder = mem_dup_bytes(path, base - path > 1 ? (size_t)(base - path - 1) : 1);
    if (!folder) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    tsr_status st = fs_sync_folder(folder, err);
    mem_free(folder);
    return st;
}

tsr_status fs_rename(const char *from, const char *to, tsr_error *err) {
    if (fault_errno(FAULT_RENAME, EIO) || rename(from, to)) {
        return tsr_fail(err, TSR_E_IO, "%s: cannot rename to %s: %s", from, to, strerror(errno));
    }
    tsr_status st = sync_parent(to, err);
    return st == TSR_OK ? sync_parent(from, err) : st;
}

tsr_status fs_exchange(const char *a, const char *b, tsr_error *err) {
    if (fault_errno(FAULT_EXCHANGE, EINVAL) || fault_errno(FAULT_RENAME, EIO) ||
        renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE)) {
        bool cannot = errno == EINVAL || errno == ENOSYS;
        return tsr_fail(err, cannot ? TSR_E_UNSUPPORTED : TSR_E_IO, "%s: cannot swap with %s: %s", a, b,
                        strerror(errno));
    }
    tsr_status st = sync_parent(a, err);
    return st == TSR_OK ? sync_parent(b, err) : st;
}

tsr_status fs_replace(const char *path, const void *bytes, uint64_t size, tsr_error *err) {
    struct fs_output output = {0};
    size_t length = strlen(path);
    char *beside = mem_alloc(length + 5);
    if (!beside) return tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
    (void)snprintf(beside, length + 5, "%s.new", path);
    tsr_status st = fs_create(beside, &output, err);
    if (st == TSR_OK) st = fs_write(&output, bytes, size, err);
    if (st == TSR_OK) st = fs_sync(&output, err);
    if (st == TSR_OK) st = fs_finish(&output, err);
    if (st == TSR_OK) st = fs_rename(beside, path, err);
    if (st != TSR_OK) {
        fs_abandon(&output);
        (void)fs_remove(beside, NULL);
    }
    mem_free(beside);
    return st;
}

static tsr_status copy_file(const char *from, const char *to, tsr_error *err) {
    struct fs_file source = {0};
    struct fs_output output = {0};
    tsr_status st = fs_open(from, &source, err);
    if (st == TSR_OK) st = fs_create(to, &output, err);
    if (st == TSR_OK) st = fs_append_range(&output, &source, 0, source.size, err);
    if (st == TSR_OK) st = fs_sync(&output, err);
    if (st == TSR_OK) st = fs_finish(&output, err);
    fs_abandon(&output);
    fs_close(&source);
    return st;
}

tsr_status fs_share(const char *from, const char *to, tsr_error *err) {
    tsr_status st = fs_remove(to, err);
    if (st != TSR_OK) return st;
    if (!fault_errno(FAULT_OPEN, EIO) && !link(from, to)) return TSR_OK;
    if (errno == ENOENT) return tsr_fail(err, TSR_E_INPUT, "%s: cannot open: %s", from, strerror(errno));
    bool cannot = errno == EXDEV || errno == EPERM || errno == EMLINK || errno == ENOTSUP || errno == ENOSYS;
    return cannot ? copy_file(from, to, err) : fail_io(err, to, "link");
}

void fs_touch(const char *path) {
    (void)utimensat(AT_FDCWD, path, NULL, 0);
}

/* ---- locks ---- */

static void name_holder(int fd, char *text, size_t size) {
    ssize_t got = pread(fd, text, size - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

/* False when the locked file has lost its name: the holder before us removed it. */
static bool still_named(int fd, const char *path) {
    struct stat locked, named;
    return !fstat(fd, &locked) && !stat(path, &named) && locked.st_ino == named.st_ino && locked.st_dev == named.st_dev;
}

/* Opens and locks; *fd is -1 and the status TSR_OK when the name moved on meanwhile. */
static tsr_status lock_once(const char *path, int *locked, tsr_error *err) {
    *locked = -1;
    int fd = fault_errno(FAULT_OPEN, EACCES) ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return fail_io(err, path, "create");
    struct flock request = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &request)) {
        char holder[64];
        bool busy = errno == EACCES || errno == EAGAIN;
        tsr_status st = busy ? TSR_OK : fail_io(err, path, "lock");
        name_holder(fd, holder, sizeof holder);
        close(fd);
        if (!busy) return st;
        return tsr_fail(err, TSR_E_BUSY, "%s: held by process %s", path, holder[0] ? holder : "(unknown)");
    }
    if (still_named(fd, path)) {
        *locked = fd;
    } else {
        close(fd);
    }
    return TSR_OK;
}

tsr_status fs_lock(const char *path, struct fs_lock *lock, tsr_error *err) {
    int fd = -1;
    for (int attempt = 0; fd < 0 && attempt < 100; attempt++) {
        tsr_status st = lock_once(path, &fd, err);
        if (st != TSR_OK) return st;
    }
    if (fd < 0) return tsr_fail(err, TSR_E_BUSY, "%s: the file is removed again and again", path);
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    char *copy = mem_dup_text(path);
    if (!copy || ftruncate(fd, 0) || pwrite(fd, text, (size_t)length, 0) != length) {
        tsr_status st = copy ? fail_io(err, path, "write") : tsr_fail(err, TSR_E_NOMEM, "%s: out of memory", path);
        mem_free(copy);
        close(fd);
        return st;
    }
    *lock = (struct fs_lock){.path = copy, .fd = fd};
    return TSR_OK;
}

void fs_unlock(struct fs_lock *lock) {
    if (!lock->path) return;
    close(lock->fd);
    mem_free(lock->path);
    *lock = (struct fs_lock){0};
}
